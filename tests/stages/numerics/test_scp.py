"""Pairs are what they say; training finds blobs, keeps to its seed, and collapses unbalanced."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from clusterpipe.stages.numerics.perceptron import logits, perceptron, plain_layers
from clusterpipe.stages.numerics.scp import (
    Epoch,
    ScpRecipe,
    neighbour_pairs,
    noise_pairs,
    train,
    view_pairs,
)

K, N = 4, 320
TRUTH = np.arange(N) % K
RECIPE = ScpRecipe(
    epochs=6, start_epochs=2, batch=32, rate=3e-3, consistency=1, confidence=1, balance=3
)
PRIOR = np.full(K, 1 / K)
INDEX = torch.arange(0, N, 3)


def blobs() -> NDArray[np.float32]:
    rows = 2 * np.eye(K, 8)[TRUTH] + 0.4 * np.random.default_rng(0).normal(size=(N, 8))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def near() -> NDArray[np.int64]:
    return np.asarray((-(blobs() @ blobs().T)).argsort(axis=1)[:, 1:6])


def fitted(
    recipe: ScpRecipe = RECIPE, *, seed: int = 0, start: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    network = perceptron(8, K, layers=5, width=32, seed=seed)
    pairs = neighbour_pairs(blobs(), near())
    steps = train(network, pairs, PRIOR, recipe, start=start, n=N, seed=seed)
    assert len(list(steps)) == recipe.epochs
    return np.asarray(logits(blobs(), plain_layers(network)).argmax(axis=1))


def test_neighbour_pairs_are_a_row_and_one_of_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = neighbour_pairs(blobs(), near())(INDEX, generator)
    np.testing.assert_array_equal(first, blobs()[INDEX])
    for row, other in zip(INDEX, second, strict=True):
        assert (blobs()[near()[row]] == other.numpy()).all(axis=1).any()


def test_view_pairs_lie_about_the_image_as_the_views_of_all_do_and_are_ever_new() -> None:
    rng, scale = np.random.default_rng(1), np.float32([0, 0.01, 0.05, 0.1])
    rows = np.float32([[3, 0, 0, 0], [0, 3, 0, 0], [0, 0, 3, 3]])[np.arange(600) % 3] / 3
    views = np.asarray(rows[:, None] + scale * rng.normal(size=(600, 2, 4)), np.float32)
    draw, generator = view_pairs(views), torch.Generator().manual_seed(0)
    first, second = draw(torch.zeros(20_000, dtype=torch.int64), generator)
    for look in (first, second):
        np.testing.assert_allclose(look.norm(dim=1), 1, rtol=1e-5)
        np.testing.assert_allclose(look.std(dim=0)[1:], scale[1:], rtol=0.1)
        assert len(torch.unique(look, dim=0)) > 500
    assert abs(np.corrcoef(first[:, 3], second[:, 3])[0, 1]) < 0.05
    np.testing.assert_allclose(first.mean(dim=0), views[0].mean(axis=0), atol=0.01)


def test_noise_pairs_differ_by_noise_of_the_stated_deviation() -> None:
    rows = blobs() * np.float32([1, 2, 3, 4, 5, 6, 7, 8])
    generator = torch.Generator().manual_seed(0)
    first, second = noise_pairs(rows, 0.5 * rows.std(axis=0))(torch.arange(N), generator)
    noise = [view.numpy() - rows for view in (first, second)]
    for part in noise:
        ratio = part.std(axis=0) / rows.std(axis=0)
        np.testing.assert_allclose(ratio, 0.5, rtol=0.15)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


def test_noise_is_the_same_along_every_axis_and_drawn_anew_for_each_look() -> None:
    rows = np.zeros((5000, 3), np.float32)
    rows[:, 0] = np.linspace(-5, 5, 5000)
    first, second = noise_pairs(rows, 0.2)(torch.arange(5000), torch.Generator().manual_seed(0))
    for look in (first, second):
        np.testing.assert_allclose((look.numpy() - rows).std(axis=0), 0.2, rtol=0.05)
    assert abs(np.corrcoef(first[:, 1], second[:, 1])[0, 1]) < 0.05


def test_blobs_are_found_from_a_start_that_is_a_third_wrong() -> None:
    rng = np.random.default_rng(1)
    start = np.where(rng.random(N) < 0.3, rng.integers(0, K, N), TRUTH)
    assert adjusted_rand_score(TRUTH, start) < 0.7
    assert adjusted_rand_score(TRUTH, fitted(start=start)) > 0.95


def test_weights_keep_pairs_that_are_not_one_thing_from_counting() -> None:
    """Every second pair is of two blobs, as a network that was taught which is which can tell."""

    def mixed(index: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.from_numpy(blobs())
        return rows[index], rows[torch.where(index % 8 < K, index, (index + 1) % N)]

    def first_epoch(*, weighted: bool) -> Epoch:
        network = perceptron(8, K, layers=5, width=32, seed=0)
        recipe = replace(RECIPE, epochs=1, weighted=weighted)
        taught = replace(recipe, epochs=0, start_epochs=20)
        own = noise_pairs(blobs(), 0.0)
        assert not list(train(network, own, PRIOR, taught, start=TRUTH, n=N, seed=0))
        return next(train(network, mixed, PRIOR, recipe, start=None, n=N, seed=0))

    counted, plain = first_epoch(weighted=True), first_epoch(weighted=False)
    assert counted.confidence < plain.confidence / 5
    assert counted.consistency < plain.consistency / 5


def test_without_balance_clusters_die_out() -> None:
    """The published ablation: whatever else is on, the balance loss alone prevents a collapse."""
    recipe = replace(RECIPE, epochs=20)
    assert len(np.unique(fitted(replace(recipe, balance=0)))) < K
    assert len(np.unique(fitted(recipe))) == K


def test_the_seed_decides() -> None:
    np.testing.assert_array_equal(fitted(seed=3), fitted(seed=3))

"""TURTLE's objective against numpy, its gradient against differences, and its training."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from clusterpipe.stages.numerics.refinement import shuffled_batches
from clusterpipe.stages.numerics.turtle import (
    Maps,
    TaskEncoder,
    TurtleRecipe,
    _Classifiers,
    imbalance,
    misfit,
    random_maps,
    soft_labels,
    train,
)

QUICK = TurtleRecipe(
    steps=40,
    inner_steps=5,
    learning_rate=2e-2,
    inner_learning_rate=2e-2,
    balance=10.0,
    batch=200,
    cold=False,
    decay=True,
)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def two_gaussians(n: int = 200, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Rows in two groups, apart along one axis and in one piece along the other."""
    rng = np.random.default_rng(0)
    truth = (np.arange(n) >= share * n).astype(int)
    rows = np.c_[6 * truth - 3 + 0.5 * rng.normal(size=n), 1.5 * rng.normal(size=n)]
    return rows.astype(np.float32), truth


def trained(
    spaces: list[np.ndarray], start: Maps, prior: list[float], recipe: TurtleRecipe
) -> Maps:
    encoder, generator = TaskEncoder(start), torch.Generator().manual_seed(0)
    batches = shuffled_batches(len(spaces[0]), recipe.batch, generator)
    rows = [torch.from_numpy(space) for space in spaces]
    steps = list(train(encoder, rows, torch.tensor(prior), recipe, batches, generator))
    assert len(steps) == recipe.steps
    assert all(np.isfinite([step.fit, step.loss]).all() for step in steps)
    return encoder.maps


def found(maps: Maps, spaces: list[np.ndarray]) -> np.ndarray:
    logits = maps.logits([torch.from_numpy(space) for space in spaces])
    return soft_labels(logits).argmax(dim=1).numpy()


def test_labels_are_the_mean_of_the_softmax_in_each_space() -> None:
    first, second = drawn(0, 6, 3), drawn(1, 6, 3)
    expected = (softmax(first, axis=1) + softmax(second, axis=1)) / 2
    ours = soft_labels([torch.from_numpy(first), torch.from_numpy(second)])
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)


def test_misfit_is_the_cross_entropy_summed_over_spaces() -> None:
    first, second, label = drawn(0, 6, 3), drawn(1, 6, 3), softmax(drawn(2, 6, 3), axis=1)
    expected = sum(-(label * log_softmax(x, axis=1)).sum(axis=1).mean() for x in (first, second))
    ours = misfit([torch.from_numpy(first), torch.from_numpy(second)], torch.from_numpy(label))
    assert ours.item() == pytest.approx(expected, rel=1e-5)


def test_imbalance_for_a_uniform_prior_is_the_published_entropy() -> None:
    logits = 2 * drawn(0, 8, 4)
    mean = softmax(logits, axis=1).mean(axis=0)
    entropy = -(mean * np.log(mean)).sum()
    ours = imbalance([torch.from_numpy(logits)], torch.full((4,), 0.25))
    assert ours.item() == pytest.approx(np.log(4) - entropy, rel=1e-4)


def test_imbalance_is_none_at_the_prior_only() -> None:
    logits = torch.from_numpy(drawn(0, 8, 4))
    mean = logits.softmax(dim=1).mean(dim=0)
    assert imbalance([logits, logits], mean).item() == pytest.approx(0, abs=1e-6)
    assert imbalance([logits], mean.roll(1)).item() > 0.01


def test_gradient_of_the_outer_problem_equals_differences() -> None:
    """By hand: d/dS of -sum q log p + balance KL is q (g - <q, g>) / n, g the derivative by q."""
    rows, classified = drawn(0, 7, 3), drawn(1, 7, 4)
    start = random_maps([3], 4, torch.Generator().manual_seed(0))
    maps, prior = start.learning(), np.array([0.4, 0.3, 0.2, 0.1], np.float32)
    logits = maps.logits([torch.from_numpy(rows)])
    fit = misfit([torch.from_numpy(classified)], soft_labels(logits))
    (fit + 10 * imbalance(logits, torch.from_numpy(prior))).backward()
    q = softmax(rows @ start.weight[0].numpy().T + start.bias[0].numpy(), axis=1)
    by_q = -log_softmax(classified, axis=1) + 10 * np.log(q.mean(axis=0) / prior)
    by_logit = q * (by_q - (q * by_q).sum(axis=1, keepdims=True)) / len(q)
    np.testing.assert_allclose(maps.weight[0].grad, by_logit.T @ rows, atol=1e-5)
    np.testing.assert_allclose(maps.bias[0].grad, by_logit.sum(axis=0), atol=1e-5)


def test_the_inner_problem_is_logistic_regression() -> None:
    rng, rows = np.random.default_rng(0), drawn(0, 300, 3)
    label = (rows[:, 0] + rng.normal(size=300) > 0).astype(int)
    start = random_maps([3], 2, torch.Generator().manual_seed(0))
    inner = _Classifiers(start, 0.2)
    target = torch.from_numpy(np.eye(2, dtype=np.float32)[label])
    logits = inner.learned([torch.from_numpy(rows)], target, 150)[0]
    theirs = LogisticRegression(C=np.inf).fit(rows, label).predict_proba(rows)
    np.testing.assert_allclose(logits.softmax(dim=1), theirs, atol=5e-3)


def test_an_encoder_starts_where_it_is_told_to() -> None:
    start = random_maps([3, 5], 4, torch.Generator().manual_seed(0))
    maps = TaskEncoder(start).maps
    for ours, given in zip([*maps.weight, *maps.bias], [*start.weight, *start.bias], strict=True):
        np.testing.assert_allclose(ours.detach(), given, atol=1e-6)


@pytest.mark.parametrize("cold", [False, True])
def test_finds_the_gap_from_a_slanted_start(cold: bool) -> None:
    rows, truth = two_gaussians()
    weight = torch.tensor([[0.2, 0.1], [-0.2, -0.1]])
    recipe = TurtleRecipe(**{**vars(QUICK), "cold": cold})
    maps = trained([rows], Maps([weight], [torch.zeros(2)]), [0.5, 0.5], recipe)
    agreed = (found(maps, [rows]) == truth).mean()
    assert max(agreed, 1 - agreed) == 1


def test_the_prior_decides_how_equal_clusters_are() -> None:
    """180 rows in one group, 20 in another: equal halves are asked for, or they are not."""
    rows, truth = two_gaussians(share=0.9)
    start = Maps([torch.tensor([[-1.0, 0.0], [1.0, 0.0]])], [torch.zeros(2)])
    kept = found(trained([rows], start, [0.9, 0.1], QUICK), [rows])
    np.testing.assert_array_equal(kept, truth)
    halves = found(
        trained(
            [rows],
            start,
            [0.5, 0.5],
            TurtleRecipe(**{**vars(QUICK), "balance": 1e3, "learning_rate": 0.1}),
        ),
        [rows],
    )
    assert halves.mean() > 0.3


def test_numbering_of_clusters_does_not_matter() -> None:
    """In two spaces: in one, warm classifiers start at their optimum, and Adam follows rounding."""
    rows, order = [drawn(0, 200, 4), drawn(1, 200, 3)], [2, 0, 1]
    start = random_maps([4, 3], 3, torch.Generator().manual_seed(1))
    turned = Maps([one[order] for one in start.weight], [one[order] for one in start.bias])
    prior = np.array([0.5, 0.3, 0.2])
    one = trained(rows, start, prior.tolist(), QUICK)
    other = trained(rows, turned, prior[order].tolist(), QUICK)
    for ours, theirs in zip(other.weight, one.weight, strict=True):
        np.testing.assert_allclose(ours.detach(), theirs.detach()[order], atol=1e-4)


def test_a_second_space_resolves_what_the_first_cannot() -> None:
    """In the first space there is nothing to see; labels come from the second."""
    rows, truth = two_gaussians()
    noise = drawn(5, 200, 2)
    start = Maps(
        [torch.zeros(2, 2) + 0.01, torch.tensor([[0.2, 0.1], [-0.2, -0.1]])],
        [torch.zeros(2), torch.zeros(2)],
    )
    agreed = (
        found(trained([noise, rows], start, [0.5, 0.5], QUICK), [noise, rows]) == truth
    ).mean()
    assert max(agreed, 1 - agreed) > 0.95

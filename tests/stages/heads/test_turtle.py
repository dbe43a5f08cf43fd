"""TURTLE heads: sizes that are not forced, several spaces, the published recipe, few images."""

import brief
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import silent
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads import Training, load
from clusterpipe.stages.heads.coordinates import white_axes
from clusterpipe.stages.heads.turtle import SCALE, Turtle, _annealed
from clusterpipe.stages.numerics.preparation import unit_rows

QUICK = AssignConfig(seeds=2, methods=(brief.Turtle(),))


class OneStep(brief.Turtle):
    """It stops after one step."""

    steps = 1


def groups(sizes: list[int], noise: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.eye(len(sizes), 8)[truth] + noise * rng.normal(size=(len(truth), 8))
    return unit_rows(rows), truth


def test_clusters_are_not_made_equal_unless_asked_for() -> None:
    rows, truth = groups([80, 40, 20, 20, 20, 20])
    found = assign(rows, 6, QUICK).methods["turtle"]
    assert adjusted_rand_score(truth, found.label) > 0.95


def test_balance_holds_clusters_to_the_sizes_of_the_start() -> None:
    rows, _ = groups([80, 40, 20, 20, 20, 20], noise=0.35)
    axes = white_axes(Training.of(rows), 6, 0)
    start = _annealed(axes.placed(rows, SCALE), 6, iterations=25, seed=0).prior.numpy()

    def distance(balance: float) -> float:
        head = Turtle(balance=balance)
        label = head.fit(Training.of(rows), 6, [0], silent).model.soft(rows).argmax(axis=1)
        share = np.bincount(label, minlength=6) / len(rows)
        return float(np.abs(np.sort(share) - np.sort(start)).sum())

    assert distance(1e3) < distance(0)


def test_several_spaces_have_coordinates_and_maps_of_their_own() -> None:
    first, truth = groups([40, 40, 40])
    turned = first @ np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    spaces = [unit_rows(one - one.mean(axis=0)) for one in (first, turned[:, :6])]
    z = np.hstack(spaces) / np.float32(np.sqrt(2))
    fits = brief.Turtle().fit(Training(z, (8, 6)), 3, [1, 2], silent)
    model = fits.model
    assert model.width.tolist() == [8, 6]
    assert not model.direction[:8, 8:].any()
    assert not model.direction[8:, :8].any()
    assert (model.weight.shape, model.bias.shape) == ((3, 14), (2, 3))
    assert adjusted_rand_score(truth, model.soft(z).argmax(axis=1)) > 0.95


def test_the_published_recipe_starts_from_chance_on_the_features_as_they_are() -> None:
    rows, truth = groups([60, 60])
    paper = AssignConfig(seeds=2, methods=(OneStep(preset="paper"),))
    found = assign(rows, 2, paper).methods["turtle"]
    np.testing.assert_array_equal(found.parameters["direction"], np.eye(8))
    assert adjusted_rand_score(*found.label_per_seed) < 0.99
    assert min(adjusted_rand_score(truth, label) for label in found.label_per_seed) < 0.99


@pytest.mark.parametrize(("n", "k"), [(2, 1), (2, 2), (3, 2), (9, 9)])
def test_tiny_collections(n: int, k: int) -> None:
    rows = groups([20, 20, 20])[0][::6][:n]
    found = assign(rows, k, QUICK).methods["turtle"]
    assert 1 <= found.effective_k <= k
    assert np.isfinite(load(found).soft(rows)).all()


def test_duplicates_are_in_one_cluster() -> None:
    rows = np.repeat(groups([20, 20, 20])[0][::15], 25, axis=0)
    found = assign(rows, 8, QUICK).methods["turtle"]
    assert all(len(np.unique(found.label[at : at + 25])) == 1 for at in range(0, 100, 25))


def test_refuses_settings_that_it_cannot_use() -> None:
    rows, _ = groups([20, 20])
    with pytest.raises(UsageError, match=r"turtle\.preset is one of fast, paper, not .slow."):
        assign(rows, 2, AssignConfig(methods=(Turtle(preset="slow"),)))
    with pytest.raises(UsageError, match=r"assign\.turtle\.balance must be at least 0"):
        assign(rows, 2, AssignConfig(methods=(Turtle(balance=-1),)))

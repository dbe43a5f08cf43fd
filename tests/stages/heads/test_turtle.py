"""TURTLE heads: sizes that are not forced, several spaces, the published recipe, few images."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import silent
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads import Training, load, method
from clusterpipe.stages.numerics.preparation import unit_rows

QUICK = AssignConfig(seeds=2, methods=("turtle",), turtle_steps=10)


def groups(sizes: list[int], noise: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.eye(len(sizes), 8)[truth] + noise * rng.normal(size=(len(truth), 8))
    return unit_rows(rows), truth


def test_clusters_are_not_made_equal_unless_asked_for() -> None:
    rows, truth = groups([80, 40, 20, 20, 20, 20])
    found = assign(rows, 6, QUICK).methods["turtle"]
    assert adjusted_rand_score(truth, found.label) > 0.95


def test_a_prior_of_power_zero_makes_clusters_more_equal() -> None:
    rows, _ = groups([80, 40, 20, 20, 20, 20], noise=0.35)

    def spread(power: float) -> float:
        config = AssignConfig(
            seeds=1, methods=("turtle",), turtle_prior=power, turtle_balance=1e3, turtle_steps=60
        )
        return float(np.bincount(assign(rows, 6, config).methods["turtle"].label).std())

    assert spread(0) < spread(1) - 1


def test_several_spaces_have_coordinates_and_maps_of_their_own() -> None:
    first, truth = groups([40, 40, 40])
    turned = first @ np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    spaces = [unit_rows(one - one.mean(axis=0)) for one in (first, turned[:, :6])]
    z = np.hstack(spaces) / np.float32(np.sqrt(2))
    fits = method("turtle", QUICK).fit(Training(z, (8, 6)), 3, [1, 2], silent)
    model = fits.model
    assert model.width.tolist() == [8, 6]
    assert not model.direction[:8, 8:].any()
    assert not model.direction[8:, :8].any()
    assert (model.weight.shape, model.bias.shape) == ((3, 14), (2, 3))
    assert adjusted_rand_score(truth, model.soft(z).argmax(axis=1)) > 0.95


def test_the_published_recipe_starts_from_chance_on_the_features_as_they_are() -> None:
    rows, truth = groups([60, 60])
    paper = AssignConfig(seeds=2, methods=("turtle",), turtle_preset="paper", turtle_steps=1)
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
    with pytest.raises(UsageError, match=r"turtle_preset is one of fast, paper, not .slow."):
        assign(rows, 2, AssignConfig(methods=("turtle",), turtle_preset="slow"))
    with pytest.raises(UsageError, match=r"assign\.turtle_balance must be at least 0"):
        assign(rows, 2, AssignConfig(methods=("turtle",), turtle_balance=-1))

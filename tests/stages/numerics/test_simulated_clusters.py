"""Simulated clusters stand where the clusters of the rows stand, and are Gaussian otherwise."""

import numpy as np

from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.simulated_clusters import simulated_clusters


def blobs(sizes: list[int], spread: list[float], *, d: int = 16, seed: int = 0) -> np.ndarray:
    """Unit rows (n, d) about one axis per cluster."""
    random = np.random.default_rng(seed)
    rows = [
        np.eye(d)[c] + s * random.normal(size=(n, d)) / np.sqrt(d)
        for c, (n, s) in enumerate(zip(sizes, spread, strict=True))
    ]
    return unit_rows(np.concatenate(rows).astype(np.float32))


def test_it_keeps_place_size_and_spread_of_every_cluster() -> None:
    rows = blobs([400, 100], [0.2, 0.5])
    drawn = simulated_clusters(rows, 2)
    assert drawn.shape == rows.shape
    axis = drawn[:, :2].argmax(axis=1)
    assert np.bincount(axis).tolist() == [400, 100]
    for c in (0, 1):
        ours, theirs = drawn[axis == c], rows[rows[:, :2].argmax(axis=1) == c]
        np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.05)
        np.testing.assert_allclose(ours.var(axis=0).sum(), theirs.var(axis=0).sum(), rtol=0.15)


def test_it_forgets_what_is_finer() -> None:
    """Copies of ten rows, taken for one cluster, come back as rows without copies."""
    rows = np.repeat(blobs([10], [0.8]), 30, axis=0)
    assert len(np.unique(rows, axis=0)) == 10
    assert len(np.unique(simulated_clusters(rows, 1), axis=0)) == 300


def test_rows_of_one_cluster_that_are_all_alike_stay_finite() -> None:
    drawn = simulated_clusters(np.ones((20, 4), np.float32), 1)
    assert np.isfinite(drawn).all()


def test_the_same_seed_gives_the_same_rows() -> None:
    rows = blobs([50, 50], [0.3, 0.3])
    np.testing.assert_array_equal(
        simulated_clusters(rows, 2, seed=3), simulated_clusters(rows, 2, seed=3)
    )
    assert (simulated_clusters(rows, 2, seed=3) != simulated_clusters(rows, 2, seed=4)).any()

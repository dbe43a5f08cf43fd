"""k-means against scikit-learn, brute force and the fixed-point equations of Lloyd's algorithm."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from clusterpipe.stages.numerics.kmeans import (
    cells,
    fill_empty_clusters,
    kmeans,
    nearest,
    soft_assign,
)
from clusterpipe.stages.numerics.preparation import unit_rows

SPHERICAL = pytest.mark.parametrize("spherical", [True, False])


def blobs(k: int = 6, size: int = 40, d: int = 16, noise: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(0)
    centre = unit_rows(rng.normal(size=(k, d)))
    rows = np.repeat(centre, size, axis=0) + noise * rng.normal(size=(k * size, d)) / np.sqrt(d)
    return unit_rows(rows)


TRUTH = np.repeat(np.arange(6), 40)


@SPHERICAL
def test_finds_well_separated_blobs(spherical: bool) -> None:
    found = kmeans(blobs(), 6, spherical=spherical)
    assert adjusted_rand_score(TRUTH, found.label) == 1


def test_is_as_good_as_scikit_learn() -> None:
    rows = np.random.default_rng(1).normal(size=(400, 5)).astype(np.float32)
    ours = kmeans(rows, 7, spherical=False, restarts=20, iterations=100)
    theirs = KMeans(7, n_init=20, random_state=0).fit(rows)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=0.01)


def test_uses_every_row() -> None:
    """FAISS would look at 256 rows per centroid; at its fixed point each centroid is a mean."""
    rows = np.random.default_rng(2).normal(size=(3000, 3)).astype(np.float32)
    found = kmeans(rows, 2, spherical=False, iterations=200)
    for cluster in range(2):
        mean = rows[found.label == cluster].mean(axis=0)
        np.testing.assert_allclose(found.centroid[cluster], mean, atol=1e-3)


def test_spherical_centroids_are_mean_directions() -> None:
    rows = blobs(noise=1.0)
    found = kmeans(rows, 6, spherical=True, iterations=100)
    for cluster in range(6):
        total = rows[found.label == cluster].sum(axis=0)
        expected = total / np.linalg.norm(total)
        np.testing.assert_allclose(found.centroid[cluster], expected, atol=1e-4)


@SPHERICAL
def test_inertia_is_the_sum_of_squared_distances(spherical: bool) -> None:
    rows = blobs(noise=1.0)
    found = kmeans(rows, 5, spherical=spherical)
    squares = cdist(rows, found.centroid, "sqeuclidean")
    assert found.inertia == pytest.approx(squares.min(axis=1).sum(), rel=1e-4)
    if spherical:
        cosine = (rows * found.centroid[found.label]).sum(axis=1)
        assert found.inertia == pytest.approx(2 * (1 - cosine).sum(), rel=1e-4)


def test_the_best_restart_counts() -> None:
    rows = blobs(noise=1.5)
    many = kmeans(rows, 8, spherical=True, restarts=8).inertia
    assert many <= kmeans(rows, 8, spherical=True, restarts=1).inertia


def test_clusters_are_numbered_from_the_largest() -> None:
    rows = blobs()[: 6 * 40 - 60]
    size = np.bincount(kmeans(rows, 5, spherical=True).label)
    assert list(size) == sorted(size, reverse=True)


@SPHERICAL
def test_equal_seeds_give_equal_results(spherical: bool) -> None:
    first, second = (kmeans(blobs(noise=1.0), 7, spherical=spherical, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.centroid, second.centroid)
    np.testing.assert_array_equal(first.label, second.label)


def test_seeds_matter() -> None:
    rows = blobs(noise=2.0)
    inertias = {kmeans(rows, 9, spherical=True, seed=seed).inertia for seed in range(5)}
    assert len(inertias) > 1


def test_one_cluster_is_the_mean() -> None:
    rows = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
    found = kmeans(rows, 1, spherical=False)
    np.testing.assert_allclose(found.centroid[0], rows.mean(axis=0), atol=1e-5)
    assert not found.label.any()


@SPHERICAL
def test_as_many_clusters_as_rows(spherical: bool) -> None:
    found = kmeans(blobs(size=3), 18, spherical=spherical)
    assert sorted(found.label) == list(range(18))
    assert found.inertia == pytest.approx(0, abs=1e-6)


@SPHERICAL
def test_no_cluster_is_empty_among_duplicates(spherical: bool) -> None:
    few = np.eye(5, 8, dtype=np.float32)
    rows = np.repeat(few, [500, 1, 1, 1, 1], axis=0)
    assert np.bincount(kmeans(rows, 5, spherical=spherical).label, minlength=5).min() == 1


@SPHERICAL
def test_fewer_distinct_rows_than_clusters(spherical: bool) -> None:
    rows = np.repeat(np.eye(3, 8, dtype=np.float32), 10, axis=0)
    found = kmeans(rows, 7, spherical=spherical)
    assert len(np.unique(found.label)) == 3
    assert found.inertia == pytest.approx(0, abs=1e-9)


def test_empty_clusters_are_moved_to_the_farthest_row_of_the_largest() -> None:
    rows = np.array([[0.0], [0.1], [0.9], [5.0], [9.0]], np.float32)
    centroid = np.array([[0.3], [7.0], [99.0]], np.float32)
    found = fill_empty_clusters(rows, centroid)
    assert centroid[2] == pytest.approx(0.9)
    np.testing.assert_array_equal(found.label, [0, 0, 2, 1, 1])


def test_filling_ends_where_rounding_hides_which_centroid_is_nearest() -> None:
    """Centroids so near to a row that float32 cannot tell which one is it."""
    rows = np.repeat(unit_rows(np.random.default_rng(0).normal(size=(2, 64))), 20, axis=0)
    centroid = np.concatenate([rows[[0, 20]] * 1.0001, rows[[0, 20]] + 1e-4, rows[[0, 0]] + 9])
    found = fill_empty_clusters(rows, centroid.astype(np.float32))
    assert found.label.shape == (40,)
    assert found.squared_distance.max() < 1e-4


@pytest.mark.parametrize("k", [0, 11])
def test_refuses_a_k_that_the_rows_cannot_fill(k: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        kmeans(np.zeros((10, 2), np.float32), k, spherical=False)


def test_cells_cover_the_rows_as_k_means_does() -> None:
    rows = blobs(noise=1.0)
    found = cells(rows, 40, seed=1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    inertia = nearest(rows, found).squared_distance.sum()
    assert inertia < 1.15 * kmeans(rows, 40, spherical=True, restarts=3).inertia
    np.testing.assert_array_equal(found, cells(rows, 40, seed=1))
    np.testing.assert_allclose(np.sort(cells(rows, 240), axis=0), np.sort(rows, axis=0), atol=1e-5)


def test_nearest_is_what_brute_force_finds() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(100, 6)).astype(np.float32)
    centroid = rng.normal(size=(9, 6)).astype(np.float32)
    squares = cdist(rows, centroid, "sqeuclidean")
    found = nearest(rows, centroid)
    np.testing.assert_array_equal(found.label, squares.argmin(axis=1))
    np.testing.assert_allclose(found.squared_distance, squares.min(axis=1), rtol=1e-5)


def test_soft_assignment_is_the_softmax_of_cosines() -> None:
    rows, centroid = blobs(), blobs()[::40]
    expected = softmax(rows.astype(np.float64) @ centroid.T / 0.1, axis=1)
    np.testing.assert_allclose(soft_assign(rows, centroid, temperature=0.1), expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [1e-6, 0.1, 1e6])
def test_soft_assignment_agrees_with_the_nearest_centroid(temperature: float) -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(200, 6)).astype(np.float32)
    centroid = 3 * rng.normal(size=(9, 6)).astype(np.float32)
    probability = soft_assign(rows, centroid, temperature=temperature)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    if temperature < 1:
        np.testing.assert_array_equal(probability.argmax(axis=1), nearest(rows, centroid).label)
    else:
        np.testing.assert_allclose(probability, 1 / 9, rtol=1e-3)

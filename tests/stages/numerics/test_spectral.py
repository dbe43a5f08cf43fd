"""The eigenvectors against dense algebra, the partitions against scikit-learn and planted truth."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from clusterpipe.stages.numerics.kmeans import kmeans, nearest
from clusterpipe.stages.numerics.nearest import nearest_rows
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic
from clusterpipe.stages.numerics.spectral import (
    embedded,
    joined,
    landmark_coordinates,
    local_affinity,
    local_radius,
    nearest_landmarks,
    row_coordinates,
    spectral_partitions,
    spectrum,
)

SIZES = (40, 30, 20, 10)
TRUTH = np.repeat(np.arange(4), SIZES)


def planted(inside: float = 0.5, outside: float = 0.05, seed: int = 0) -> np.ndarray:
    """A random graph of 100 nodes in which nodes of one of four blocks are joined more often."""
    rng = np.random.default_rng(seed)
    chance = np.where(TRUTH[:, None] == TRUTH, inside, outside)
    edge = np.triu(rng.random((100, 100)) < chance, 1)
    return np.asarray(edge + edge.T + np.eye(100), np.float64)


def subspaces(noise: float = 0.1) -> np.ndarray:
    """Unit rows in four planes of 24 dimensions, with noise."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(24, 8)))[0].reshape(24, 4, 2)
    rows = np.einsum("dnj,nj->nd", basis[:, TRUTH], rng.normal(size=(100, 2)))
    return unit_rows(rows + noise * rng.normal(size=(100, 24)) / np.sqrt(24))


def membership(rows: np.ndarray) -> torch.Tensor:
    similarity = torch.from_numpy(rows @ rows.T).abs()
    return doubly_stochastic(similarity, temperature=0.1, half_steps=5)


# ---- eigenvectors -----------------------------------------------------------------------


def test_spectrum_is_that_of_the_normalised_affinity() -> None:
    affinity = planted()
    degree = affinity.sum(axis=1)
    normal = affinity / np.sqrt(np.outer(degree, degree))
    expected = np.linalg.eigvalsh(normal)[::-1]
    found = spectrum(affinity, 100)
    np.testing.assert_allclose(found.value, expected, atol=1e-10)
    np.testing.assert_allclose(normal @ found.vector, found.vector * found.value, atol=1e-10)
    assert found.value[0] == pytest.approx(1)


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
@pytest.mark.parametrize(("dtype", "near"), [(np.float64, 1e-7), (np.float32, 1e-3)])
def test_lanczos_finds_what_the_decomposition_finds(kind: type, dtype: type, near: float) -> None:
    affinity = planted()
    exact = spectrum(affinity, 4)
    found = spectrum(kind(affinity.astype(dtype)), 4, dense_up_to=10)
    np.testing.assert_allclose(found.value, exact.value, atol=near)
    overlap = np.linalg.svd(found.vector.T @ exact.vector, compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=near)


def test_only_the_symmetric_part_counts() -> None:
    lopsided = np.triu(planted()) + np.triu(planted(), 1)
    expected = spectrum(planted(), 3)
    np.testing.assert_allclose(spectrum(lopsided, 3).value, expected.value, atol=1e-10)
    by_lanczos = spectrum(lopsided, 3, dense_up_to=10)
    np.testing.assert_allclose(by_lanczos.value, expected.value, atol=1e-7)


@pytest.mark.parametrize("dense_up_to", [10, 1000])
def test_a_node_without_affinity_is_in_no_leading_vector(dense_up_to: int) -> None:
    affinity = planted()
    affinity[7] = affinity[:, 7] = 0
    found = spectrum(affinity, 4, dense_up_to=dense_up_to)
    assert np.isfinite(found.vector).all()
    np.testing.assert_allclose(found.vector[7], 0, atol=1e-6)


def test_lanczos_sees_every_component_of_a_graph_in_pieces() -> None:
    found = spectrum(csr_array(planted(outside=0.0, inside=0.6)), 5, dense_up_to=10)
    np.testing.assert_allclose(found.value[:4], 1, atol=1e-7)
    assert found.value[4] < 0.9


def test_of_more_components_than_are_asked_for_the_heaviest_come_first() -> None:
    found = spectrum(csr_array(planted(outside=0.0, inside=0.6)), 2, dense_up_to=10)
    np.testing.assert_array_equal(found.value, 1)
    np.testing.assert_array_equal(found.vector > 0, TRUTH[:, None] == [0, 1])


def test_as_many_vectors_as_there_are_rows_at_most() -> None:
    with pytest.raises(ValueError, match="101 eigenvectors of 100 rows"):
        spectrum(planted(), 101)
    with pytest.raises(ValueError, match="0 eigenvectors"):
        spectrum(planted(), 0)


# ---- partitions of one membership ---------------------------------------------------------


def test_partitions_are_those_of_scikit_learn() -> None:
    affinity = planted(inside=0.6, outside=0.02)
    found = spectral_partitions(affinity, [4], seed=0)[4]
    reference = SpectralClustering(4, affinity="precomputed", random_state=0).fit_predict(affinity)
    assert adjusted_rand_score(reference, found) == 1
    assert adjusted_rand_score(TRUTH, found) == 1


def test_finds_planted_subspaces_at_the_true_number_whatever_else_is_asked() -> None:
    pi = membership(subspaces())
    several = spectral_partitions(pi, [9, 4, 2], seed=0)
    alone = spectral_partitions(pi, [4], seed=0)[4]
    assert list(several) == [9, 4, 2]
    assert adjusted_rand_score(TRUTH, several[4]) == 1
    assert adjusted_rand_score(alone, several[4]) == 1
    assert all(set(label) == set(range(k)) for k, label in several.items())


def test_clusters_are_numbered_from_the_largest_down() -> None:
    found = spectral_partitions(membership(subspaces()), [4], seed=0)[4]
    np.testing.assert_array_equal(np.bincount(found), SIZES)


def test_order_of_rows_and_rotation_do_not_matter() -> None:
    rows, rng = subspaces(), np.random.default_rng(2)
    order, turn = rng.permutation(100), np.linalg.qr(rng.normal(size=(24, 24)))[0]
    plain = spectral_partitions(membership(rows), [4], seed=0)[4]
    moved = spectral_partitions(membership(unit_rows(rows[order] @ turn)), [4], seed=0)[4]
    np.testing.assert_array_equal(moved, plain[order])


def test_equal_seeds_give_equal_partitions() -> None:
    pi = membership(subspaces(noise=2.0))
    first, second = (spectral_partitions(pi, [3, 7], seed=5, dense_up_to=10) for _ in range(2))
    assert all((first[k] == second[k]).all() for k in (3, 7))


def test_a_tensor_with_a_gradient_is_taken_as_it_is() -> None:
    pi = membership(subspaces())
    found = spectral_partitions(pi.clone().requires_grad_(), [4], seed=0)[4]
    np.testing.assert_array_equal(found, spectral_partitions(pi.numpy(), [4], seed=0)[4])


def test_one_cluster_one_per_row_and_none() -> None:
    affinity = planted()[:6, :6]
    found = spectral_partitions(affinity, [1, 6], seed=0)
    assert not found[1].any()
    assert set(found[6]) == set(range(6))
    assert spectral_partitions(affinity, [], seed=0) == {}


@pytest.mark.parametrize("candidates", [[0, 2], [2, 101]])
def test_refuses_candidates_that_the_rows_cannot_fill(candidates: list[int]) -> None:
    with pytest.raises(ValueError, match="between 1 and the number of rows, 100"):
        spectral_partitions(planted(), candidates, seed=0)


# ---- graphs that a new row can enter --------------------------------------------------------


def cones(size: int = 60, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows around five directions of 16 dimensions, and which one."""
    rng = np.random.default_rng(7)
    label = np.repeat(np.arange(5), size)
    return unit_rows(np.eye(5, 16)[label] + noise * rng.normal(size=(5 * size, 16)) / 2), label


def affinity(rows: np.ndarray, landmark: np.ndarray, count: int) -> csr_array:
    radius = local_radius(nearest_landmarks(landmark, landmark, count).cosine)
    return local_affinity(nearest_landmarks(rows, landmark, count), radius)


@pytest.mark.parametrize("count", [1, 5, 20, 99])
def test_nearest_landmarks_are_those_of_an_exact_search(count: int) -> None:
    rows = unit_rows(np.random.default_rng(8).normal(size=(70, 16)))
    found, expected = (
        nearest_landmarks(rows, rows[:20], count),
        nearest_rows(rows, rows[:20], count),
    )
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_allclose(found.cosine, expected.cosine, atol=1e-6)


def test_local_affinity_is_its_formula() -> None:
    rows, _ = cones(size=10)
    landmark = rows[::3]
    found = affinity(rows, landmark, 9).toarray()
    between = cdist(rows, landmark)
    radius = np.sort(cdist(landmark, landmark), axis=1)[:, 6]
    own = np.sort(between, axis=1)[:, 6]
    expected = np.exp(-(between**2) / (own[:, None] * radius))
    expected[between > np.sort(between, axis=1)[:, [8]]] = 0
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_row_of_a_symmetric_graph_is_placed_at_its_own_entries() -> None:
    graph = csr_array(planted())
    own = unit_rows(spectrum(graph, 4).vector)
    np.testing.assert_allclose(embedded(graph, row_coordinates(graph, 4)), own, atol=1e-4)


def test_landmarks_give_the_singular_vectors_of_the_bipartite_graph() -> None:
    rows, _ = cones()
    between = affinity(rows, rows[::4], 6)
    step = between.toarray() / between.sum(axis=1)[:, None]
    left, value, _ = np.linalg.svd(step / np.sqrt(step.sum(axis=0)), full_matrices=False)
    assert value[4] - value[5] > 0.1
    found, expected = embedded(between, landmark_coordinates(between, 5)), unit_rows(left[:, :5])
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_landmarks_come_close_to_the_exact_graph() -> None:
    rows, truth = cones(noise=0.55)
    exact = affinity(rows, rows, 16)
    few = affinity(rows, kmeans(rows, 60, spherical=True).centroid, 5)
    places = [
        embedded(exact, row_coordinates(exact, 5)),
        embedded(few, landmark_coordinates(few, 5)),
    ]
    first, second = (kmeans(u, 5, spherical=False, restarts=5).label for u in places)
    assert adjusted_rand_score(truth, first) > 0.8
    assert adjusted_rand_score(first, second) > 0.85


def test_new_rows_are_placed_among_rows_like_them() -> None:
    rows, truth = cones(size=80)
    known = np.arange(len(rows)) % 2 == 0
    graph = affinity(rows[known], rows[known], 16)
    coordinate = row_coordinates(graph, 5)
    fitted = kmeans(embedded(graph, coordinate), 5, spherical=False, restarts=5)
    places = embedded(affinity(rows[~known], rows[known], 16), coordinate)
    found = nearest(places, fitted.centroid).label
    in_sample = adjusted_rand_score(truth[known], fitted.label)
    assert adjusted_rand_score(truth[~known], found) > in_sample - 0.1


def test_a_piece_without_an_eigenvector_joins_the_nearest_as_a_whole() -> None:
    """Landmarks 2 and 3 are one piece; alone, each would go another way."""
    landmark = unit_rows(np.array([[1, 0, 0], [0, 1, 0], [0.2, 0.9, 1], [0.4, 0.3, 1], [0, 0, -1]]))
    coordinate = np.array([[1, 0], [0, 1], [0, 0], [0, 0], [0.5, 0.5]], np.float32)
    near = np.eye(5)
    near[2, 3] = 0.1
    found = joined(coordinate, landmark, csr_array(near))
    np.testing.assert_array_equal(found, [[1, 0], [0, 1], [0, 1], [0, 1], [0.5, 0.5]])
    apart = joined(coordinate, landmark, csr_array(np.eye(5)))
    np.testing.assert_array_equal(apart, [[1, 0], [0, 1], [0, 1], [1, 0], [0.5, 0.5]])
    assert not joined(np.zeros_like(coordinate), landmark, csr_array(near)).any()

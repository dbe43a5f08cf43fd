"""Maps of the plane: neighbours stay together, whichever way the points are laid out."""

from collections.abc import Callable

import faiss
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from clusterpipe.stages.numerics import projection
from clusterpipe.stages.numerics.preparation import unit_rows


def groups(n: int = 240, d: int = 20, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = np.arange(n) % k
    return unit_rows(np.eye(k, d)[label] + 0.15 * rng.normal(size=(n, d))), label


def agreement(points: np.ndarray, label: np.ndarray) -> float:
    """How often the five nearest points of the plane are of the row's own group."""
    return float(KNeighborsClassifier(5).fit(points, label).score(points, label))


def test_principal_plane_is_the_svd() -> None:
    rows, _ = groups()
    centred = rows - rows.mean(axis=0)
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    plane = projection.principal_plane(rows)
    assert_allclose(np.abs(plane), np.abs(centred @ axes[:2].T), atol=1e-5)
    assert_allclose(np.linalg.norm(plane, axis=0), size[:2], rtol=1e-5)


def test_tsne_keeps_groups_together() -> None:
    rows, label = groups()
    plane = projection.tsne_plane(rows, seed=1)
    assert agreement(plane, label) > 0.98
    assert_allclose(plane, projection.tsne_plane(rows, seed=1))


def test_rows_beyond_the_landmarks_land_in_their_group() -> None:
    rows, label = groups()
    plane = projection.tsne_plane(rows, landmarks=100, seed=1)
    assert agreement(plane, label) > 0.98


def test_a_row_that_equals_a_landmark_lands_on_it() -> None:
    rows, _ = groups(n=60)
    twice = np.concatenate([rows, rows])
    chosen = np.random.default_rng(3).permutation(120)[:60]
    plane = projection.tsne_plane(twice, landmarks=60, seed=3)
    spread = plane[chosen].std()
    for row in set(range(60)) - {int(c) % 60 for c in chosen}:
        assert not np.isnan(plane[row]).any()
    only = [int(c) for c in chosen if (int(c) + 60) % 120 not in chosen]
    for landmark in only:
        twin = (landmark + 60) % 120
        assert np.linalg.norm(plane[twin] - plane[landmark]) < 0.2 * spread


@pytest.mark.slow
def test_umap_keeps_groups_together_and_the_threads_of_others() -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed (extra: map)")
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    rows, label = groups()
    assert agreement(projection.umap_plane(rows, seed=1), label) > 0.98
    assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == threads


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("d", [1, 2, 9])
@pytest.mark.parametrize(
    "lay_out", [projection.principal_plane, projection.tsne_plane, projection.umap_plane]
)
def test_few_rows_have_a_place(
    n: int, d: int, lay_out: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    if lay_out is projection.umap_plane:
        pytest.importorskip("umap", reason="umap-learn is not installed (extra: map)")
    rows = unit_rows(np.random.default_rng(0).normal(size=(n, d)))
    points = projection.in_unit_square(lay_out(rows))
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


def test_equal_rows_have_a_place() -> None:
    points = projection.in_unit_square(projection.tsne_plane(np.ones((9, 4), np.float32)))
    assert np.isfinite(points).all()


def test_the_unit_square_keeps_proportions() -> None:
    points = np.array([[0.0, 0], [10, 0], [10, 5]], np.float32)
    assert_allclose(projection.in_unit_square(points), [[0, 0.25], [1, 0.25], [1, 0.75]])

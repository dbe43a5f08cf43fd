"""Centred cosines, groups and isolation against brute force."""

import numpy as np
import pytest

from clusterpipe.stages.numerics.curation import centred_cosine, centring, isolation, linked
from clusterpipe.stages.numerics.nearest import Nearest
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import unit_rows


@pytest.fixture
def rows() -> np.ndarray:
    """90 rows that share a large common part; one of them is zero."""
    rows = unit_rows(np.random.default_rng(0).normal(size=(90, 12)) + 1.5)
    rows[7] = 0
    return rows


def test_centred_cosines_are_those_of_centred_rows(rows: np.ndarray) -> None:
    near = neighbours(rows, 8)
    found = centred_cosine(near, centring(lambda: np.split(rows, [20, 50])))
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    expected = np.einsum("nd,nqd->nq", centred, centred[near.index])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.mean() < near.cosine.mean() - 0.2


def test_rows_that_are_all_the_same_keep_their_cosine() -> None:
    same = unit_rows(np.ones((5, 3), np.float32))
    found = centred_cosine(neighbours(same, 2), centring(lambda: [same]))
    np.testing.assert_allclose(found, 1, atol=1e-6)


def test_components_are_those_of_a_walk_over_the_links() -> None:
    rng = np.random.default_rng(1)
    index = np.array([rng.choice(np.delete(np.arange(40), row), 3, False) for row in range(40)])
    alike = rng.random((40, 3)) < 0.25
    found = linked(Nearest(index, np.zeros((40, 3), np.float32)), alike)
    expected = np.arange(40)
    for _ in range(40):
        for row, place in np.argwhere(alike):
            expected[[row, index[row, place]]] = expected[[row, index[row, place]]].min()
    assert 1 < len(np.unique(expected)) < 40
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)


def test_isolation_is_the_mean_distance_outside_the_component(rows: np.ndarray) -> None:
    near, component = neighbours(rows, 6), np.arange(90, dtype=np.int32) // 3
    component[30:60] = 5  # a crowd: some of it sees nothing else
    component[near.index[40]] = component[40]
    found = isolation(near, component)
    for row in range(90):
        others = [o for o in near.index[row] if component[o] != component[row]]
        others = others or [near.index[row, -1]]
        expected = np.mean([1 - rows[row] @ rows[other] for other in others])
        assert found[row] == pytest.approx(expected, abs=1e-5)


def test_a_single_row_has_no_neighbours() -> None:
    near = neighbours(np.ones((1, 4), np.float32), 5)
    component = linked(near, near.cosine > 0.9)
    assert component.tolist() == [0]
    assert isolation(near, component).tolist() == [0]

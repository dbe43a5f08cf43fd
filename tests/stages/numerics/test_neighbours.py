import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from clusterpipe.stages.numerics.nearest import nearest_in_blocks, nearest_rows, without
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import unit_rows


@pytest.fixture
def rows() -> np.ndarray:
    return unit_rows(np.random.default_rng(0).normal(size=(500, 16)))


@pytest.mark.parametrize("at_once", [3, 7, 4096])
def test_nearest_rows_are_those_of_scikit_learn(rows: np.ndarray, at_once: int) -> None:
    queries = unit_rows(np.random.default_rng(1).normal(size=(7, 16)))
    found = nearest_rows(queries, rows, 5, at_once=at_once)
    distance, index = NearestNeighbors(metric="cosine").fit(rows).kneighbors(queries, 5)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.cosine, 1 - distance, atol=1e-5)


@pytest.mark.parametrize("cuts", [[], [1, 2, 3], [100, 100, 350]])
def test_nearest_in_blocks_are_those_of_scikit_learn(rows: np.ndarray, cuts: list[int]) -> None:
    queries = unit_rows(np.random.default_rng(1).normal(size=(7, 16)))
    found = nearest_in_blocks(queries, np.split(rows, cuts), 9)
    distance, index = NearestNeighbors(metric="cosine").fit(rows).kneighbors(queries, 9)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.cosine, 1 - distance, atol=1e-5)


def test_no_more_are_found_than_there_are(rows: np.ndarray) -> None:
    found = nearest_in_blocks(rows[:2], np.split(rows[:5], [3]), 100)
    assert found.index.shape == (2, 5)
    assert sorted(found.index[0]) == [0, 1, 2, 3, 4]
    assert found.index[0, 0] == 0


def test_without_leaves_the_query_out_even_among_equal_rows(rows: np.ndarray) -> None:
    many = np.repeat(rows[:2], 30, axis=0)
    own = np.array([0, 29, 59])
    found = without(nearest_in_blocks(many[own], [many], 6), own)
    assert found.index.shape == (3, 5)
    assert not (found.index == own[:, None]).any()
    np.testing.assert_allclose(found.cosine, 1, atol=1e-5)


def test_a_row_is_not_its_own_neighbour(rows: np.ndarray) -> None:
    twice = np.concatenate([rows[:50], rows[:50], rows[:50]])
    found = neighbours(twice, 4)
    assert found.index.shape == (150, 4)
    assert not (found.index == np.arange(150)[:, None]).any()
    np.testing.assert_allclose(found.cosine[:, :2], 1, atol=1e-5)


@pytest.mark.parametrize(("n", "expected"), [(1, 0), (2, 1), (4, 3)])
def test_there_are_no_more_neighbours_than_other_rows(n: int, expected: int) -> None:
    assert neighbours(np.eye(4, 8, dtype=np.float32)[:n], 9).index.shape == (n, expected)


def test_an_inverted_file_finds_nearly_all() -> None:
    many = unit_rows(np.random.default_rng(2).normal(size=(6000, 16)))
    exact = neighbours(many, 10)
    told: list[int] = []
    approximate = neighbours(many, 10, seed=2**32 - 1, exact_up_to=1000, done=told.append)
    assert sum(told) == 6000
    same = [len(np.intersect1d(a, b)) for a, b in zip(exact.index, approximate.index, strict=True)]
    assert np.mean(same) > 0.93 * 10
    own = np.einsum("nd,nqd->nq", many, many[approximate.index])
    np.testing.assert_allclose(approximate.cosine, own, atol=1e-3)

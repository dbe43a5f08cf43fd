"""Gaps in the spectrum of neighbour graphs, against closed forms and brute force."""

import numpy as np
import pytest
from scipy.linalg import block_diag, eigvalsh
from scipy.sparse import csr_array

from clusterpipe.stages.numerics.cluster_count import Curve
from clusterpipe.stages.numerics.eigengap import (
    count_near,
    eigengaps,
    neighbour_graph,
    reweighted_values,
)
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.spectral import spectrum


def families(count: int, each: int, size: int) -> np.ndarray:
    """Clusters that differ less than the families that they come in."""
    rng = np.random.default_rng(0)
    family = np.repeat(unit_rows(rng.normal(size=(count, 48))), each, axis=0)
    centre = unit_rows(family + 0.4 * unit_rows(rng.normal(size=family.shape)))
    rows = np.repeat(centre, size, axis=0)
    return unit_rows(rows + 0.7 * rng.normal(size=rows.shape) / np.sqrt(48))


def curve_at(k: int, most: int, drawn: list[int]) -> Curve:
    """A curve whose least length is at k."""
    candidate = np.arange(1, most + 1)
    return Curve(candidate, np.abs(candidate - float(k)), np.array(drawn))


def cliques(sizes: list[int]) -> csr_array:
    return csr_array(block_diag(*(np.ones((m, m)) - np.eye(m) for m in sizes)))


def test_the_gap_of_cliques_is_known() -> None:
    gaps = eigengaps(cliques([6] * 4), 8, resamples=1, seed=0)
    expected = np.where(np.arange(1, 9) == 4, 1 + 1 / 5, 0)
    np.testing.assert_allclose(gaps.width, expected, atol=1e-12)


def test_there_are_no_more_gaps_than_the_graph_has() -> None:
    gaps = eigengaps(cliques([3, 3]), 40, resamples=2, seed=0)
    assert gaps.width.shape == (5,)
    assert gaps.drawn.shape == (2, 5)


def test_reweighted_values_are_those_of_a_graph_in_which_rows_repeat() -> None:
    rng = np.random.default_rng(0)
    graph = neighbour_graph(unit_rows(rng.normal(size=(30, 5))), 6)
    weight = rng.integers(1, 4, 30)
    found = reweighted_values(graph, spectrum(graph, 30), weight.astype(float))
    copies = np.repeat(np.arange(30), weight)
    repeated = graph.toarray()[np.ix_(copies, copies)]
    scale = 1 / np.sqrt(repeated.sum(axis=1))
    expected = np.sort(eigvalsh(repeated * scale * scale[:, None]))[::-1]
    kept = expected[np.abs(expected) > 1e-9]  # copies of a row add zeros
    np.testing.assert_allclose(found[found > 1e-6], kept[kept > 1e-6], atol=1e-6)


def test_rows_that_were_not_drawn_leave_numbers() -> None:
    graph = cliques([5, 5])
    weight = np.array([0.0] * 5 + [1.0] * 5)
    values = reweighted_values(graph, spectrum(graph, 6), weight)
    assert values[0] == pytest.approx(1)
    assert (values[1:] < 0.5).all()


def test_a_neighbour_graph_joins_both_ways() -> None:
    rows = unit_rows(np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0, 1]]))
    expected = [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    np.testing.assert_array_equal(neighbour_graph(rows, 1).toarray(), expected)


@pytest.mark.parametrize(("guess", "k"), [(4, 4), (6, 4), (12, 16), (20, 16)])
def test_the_guess_says_which_of_two_gaps_is_meant(guess: int, k: int) -> None:
    rows = families(4, 4, 40)
    found = count_near(curve_at(guess, 80, [guess]), rows)
    assert found.k == k
    assert found.low <= k <= found.high


def test_the_interval_spans_what_the_curve_is_in_doubt_about() -> None:
    rows = families(4, 4, 40)
    doubtful = count_near(curve_at(12, 80, [4, 14] * 20), rows)
    assert doubtful.k == 16
    assert doubtful.low == 4
    sure = count_near(curve_at(14, 80, [14] * 20), rows)
    assert sure.low > 8


def test_without_a_gap_the_guess_stands() -> None:
    rows = families(10, 1, 40)
    found = count_near(curve_at(6, 6, [6]), rows)
    assert found.k == 6


def test_rotation_and_order_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    rows = families(3, 3, 40)
    changed = rows @ np.linalg.qr(rng.normal(size=(48, 48)))[0]
    for each in (rows, changed[rng.permutation(len(rows))].astype(np.float32)):
        assert count_near(curve_at(8, 60, [8]), each).k == 9

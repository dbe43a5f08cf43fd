"""Near-copies leave one row of each group; what is only a tight cluster stays."""

import numpy as np

from clusterpipe.stages.numerics.near_copies import firsts, without_near_copies
from clusterpipe.stages.numerics.preparation import unit_rows


def apart(n: int, *, d: int = 64, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


def changed(rows: np.ndarray, size: float, *, seed: int = 1) -> np.ndarray:
    """The rows, each moved by `size`."""
    return unit_rows(rows + size * apart(*rows.shape[:1], d=rows.shape[1], seed=seed))


def test_the_first_of_each_group_stays() -> None:
    rows = apart(100)
    many = np.concatenate([rows, changed(rows[:30], 0.05), changed(rows[:5], 0.05, seed=2)])
    np.testing.assert_array_equal(without_near_copies(many), rows)


def test_of_copies_in_any_order_the_first_is_taken() -> None:
    rows = apart(100)
    many = np.concatenate([rows, changed(rows[:30], 0.05)])
    order = np.random.default_rng(3).permutation(len(many))
    _, expected = np.unique(order % 100, return_index=True)
    np.testing.assert_array_equal(firsts(many[order]), np.sort(expected))


def test_members_of_tight_clusters_are_no_copies() -> None:
    rows = changed(np.repeat(apart(5), 40, axis=0), 0.05)
    assert len(without_near_copies(rows)) == 200


def test_rows_that_lie_apart_stay() -> None:
    rows = apart(50)
    assert len(without_near_copies(rows)) == 50


def test_few_rows_stay_as_they_are() -> None:
    rows = np.repeat(apart(4), 5, axis=0)
    assert len(without_near_copies(rows)) == 20

"""Search by cells against the plain product of all rows with all."""

import numpy as np
import pytest

from clusterpipe.stages.numerics.cell_search import (
    SCREEN,
    TINY,
    Turned,
    Workspace,
    best_of,
    cell_search,
)
from clusterpipe.stages.numerics.nearest import Nearest, nobody
from clusterpipe.stages.numerics.preparation import unit_rows

N, D, COUNT = 5000, 128, 10


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Rows around 12 centres in more directions than are screened; 700 of them are the same one."""
    random = np.random.default_rng(0)
    fall = (np.arange(D) + 4.0) ** -0.5
    found = random.normal(size=(12, D))[np.arange(N) % 12] * 0.5 + random.normal(size=(N, D)) * fall
    found[random.choice(N, 700, replace=False)] = found[3]
    return unit_rows(found)


@pytest.fixture(scope="module")
def found(rows: np.ndarray) -> Nearest:
    return cell_search(rows, COUNT, seed=2**31, done=nobody)


def test_the_recall_told_is_that_of_the_whole(rows: np.ndarray, found: Nearest) -> None:
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, -2)
    last = np.sort(cosine, axis=1)[:, -COUNT]
    right = np.take_along_axis(cosine, np.asarray(found.index, np.int64), 1) >= last[:, None] - 2e-3
    assert right.mean() > 0.95
    assert 0.85 < found.recall <= 1  # of equal rows, any may be the true ones


def test_cosines_are_of_the_rows_named_and_fall(rows: np.ndarray, found: Nearest) -> None:
    own = np.einsum("nd,nqd->nq", rows, rows[found.index])
    np.testing.assert_allclose(found.cosine, own, atol=5e-4)
    assert (np.diff(found.cosine, axis=1) <= 0).all()


def test_no_row_is_its_own_neighbour_or_named_twice(found: Nearest) -> None:
    assert not (found.index == np.arange(N)[:, None]).any()
    ordered = np.sort(found.index, axis=1)
    assert (np.diff(ordered, axis=1) > 0).all()


def test_the_same_seed_gives_the_same(rows: np.ndarray, found: Nearest) -> None:
    again = cell_search(rows, COUNT, seed=2**31, done=nobody)
    np.testing.assert_array_equal(again.index, found.index)
    assert again.recall == found.recall


def test_turning_keeps_products_and_puts_the_leading_axes_first(rows: np.ndarray) -> None:
    turned = Turned.of(rows).rows(rows)
    np.testing.assert_allclose(turned[:50] @ turned.T, rows[:50] @ rows.T, atol=1e-5)
    _, scale, _ = np.linalg.svd(rows, full_matrices=False)
    assert np.square(turned[:, :SCREEN]).sum() == pytest.approx(
        np.square(scale[:SCREEN]).sum(), rel=1e-4
    )


@pytest.mark.parametrize("candidates", [4, 40, 10_000])
def test_the_best_are_right_however_few_candidates_are_asked_for(candidates: int) -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(400, 32)).astype(np.float32)
    found = best_of(rows, 70, candidates, 6, Workspace())
    product = rows[:70] @ rows.T
    product[np.arange(70), np.arange(70)] = TINY
    np.testing.assert_array_equal(found.index, np.argsort(-product, axis=1)[:, :6])

"""Matrices by blocks of rows give what numpy gives on the whole."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from clusterpipe.cache.rows import (
    ConcatenatedRows,
    LaterRows,
    MappedRows,
    StackedRows,
    blocks,
    normalise,
    take,
    widths_of,
)


@dataclass
class Watched:
    """A matrix that notes which rows are read."""

    matrix: NDArray[Any]
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        start, stop, _ = rows.indices(len(self.matrix))
        self.reads.append((start, stop))
        return self.matrix[rows]


def matrix(n: int, d: int = 3, dtype: str = "f4") -> NDArray[Any]:
    return np.random.default_rng(n).standard_normal((n, d)).astype(dtype)


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_blocks_are_successive_and_as_long_as_they_may_be(n: int, sizes: list[int]) -> None:
    rows = matrix(n)
    parts = list(blocks(rows, 4))
    assert [len(part) for part in parts] == sizes
    assert_array_equal(np.concatenate([rows[:0], *parts]), rows)


@given(n=st.integers(1, 40), size=st.integers(1, 50), data=st.data())
def test_take_is_fancy_indexing(n: int, size: int, data: st.DataObject) -> None:
    rows = Watched(matrix(n))
    index = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=60)), np.int64)
    taken = take(rows, index, size)
    assert_array_equal(taken, rows.matrix[index])
    assert taken.dtype == rows.dtype
    assert len(set(rows.reads)) == len(rows.reads)
    assert {start // size for start, _ in rows.reads} == set((index // size).tolist())


@pytest.mark.parametrize("index", [[5], [-1], [0, 7, 1]])
def test_take_refuses_rows_that_are_not_there(index: list[int]) -> None:
    with pytest.raises(IndexError):
        take(matrix(5), np.array(index))


def test_mapped_rows_apply_the_function_to_what_is_read_only() -> None:
    source = Watched(matrix(100, 4))
    mapped = MappedRows(source, lambda block: block[:, :2] ** 2, width=2)
    assert source.reads == []
    assert mapped.shape == (100, 2)
    assert_allclose(mapped[10:30], source.matrix[10:30, :2] ** 2)
    assert source.reads == [(10, 30)]
    assert mapped[0:5].dtype == mapped.dtype == np.float32
    assert_array_equal(np.concatenate(list(blocks(mapped, 7))), mapped[0:100])


def test_concatenated_spaces_weigh_the_same() -> None:
    parts = [matrix(20, 3) * 1000, matrix(20, 5, "f2")]
    both = ConcatenatedRows(parts)
    assert both.shape == (20, 8)
    assert both[3:9].dtype == both.dtype == np.float32
    for columns, part in zip((np.s_[:3], np.s_[3:]), parts, strict=True):
        expected = part / np.linalg.norm(part.astype(np.float64), axis=1, keepdims=True)
        assert_allclose(both[0:20][:, columns], expected, rtol=1e-3)
        assert_allclose(np.linalg.norm(both[0:20][:, columns], axis=1), 1, rtol=1e-6)
    assert_array_equal(take(both, np.array([4, 2])), both[0:20][[4, 2]])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_normalised_rows_keep_their_direction(dtype: str) -> None:
    rows = matrix(50, 6, dtype)
    unit = normalise(rows)
    exact = rows.astype(np.float64)
    assert unit.dtype == np.float32
    assert_allclose(unit, exact / np.linalg.norm(exact, axis=1, keepdims=True), rtol=1e-5)


def test_normalising_loses_nothing_to_half_precision() -> None:
    """Squares of 300 overflow float16, and those of 1e-4 vanish in it."""
    rows = np.array([[300, 400], [3e-4, 4e-4]], np.float16)
    assert_allclose(normalise(rows), [[0.6, 0.8]] * 2, rtol=2e-3)


def test_a_zero_row_stays_zero() -> None:
    assert_array_equal(normalise(np.zeros((2, 3), np.float16)), np.zeros((2, 3)))


def test_normalising_leaves_its_argument_alone() -> None:
    rows = matrix(4)
    before = rows.copy()
    normalise(rows)
    assert_array_equal(rows, before)


def test_spaces_side_by_side_tell_their_widths() -> None:
    parts = [np.ones((4, 3), np.float16), np.ones((4, 2), np.float32)]
    assert widths_of(ConcatenatedRows(parts)) == (3, 2)
    assert widths_of(parts[0]) == (3,)


@pytest.mark.parametrize(("start", "stop"), [(0, 9), (2, 3), (3, 7), (6, 9), (4, 4), (8, 50)])
def test_stacked_and_later_rows_read_like_arrays(start: int, stop: int) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    stacked = StackedRows([rows[:3], rows[3:4], rows[4:]])
    assert (stacked.shape, stacked.dtype) == (rows.shape, rows.dtype)
    assert_array_equal(stacked[start:stop], rows[start:stop])
    later = LaterRows(rows, 2)
    assert later.shape == (7, 3)
    assert_array_equal(later[start:stop], rows[2:][start:stop])

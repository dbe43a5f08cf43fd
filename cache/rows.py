"""Matrices read by blocks of rows, so that no stage needs all of them in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 16_384


class Rows(Protocol):
    """Anything with a shape, a dtype and row slices: a numpy array, an HDF5 dataset, a mapping."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


def blocks(rows: Rows, size: int = BLOCK) -> Iterator[NDArray[Any]]:
    """Successive blocks of at most `size` rows, in order."""
    for start in range(0, rows.shape[0], size):
        yield rows[start : start + size]


def take(rows: Rows, index: NDArray[np.integer[Any]], size: int = BLOCK) -> NDArray[Any]:
    """The rows named by `index` (m,), in that order, reading each block at most once.

    Raises IndexError for a row that is not among 0..n-1.
    """
    order = np.argsort(index, kind="stable")
    wanted = np.asarray(index)[order]
    if len(wanted) and not (wanted[0] >= 0 and wanted[-1] < rows.shape[0]):
        raise IndexError(f"rows {wanted[0]}..{wanted[-1]} of {rows.shape[0]}")
    out = np.empty((len(wanted), *rows.shape[1:]), rows.dtype)
    for start in range(0, rows.shape[0], size):
        low, high = np.searchsorted(wanted, [start, start + size])
        if low < high:
            first, last = wanted[low], wanted[high - 1]
            out[order[low:high]] = rows[first : last + 1][wanted[low:high] - first]
    return out


@dataclass(frozen=True)
class MappedRows:
    """`function` applied to each block of `source`; computed anew whenever it is read.

    `function` takes (b, d) and returns (b, `width`); it must treat rows independently.
    """

    source: Rows
    function: Callable[[NDArray[Any]], NDArray[Any]]
    width: int
    dtype: np.dtype[Any] = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.source.shape[0], self.width)

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        return self.function(self.source[rows]).astype(self.dtype, copy=False)


@dataclass(frozen=True)
class ConcatenatedRows:
    """Several spaces side by side, each of unit length, so that none outweighs another.

    Parts are (n, d), or all (n, v, d).
    """

    parts: Sequence[Rows]

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.parts[0].shape[:-1], sum(part.shape[-1] for part in self.parts))

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        return np.concatenate([normalise(part[rows]) for part in self.parts], axis=-1)


def widths_of(rows: Rows) -> tuple[int, ...]:
    """The widths of the spaces that are side by side in these rows, (d,) for one."""
    if not isinstance(rows, ConcatenatedRows):
        return (rows.shape[1],)
    return tuple(width for part in rows.parts for width in widths_of(part))


@dataclass(frozen=True)
class StackedRows:
    """Matrices of one width, one below the other."""

    parts: Sequence[Rows]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.parts[0].dtype

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        found, position = [], 0
        for part in self.parts:
            low, high = max(start - position, 0), min(stop - position, part.shape[0])
            found.append(part[low : max(low, high)])
            position += part.shape[0]
        return np.concatenate(found).astype(self.dtype, copy=False)


@dataclass(frozen=True)
class LaterRows:
    """The rows of a matrix from `start` on."""

    source: Rows
    start: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.source.shape[0] - self.start, *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        return self.source[self.start + start : self.start + max(start, stop)]


def normalise(block: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to unit length in float32, whatever their length is; a zero row stays zero."""
    block = block.astype(np.float32, copy=False)
    peak = np.abs(block).max(axis=-1, keepdims=True, initial=0)
    block = np.ldexp(block, -np.frexp(peak)[1])  # exact, and squares stay within float32
    norm = np.linalg.norm(block, axis=-1, keepdims=True)
    return np.asarray(block / np.where(norm > 0, norm, 1), np.float32)

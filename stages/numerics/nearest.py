"""Nearest rows by cosine, exactly, a block at a time, never n x n; rows are read by slices."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

QUERIES = 4096  # looked up at a time


class Sliced(Protocol):
    """Unit rows (n, d) that are read by slices: an array, or what makes one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Nearest:
    """The q rows nearest to each of m queries, nearest first.

    index: (m, q) row numbers; cosine: (m, q) float32, descending; recall: the share of the true
    neighbours that is among those found, 1 where the search is exact.
    """

    index: NDArray[np.integer[Any]]
    cosine: NDArray[np.float32]
    recall: float = 1.0


def nobody(rows: int) -> None:
    """Tells nobody."""


def nearest_rows(
    queries: NDArray[np.float32], rows: NDArray[np.float32], count: int, *, at_once: int = QUERIES
) -> Nearest:
    """The `count` rows (all, if there are fewer) of largest cosine with each query. Exact.

    queries: (m, d), rows: (n, d), both of unit length (a zero row has cosine 0 with everything);
    `at_once` of them are looked up at a time.
    """
    return searched(flat(rows), queries, min(count, len(rows)), at_once=at_once)


def nearest_in_blocks(
    queries: NDArray[np.float32], blocks: Iterable[NDArray[np.float32]], count: int
) -> Nearest:
    """The `count` rows (all, if there are fewer) of largest cosine with each query. Exact.

    queries: (m, d); blocks: successive parts of the rows (n, d); all of unit length. Memory
    O(m count + m d) and one block, whatever n.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    best, start = faiss.ResultHeap(len(queries), count, keep_max=True), 0
    for block in blocks:
        block = np.ascontiguousarray(block, np.float32)
        wanted = min(count, len(block))
        cosine, index = faiss.knn(queries, block, wanted, faiss.METRIC_INNER_PRODUCT)
        best.add_result(cosine, index + start)
        start += len(block)
    best.finalize()
    return Nearest(best.I[:, :start], best.D[:, :start])


def without(found: Nearest, own: NDArray[np.integer[Any]]) -> Nearest:
    """Lists one shorter: each without the row `own` (m,), or, if equal rows crowded that out,
    without the last one."""
    m, q = found.index.shape
    dropped = found.index == own[:, None]
    dropped[~dropped.any(axis=1), -1] = True
    return Nearest(
        found.index[~dropped].reshape(m, q - 1), found.cosine[~dropped].reshape(m, q - 1)
    )


def searched(
    index: faiss.Index,
    queries: Sliced,
    count: int,
    done: Callable[[int], None] = nobody,
    *,
    at_once: int = QUERIES,
) -> Nearest:
    shape = queries.shape[0], count
    found, start = Nearest(np.empty(shape, np.int64), np.empty(shape, np.float32)), 0
    for block in sliced(queries, at_once):
        part = slice(start, start + len(block))
        found.cosine[part], found.index[part] = index.search(block, count)
        start += len(block)
        done(len(block))
    return found


def sliced(rows: Sliced, at_once: int = QUERIES) -> Iterator[NDArray[np.float32]]:
    """Successive blocks of rows, in float32."""
    for start in range(0, rows.shape[0], at_once):
        yield np.ascontiguousarray(rows[start : start + at_once], np.float32)


def flat(rows: Sliced) -> faiss.Index:
    """An index that searches all of `rows`."""
    index = faiss.IndexFlatIP(rows.shape[1])
    for block in sliced(rows):
        index.add(block)
    return index


def picked(
    rows: Sliced,
    wanted: NDArray[np.integer[Any]],
    mapped: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.asarray,
) -> NDArray[np.float32]:
    """The rows numbered `wanted` (m,), in ascending order, each block of them `mapped`."""
    wanted, parts, start = np.sort(wanted), list[NDArray[np.float32]](), 0
    for block in sliced(rows):
        low, high = np.searchsorted(wanted, [start, start + len(block)])
        parts.append(mapped(block[wanted[low:high] - start]))
        start += len(block)
    return np.concatenate(parts)

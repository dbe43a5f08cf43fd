"""Nearest neighbours of unit rows by cosine, a block of queries at a time, never n x n."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

QUERIES = 4096  # looked up at a time
EXACT_UP_TO = 50_000  # rows; beyond, an inverted file is searched
LEAST_RECALL, PROBED = 0.95, 1000  # of the inverted file, on this many exact queries
TRAINED = 64  # rows per list that place the lists of an inverted file


class Sliced(Protocol):
    """Unit rows (n, d) in float32 that are read by slices: an array, or what makes one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]: ...


def _nobody(rows: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Nearest:
    """The q rows nearest to each of m queries, nearest first.

    index: (m, q) int64 row numbers; cosine: (m, q) float32, descending.
    """

    index: NDArray[np.int64]
    cosine: NDArray[np.float32]


def nearest_rows(
    queries: NDArray[np.float32], rows: NDArray[np.float32], count: int, *, at_once: int = QUERIES
) -> Nearest:
    """The `count` rows (all, if there are fewer) of largest cosine with each query. Exact.

    queries: (m, d), rows: (n, d), both of unit length (a zero row has cosine 0 with everything);
    `at_once` of them are looked up at a time.
    """
    return _searched(_flat(rows), queries, min(count, len(rows)), at_once=at_once)


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


def neighbours(
    rows: Sliced,
    count: int,
    *,
    seed: int = 0,
    exact_up_to: int = EXACT_UP_TO,
    done: Callable[[int], None] = _nobody,
) -> Nearest:
    """The `count` other rows nearest to each row; (n, q), q = min(count, n - 1).

    rows: (n, d) of unit length. Exact up to `exact_up_to` rows; beyond, an inverted file that is
    probed until it finds 95% of the neighbours of 1,000 random rows, and holds rows in half
    precision, which moves cosines by less than 0.001. Rows are read by slices and held once, in the
    index: memory O(n (d + q)). Of equal rows any may come first, but a row is never its own
    neighbour. `done` is told how many rows have been looked up.
    """
    n = rows.shape[0]
    wanted = min(count, n - 1)
    if wanted < 1:
        return Nearest(np.empty((n, 0), np.int64), np.empty((n, 0), np.float32))
    index = _flat(rows) if n <= exact_up_to else _inverted(rows, wanted, seed)
    return without(_searched(index, rows, wanted + 1, done), np.arange(n))


def without(found: Nearest, own: NDArray[np.integer[Any]]) -> Nearest:
    """Lists one shorter: each without the row `own` (m,), or, if equal rows crowded that out,
    without the last one."""
    m, q = found.index.shape
    dropped = found.index == own[:, None]
    dropped[~dropped.any(axis=1), -1] = True
    return Nearest(
        found.index[~dropped].reshape(m, q - 1), found.cosine[~dropped].reshape(m, q - 1)
    )


def _searched(
    index: faiss.Index,
    queries: Sliced,
    count: int,
    done: Callable[[int], None] = _nobody,
    *,
    at_once: int = QUERIES,
) -> Nearest:
    shape = queries.shape[0], count
    found, start = Nearest(np.empty(shape, np.int64), np.empty(shape, np.float32)), 0
    for block in _blocks(queries, at_once):
        part = slice(start, start + len(block))
        found.cosine[part], found.index[part] = index.search(block, count)
        start += len(block)
        done(len(block))
    return found


def _blocks(rows: Sliced, at_once: int = QUERIES) -> Iterator[NDArray[np.float32]]:
    for start in range(0, rows.shape[0], at_once):
        yield np.ascontiguousarray(rows[start : start + at_once], np.float32)


def _flat(rows: Sliced) -> faiss.Index:
    index = faiss.IndexFlatIP(rows.shape[1])
    for block in _blocks(rows):
        index.add(block)
    return index


def _inverted(rows: Sliced, count: int, seed: int) -> faiss.Index:
    """An inverted file over `rows`, probing as many lists as its recall takes."""
    n, d = rows.shape
    lists, random = int(4 * np.sqrt(n)), np.random.default_rng(seed)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(d), d, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = seed % 2**31  # FAISS takes a signed one
    index.train(_picked(rows, random.choice(n, min(n, TRAINED * lists), replace=False)))
    for block in _blocks(rows):
        index.add(block)
    probe = _picked(rows, random.choice(n, PROBED, replace=False))
    truth = nearest_in_blocks(probe, _blocks(rows), count).index
    index.nprobe = 8
    while (
        index.nprobe < lists and _recall(_searched(index, probe, count).index, truth) < LEAST_RECALL
    ):
        index.nprobe = min(2 * index.nprobe, lists)
    return index


def _picked(rows: Sliced, wanted: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The rows numbered `wanted` (m,), in ascending order."""
    wanted, parts, start = np.sort(wanted), list[NDArray[np.float32]](), 0
    for block in _blocks(rows):
        low, high = np.searchsorted(wanted, [start, start + len(block)])
        parts.append(block[wanted[low:high] - start])
        start += len(block)
    return np.concatenate(parts)


def _recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The share of the true neighbours (m, q) that were found."""
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
    return float(np.sum(hits) / truth.size)

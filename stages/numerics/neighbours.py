"""Nearest neighbours of unit rows by cosine, a block of queries at a time, never n x n."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

QUERIES = 4096  # looked up at a time
EXACT_UP_TO = 50_000  # rows; beyond, an inverted file is searched
LEAST_RECALL, PROBED = 0.95, 1000  # of the inverted file, on this many exact queries


@dataclass(frozen=True)
class Nearest:
    """The q rows nearest to each of m queries, nearest first.

    index: (m, q) int64 row numbers; cosine: (m, q) float32, descending.
    """

    index: NDArray[np.int64]
    cosine: NDArray[np.float32]


def nearest_rows(queries: NDArray[np.float32], rows: NDArray[np.float32], count: int) -> Nearest:
    """The `count` rows (all, if there are fewer) of largest cosine with each query. Exact.

    queries: (m, d), rows: (n, d), both of unit length (a zero row has cosine 0 with everything).
    """
    return _searched(_flat(rows), queries, min(count, len(rows)))


def neighbours(rows: NDArray[np.float32], count: int, *, seed: int = 0) -> Nearest:
    """The `count` other rows nearest to each row; (n, q), q = min(count, n - 1).

    rows: (n, d) of unit length. Exact up to 50,000 rows; beyond, an inverted file that is probed
    until it finds 95% of the neighbours of 1,000 random rows. Memory O(n (d + q)). Of equal rows
    any may come first, but a row is never its own neighbour.
    """
    wanted = min(count, len(rows) - 1)
    if wanted < 1:
        return Nearest(np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0), np.float32))
    index = _flat(rows) if len(rows) <= EXACT_UP_TO else _inverted(rows, wanted, seed)
    return without(_searched(index, rows, wanted + 1), np.arange(len(rows)))


def without(found: Nearest, own: NDArray[np.integer[Any]]) -> Nearest:
    """Lists one shorter: each without the row `own` (m,), or, if equal rows crowded that out,
    without the last one."""
    m, q = found.index.shape
    dropped = found.index == own[:, None]
    dropped[~dropped.any(axis=1), -1] = True
    return Nearest(
        found.index[~dropped].reshape(m, q - 1), found.cosine[~dropped].reshape(m, q - 1)
    )


def _searched(index: faiss.Index, queries: NDArray[np.float32], count: int) -> Nearest:
    parts = [index.search(block, count) for block in _blocks(queries)]
    return Nearest(
        np.concatenate([found for _, found in parts]),
        np.concatenate([cosine for cosine, _ in parts]),
    )


def _blocks(queries: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(queries), QUERIES):
        yield np.ascontiguousarray(queries[start : start + QUERIES], np.float32)


def _flat(rows: NDArray[np.float32]) -> faiss.Index:
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(np.ascontiguousarray(rows, np.float32))
    return index


def _inverted(rows: NDArray[np.float32], count: int, seed: int) -> faiss.Index:
    """An inverted file over `rows`, probing as many lists as its recall takes."""
    lists = int(4 * np.sqrt(len(rows)))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(rows.shape[1]), rows.shape[1], lists, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = seed
    index.train(rows)
    index.add(np.ascontiguousarray(rows, np.float32))
    probe = rows[np.random.default_rng(seed).choice(len(rows), PROBED, replace=False)]
    truth = nearest_rows(probe, rows, count).index
    index.nprobe = 8
    while (
        index.nprobe < lists and _recall(_searched(index, probe, count).index, truth) < LEAST_RECALL
    ):
        index.nprobe = min(2 * index.nprobe, lists)
    return index


def _recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The share of the true neighbours (m, q) that were found."""
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
    return float(np.sum(hits) / truth.size)

"""Metrics of a search for rows of the query's class.

A list of hits is judged by `relevant` (m, q): for each of m queries whether its 1st, 2nd, ... hit
is of its class; `available` (m,) is how many such rows there are to be found.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Counts = NDArray[np.integer[Any]]
PerQuery = NDArray[np.float64]


def precision(relevant: Flags, depth: int) -> PerQuery:
    """Precision@depth (m,), 0..1: the share of the first `depth` hits that are relevant.

    Of a list that is shorter, the share of the list.
    """
    return np.asarray(relevant[:, :depth].mean(axis=1))


def average_precision(relevant: Flags, available: Counts, depth: int) -> PerQuery:
    """AP@depth (m,), 0..1; its mean over queries is mAP@depth. available: at least 1 each.

    The sum of precision@i over the ranks i <= depth of relevant hits, divided by
    min(depth, available): 1 when nothing irrelevant comes before what could be found.
    """
    hits = relevant[:, :depth]
    at_rank = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((at_rank * hits).sum(axis=1) / np.minimum(depth, available))


def chance_precision(available: Counts, rows: int) -> PerQuery:
    """Expectation of `precision` when `rows` rows come in random order."""
    return np.asarray(available / rows)


def chance_average_precision(available: Counts, rows: int, depth: int) -> PerQuery:
    """Expectation of `average_precision` when `rows` rows come in random order.

    Rank i is relevant with probability p = available / rows, and each rank before it then with
    p' = (available - 1) / (rows - 1): its term is p (1 + (i - 1) p') / i on average.
    """
    rank = np.arange(1, min(depth, rows) + 1)
    before = (available - 1) / max(rows - 1, 1)
    at_rank = (1 + (rank - 1) * before[:, None]) / rank
    return np.asarray(available / rows * at_rank.sum(axis=1) / np.minimum(depth, available))

"""Metrics of a partition: its agreement with a reference, and its cohesion by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln, xlogy
from sklearn.metrics import silhouette_score

Labels = NDArray[np.integer[Any]]

TINY = float(np.finfo(np.float64).eps)
SPREADS, MORE = 12, 40  # standard deviations and rows of a hypergeometric count that matter


@dataclass(frozen=True)
class Agreement:
    """Agreement of a partition with the truth; all are 1 when they are the same.

    accuracy: share of rows in the class their cluster stands for, under the best one-to-one
    match. nmi: mutual information over the arithmetic mean of the entropies. ami and ari: adjusted
    for chance, so that 0 is what chance gives. purity: share of rows in their cluster's largest
    class; it grows with the number of clusters.
    """

    accuracy: float
    nmi: float
    ami: float
    ari: float
    purity: float


def contingency(label: Labels, cluster: Labels) -> NDArray[np.int64]:
    """Rows per class and cluster, (c, k). label and cluster: (n,), from 0; -1 leaves a row out."""
    known = (label >= 0) & (cluster >= 0)
    c, k = int(label.max(initial=-1)) + 1, int(cluster.max(initial=-1)) + 1
    cell = label[known].astype(np.int64) * k + cluster[known]
    return np.bincount(cell, minlength=c * k).reshape(c, k)


def agreement(label: Labels, cluster: Labels) -> Agreement:
    """Agreement of `cluster` (n,) with `label` (n,); n > 0 and labels not negative.

    Unassigned rows (cluster -1) count as errors in accuracy and purity, and as one more cluster in
    nmi, ami and ari. Memory O(c k).
    """
    every = contingency(label, np.asarray(cluster) + 1)
    counts = every[:, 1:]
    nmi, ami = _mutual_information(every)
    return Agreement(
        accuracy=matched(counts) / len(label),
        nmi=nmi,
        ami=ami,
        ari=_adjusted_rand(every),
        purity=int(counts.max(axis=0, initial=0).sum()) / len(label),
    )


def _mutual_information(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Mutual information of a table (c, k) over the mean entropy, plain and adjusted for chance.

    Vinh, Epps and Bailey (2010). Two partitions into one part each, or into single rows, agree: 1.
    """
    row, column = counts.sum(axis=1), counts.sum(axis=0)
    row, column = row[row > 0], column[column > 0]
    n = int(row.sum())
    if len(row) == len(column) == 1 or len(row) == len(column) == n:
        return 1.0, 1.0
    mean = (_entropy(row / n) + _entropy(column / n)) / 2
    found = max(2 * mean - _entropy(counts[counts > 0] / n), 0.0)
    chance = expected_information(tuple(np.sort(row).tolist()), tuple(np.sort(column).tolist()))
    above = mean - chance  # as sign and least size, where rounding is all there is
    above = min(above, -TINY) if above < 0 else max(above, TINY)
    return found / max(mean, TINY), (found - chance) / above


def _entropy(share: NDArray[np.float64]) -> float:
    return float(-xlogy(share, share).sum())


@lru_cache(maxsize=64)
def expected_information(row: tuple[int, ...], column: tuple[int, ...]) -> float:
    """Mutual information, in nats, to expect of random partitions with parts of these sizes.

    Vinh, Epps and Bailey (2010), equation 24. A count is hypergeometric; terms that are more than
    `SPREADS` standard deviations and `MORE` rows from its mean are left out: no digit changes. It
    is remembered, as labels dealt out at random have the sizes of those that they stand for.
    """
    size, times = np.unique(row, return_counts=True)
    other, others = np.unique(column, return_counts=True)
    each = np.array([_expected_of(a, other, sum(row)) @ others for a in size])
    return float(times @ each)


def _expected_of(a: np.integer[Any], b: NDArray[np.integer[Any]], n: int) -> NDArray[np.float64]:
    """Mean of x / n log(n x / (a b)) for x hypergeometric, of a part `a` with each part b (k,)."""
    mean = a * b / n
    width = SPREADS * np.sqrt(mean * (1 - a / n)) + MORE
    low = np.maximum(np.maximum(1, a + b - n), np.floor(mean - width)).astype(np.int64)
    high = np.minimum(np.minimum(a, b), np.ceil(mean + width)).astype(np.int64)
    of = np.repeat(np.arange(len(b)), np.maximum(high - low + 1, 0))
    start = np.cumsum(np.maximum(high - low + 1, 0)) - np.maximum(high - low + 1, 0)
    x = np.arange(len(of)) - start[of] + low[of]
    fixed = gammaln(a + 1) + gammaln(b + 1) + gammaln(n - a + 1) + gammaln(n - b + 1)
    fixed -= gammaln(n + 1)
    left = gammaln(x + 1) + gammaln(a - x + 1) + gammaln(b[of] - x + 1)
    chance = np.exp(fixed[of] - left - gammaln(n - a - b[of] + x + 1))
    return np.asarray(
        np.bincount(of, chance * x / n * np.log(n * x / (a * b[of])), minlength=len(b))
    )


def adjusted_rand(first: Labels, second: Labels) -> float:
    """The adjusted Rand index of two partitions (n,); -1 is one more part."""
    return _adjusted_rand(contingency(np.asarray(first) + 1, np.asarray(second) + 1))


def _adjusted_rand(counts: NDArray[np.int64]) -> float:
    """The adjusted Rand index of a table (c, k); Hubert and Arabie (1985)."""
    n = int(counts.sum())
    pairs = float((counts * (counts - 1)).sum())
    row, column = counts.sum(axis=1), counts.sum(axis=0)
    rows, columns = float((row * (row - 1)).sum()), float((column * (column - 1)).sum())
    if pairs == rows == columns:
        return 1.0
    expected = rows * columns / (n * (n - 1))
    return (pairs - expected) / ((rows + columns) / 2 - expected)


def matched(counts: NDArray[np.integer[Any]]) -> int:
    """The most rows that a one-to-one match of classes and clusters can get right.

    counts: (c, k); classes or clusters that are left over are matched with nothing. Hungarian
    method.
    """
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return int(counts[rows, columns].sum())


def one_to_one(counts: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """The column (c,) that each row of counts (c, k) is matched with in that match; -1 for none."""
    rows, columns = linear_sum_assignment(counts, maximize=True)
    match = np.full(len(counts), -1, np.intp)
    match[rows] = columns
    return match


def shared_labels(first: Labels, second: Labels) -> float:
    """The share of rows on which two partitions (n,) agree, clusters matched one to one; 0..1."""
    return matched(contingency(first, second)) / len(first)


def mutual_agreement(labels: Sequence[Labels]) -> NDArray[np.float64]:
    """Agreement of each of s labellings (n,) with the others: mean adjusted Rand index, (s,).

    Its mean is that over all pairs. NaN for one labelling.
    """
    if len(labels) == 1:
        return np.array([np.nan])
    index = np.zeros((len(labels), len(labels)))
    for one, other in combinations(range(len(labels)), 2):
        index[one, other] = adjusted_rand(labels[one], labels[other])
    return np.asarray((index + index.T).sum(axis=1) / (len(labels) - 1))


def cosine_distances(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - cosine of all pairs of unit rows (n, d), as (n, n), exactly 0 on the diagonal."""
    distance = np.clip(1 - rows @ rows.T, 0, 2)
    np.fill_diagonal(distance, 0)
    return np.asarray(distance, np.float32)


def silhouette(distance: NDArray[np.float32], cluster: Labels) -> float:
    """Mean silhouette, -1..1, from distances (n, n); NaN unless 2 <= clusters < rows.

    Rows with cluster -1 are left out.
    """
    known = np.flatnonzero(cluster >= 0)
    if not 2 <= len(np.unique(cluster[known])) < len(known):
        return float("nan")
    inner = distance if len(known) == len(cluster) else distance[np.ix_(known, known)]
    return float(silhouette_score(inner, cluster[known], metric="precomputed"))

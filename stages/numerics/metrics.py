"""Metrics of a partition: its agreement with a reference, and its cohesion by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_score,
)

Labels = NDArray[np.integer[Any]]


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
    shape = (int(label.max(initial=-1)) + 1, int(cluster.max(initial=-1)) + 1)
    counts = coo_array((np.ones(known.sum(), np.int64), (label[known], cluster[known])), shape)
    return np.asarray(counts.toarray())


def agreement(label: Labels, cluster: Labels) -> Agreement:
    """Agreement of `cluster` (n,) with `label` (n,); n > 0 and labels not negative.

    Unassigned rows (cluster -1) count as errors in accuracy and purity, and as one more cluster in
    nmi, ami and ari.
    """
    counts = contingency(label, cluster)
    return Agreement(
        accuracy=matched(counts) / len(label),
        nmi=float(normalized_mutual_info_score(label, cluster)),
        ami=float(adjusted_mutual_info_score(label, cluster)),
        ari=float(adjusted_rand_score(label, cluster)),
        purity=int(counts.max(axis=0, initial=0).sum()) / len(label),
    )


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
        index[one, other] = adjusted_rand_score(labels[one], labels[other])
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

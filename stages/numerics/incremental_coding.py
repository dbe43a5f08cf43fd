"""Minimum incremental coding length: a row belongs where it makes the description grow least.

Source: Wright, Tao, Lin, Ma and Shum (2007), "Classification via minimum incremental coding length
(MICL)", with the coding length of `coding_length`. Alternating it with new statistics, to settle a
partition, and the shortlist are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from clusterpipe.stages.numerics.coding_length import Code, Groups, coding_lengths
from clusterpipe.stages.numerics.preparation import mean_directions

SHORTLIST = 10
BLOCK = 8192


@dataclass(frozen=True)
class Increments:
    """Cost of one more row in each of k clusters: base + weight log(1 + |factor row|^2) nats.

    mean: (k, p) unit means, by which clusters are shortlisted; factor: (k, p, p) float64; weight
    and base: (k,).
    """

    mean: NDArray[np.float32]
    factor: NDArray[np.float64]
    weight: NDArray[np.float64]
    base: NDArray[np.float64]


def cluster_statistics(rows: NDArray[np.float32], label: NDArray[np.int64], k: int) -> Groups:
    """Statistics of rows (n, p) in each of k clusters, empty ones too."""
    gram = np.zeros((k, rows.shape[1], rows.shape[1]))
    for cluster in np.unique(label):
        members = rows[label == cluster].astype(np.float64)
        gram[cluster] = members.T @ members
    return Groups(np.bincount(label, minlength=k).astype(np.float64), gram)


def increments(
    rows: NDArray[np.float32], label: NDArray[np.int64], k: int, code: Code
) -> Increments:
    """Cost of one more row in each of the k clusters of rows (n, p) with labels (n,).

    Up to a constant that is the same for all clusters.
    """
    groups = cluster_statistics(rows, label, k)
    p, total = groups.width, float(len(rows) + 1)
    size = groups.size + 1
    scale = p / (size * code.epsilon_squared)
    root = np.linalg.cholesky(np.eye(p) + scale[:, None, None] * groups.gram)
    log_det = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    weight = (size + code.model_cost * p) / 2
    grown = weight * log_det - size * np.log(size / total)
    inverse = [solve_triangular(one, np.eye(p), lower=True) for one in root]
    return Increments(
        mean_directions(rows, label, k),
        np.sqrt(scale)[:, None, None] * np.stack(inverse),
        weight,
        grown - coding_lengths(groups, code, total=total),
    )


def added_length(rows: NDArray[np.float32], cost: Increments) -> NDArray[np.float64]:
    """Nats that each row (b, p) would add to each cluster, (b, k).

    Infinite but for the 10 clusters of nearest mean. O(b (k p + 10 p^2)).
    """
    near = _shortlisted(rows, cost.mean)
    length = np.full(near.shape, np.inf)
    for cluster in np.flatnonzero(near.any(axis=0)):
        candidates = np.flatnonzero(near[:, cluster])
        image = rows[candidates].astype(np.float64) @ cost.factor[cluster].T
        grown = np.log1p(np.square(image).sum(axis=1))
        length[candidates, cluster] = cost.base[cluster] + cost.weight[cluster] * grown
    return length


def settled(
    rows: NDArray[np.float32],
    label: NDArray[np.int64],
    k: int,
    code: Code,
    *,
    rounds: int,
    tolerance: float = 1e-3,
) -> NDArray[np.int64]:
    """Labels (n,) after moving each row where it adds least, again and again.

    Ends after `rounds` rounds, or when no more than `tolerance` of the rows move. Clusters may run
    empty.
    """
    for _ in range(rounds):
        cost = increments(rows, label, k, code)
        moved = np.concatenate([added_length(b, cost).argmin(axis=1) for b in _blocks(rows)])
        changed = float(np.mean(moved != label))
        label = moved
        if changed <= tolerance:
            break
    return label


def soft_by_length(length: NDArray[np.float64], *, temperature: float) -> NDArray[np.float32]:
    """Probability of each cluster, (b, k): softmax of -length / temperature.

    At temperature 1 it is the posterior of the model that the code is optimal for.
    """
    score = (length.min(axis=1, keepdims=True) - length) / temperature
    weight = np.exp(score)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float32)


def _shortlisted(rows: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.bool_]:
    cosine = rows @ mean.T
    if mean.shape[0] <= SHORTLIST:
        return np.ones(cosine.shape, bool)
    near = np.argpartition(cosine, -SHORTLIST, axis=1)[:, -SHORTLIST:]
    chosen = np.zeros(cosine.shape, bool)
    np.put_along_axis(chosen, near, True, axis=1)
    return chosen


def _blocks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]

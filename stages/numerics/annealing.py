"""Clusters around mean directions, found soft first and sharp later: deterministic annealing.

At a high temperature every row belongs a little to every cluster, and few of the poor solutions in
which k-means gets stuck are solutions at all; those found are followed while it cools. Rose,
Gurewitz and Fox 1990, here on the sphere: a mixture of von Mises-Fisher densities of one
concentration and equal weights (Banerjee et al. 2005).
"""

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.consensus import matches, votes
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import unit_rows

STARTS = 8  # runs of k-means that vote
HOT, COLD, ROUNDS = 0.08, 0.03, 20  # of the annealing
BALANCING = 3  # rounds of Sinkhorn's steps
SMALLEST_SIZE = 1e-12  # a share of the rows below which a cluster is taken as empty


def memberships(
    rows: NDArray[np.float32], direction: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    """Softmax of cosine / temperature, (n, k), of unit rows (n, d) and directions (k, d)."""
    score = rows @ direction.T / np.float32(temperature)
    score -= score.max(axis=1, keepdims=True)
    np.exp(score, out=score)
    return np.asarray(score / score.sum(axis=1, keepdims=True), np.float32)


def annealed(
    rows: NDArray[np.float32],
    direction: NDArray[np.float32],
    *,
    hot: float,
    cold: float,
    rounds: int,
    balance: float = 0.0,
) -> NDArray[np.float32]:
    """The directions (k, d) after `rounds` of soft spherical k-means, cooled from `hot` to `cold`.

    rows: (n, d) of unit length; direction: (k, d) the start. The temperature falls by equal ratios;
    one round is one step of expectation and maximisation. A direction that no row belongs to stays.
    balance: 0 leaves clusters the sizes that come, 1 makes them equal: see `balanced`.
    """
    for temperature in np.geomspace(hot, cold, rounds):
        soft = memberships(rows, direction, float(temperature))
        total = balanced(soft, balance).T @ rows
        lost = np.linalg.norm(total, axis=1, keepdims=True) == 0
        direction = unit_rows(np.where(lost, direction, total))
    return direction


def balanced(soft: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Memberships (n, k) drawn towards equal sizes, by Sinkhorn's steps; rows sum to 1.

    The sizes aimed at are the present ones to the power of 1 - `power`: 0 changes nothing, at 1 all
    are the same.
    """
    if not power:
        return soft
    aim = soft.mean(axis=0) ** np.float32(1 - power)
    aim /= aim.sum()
    for _ in range(BALANCING):
        soft = soft * (aim / np.maximum(soft.mean(axis=0), SMALLEST_SIZE))
        soft /= soft.sum(axis=1, keepdims=True)
    return soft


def annealed_kmeans(
    rows: NDArray[np.float32], k: int, *, iterations: int, seed: int, balance: float = 0.0
) -> NDArray[np.float32]:
    """The directions (k, d) of several runs of spherical k-means: their mean vote, annealed.

    rows: (n, d) of unit length; balance: of `annealed`. Ours.
    """
    seeds = np.random.SeedSequence(seed).generate_state(STARTS)
    runs = [kmeans(rows, k, spherical=True, iterations=iterations, seed=int(s)) for s in seeds]
    best = int(np.argmin([run.inertia for run in runs]))
    labels = [run.label for run in runs]
    vote = votes(labels, matches(labels, labels[best], k))
    start = unit_rows(vote.T @ rows)
    return annealed(rows, start, hot=HOT, cold=COLD, rounds=ROUNDS, balance=balance)

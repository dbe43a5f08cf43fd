"""Doubly stochastic membership on a graph of nearest neighbours: n rows of s entries, never n x n.

What `sinkhorn.doubly_stochastic` computes within a batch, for a whole collection at once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 1.0
HALF_STEPS = 5  # as many as CPP takes


@dataclass(frozen=True)
class Membership:
    """A sparse membership: row i holds `weight[i]` (s,) at `support[i]` (s,), itself first.

    Rows sum to 1, columns nearly so. support: (n, s) int64; weight: (n, s) float32.
    """

    support: NDArray[np.int64]
    weight: NDArray[np.float32]


def neighbour_membership(
    index: NDArray[np.integer[Any]],
    cosine: NDArray[np.float32],
    *,
    temperature: float = 0.0,
    diagonal_share: float = 0.3,
) -> Membership:
    """The membership of each row in the group of every row: itself and its q neighbours.

    index, cosine: (n, q) the neighbours of each row and their cosines. Entropic optimal transport
    with cost -|cosine| and equal marginals, as in CPP, on the edges of the graph alone, s = q + 1.
    temperature: 0 takes the one at which a row keeps `diagonal_share` of its membership (median):
    too low a temperature leaves every row alone, and CPP's does not transfer across backbones.
    """
    own = np.arange(len(index))[:, None]
    support = np.hstack([own, index])
    similarity = np.hstack([np.ones_like(own, np.float64), np.abs(cosine)])
    temperature = temperature or _temperature(support, similarity, diagonal_share)
    return Membership(support, _transport(support, similarity, temperature).astype(np.float32))


def _transport(
    support: NDArray[np.int64], similarity: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Rows and columns normalised in turn, rows last; every column holds its diagonal entry."""
    weight = np.exp((similarity - 1) / temperature)
    for step in range(HALF_STEPS):
        if step % 2 == 0:
            weight = weight / weight.sum(axis=1, keepdims=True)
        else:
            column = np.bincount(support.ravel(), weight.ravel(), minlength=len(support))
            weight = weight / column[support]
    return weight


def _temperature(
    support: NDArray[np.int64], similarity: NDArray[np.float64], share: float
) -> float:
    """Temperature at which the median diagonal entry is `share`, or the nearer end of the range."""

    def excess(logarithm: float) -> float:
        weight = _transport(support, similarity, float(np.exp(logarithm)))
        return float(np.median(weight[:, 0])) - share

    low, high = np.log(LEAST_TEMPERATURE), np.log(MOST_TEMPERATURE)
    if excess(low) <= 0:
        return LEAST_TEMPERATURE
    if excess(high) >= 0:
        return MOST_TEMPERATURE
    return float(np.exp(brentq(excess, low, high, xtol=1e-2)))

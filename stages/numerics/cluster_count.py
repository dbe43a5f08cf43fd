"""The coding length of a collection as a function of the number of clusters, with its error."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.coding_length import (
    Array,
    Code,
    group_statistics,
    merge,
    partition_length,
    resampled_length,
)
from clusterpipe.stages.numerics.kmeans import kmeans

GRID = 24  # candidates of the first pass over the partitions
REFINEMENTS = 2
PER_REFINEMENT = 8
ITERATIONS = 15


@dataclass(frozen=True)
class Curve:
    """Coding length against the number of clusters.

    candidate: (m,) ascending from 1; length: (m,) nats for the whole collection; error: (m,)
    standard error, in nats, of how much longer each is than the shortest (0 there).
    """

    candidate: NDArray[np.int64]
    length: Array
    error: Array

    @property
    def k(self) -> int:
        """The number of clusters of shortest coding length."""
        return int(self.candidate[self.length.argmin()])

    def interval(self, errors: float = 2.0) -> tuple[int, int]:
        """The least and largest number that is within `errors` standard errors of the shortest."""
        plausible = self.candidate[self.length - self.length.min() <= errors * self.error]
        return int(plausible.min()), int(plausible.max())


def merged_curve(
    rows: NDArray[np.float32],
    code: Code,
    *,
    cells: int,
    largest: int,
    restarts: int = 3,
    resamples: int = 40,
    seed: int = 0,
    done: Callable[[int], None] = lambda restarts: None,
) -> Curve:
    """The lengths met while merging `cells` small k-means clusters into one.

    rows: (n, p) unit rows; candidates 1..`largest`, or up to the number of cells if that is less.
    The mean over `restarts` sets of cells. The error comes from drawing the
    rows anew (bootstrap: each cell's size becomes a Poisson variable), on the same merge tree.
    `done` hears of every restart. Ours, after the merging of Ma et al. (2007).
    """
    lengths, spreads = list[Array](), list[Array]()
    for number in range(restarts):
        label = kmeans(rows, cells, spherical=True, iterations=ITERATIONS, seed=seed + number).label
        groups = group_statistics(rows, label)
        path = merge(groups, code)
        generator = np.random.default_rng([seed, number])
        draws = generator.poisson(groups.size, (resamples, len(groups.size))) / groups.size
        lengths.append(path.length)
        spreads.append(np.stack([resampled_length(groups, path, code, w) for w in draws]))
        done(1)
    common = min(largest, *(len(length) for length in lengths))
    length = np.mean([each[:common] for each in lengths], axis=0)
    best = int(length.argmin())
    error = np.mean([_spread(draws[:, :common], best) for draws in spreads], axis=0)
    return Curve(np.arange(1, common + 1), length, error)


def partition_curve(
    rows: NDArray[np.float32],
    code: Code,
    *,
    largest: int,
    restarts: int = 3,
    seed: int = 0,
    done: Callable[[int], None] = lambda candidates: None,
) -> Curve:
    """The length of one k-means partition per candidate, first a coarse grid, then around the best.

    rows: (n, p) unit rows; candidates 1..`largest`. The mean over `restarts` partitions, and the
    error from their differences. `done` hears of every candidate.
    """
    found: dict[int, Array] = {}
    candidates = _grid(1, largest, GRID)
    for _ in range(1 + REFINEMENTS):
        for k in candidates - set(found):
            seeds = range(seed, seed + restarts)
            found[k] = np.array([_partition_length(rows, k, code, s) for s in seeds])
            done(1)
        candidates = _around(min(found, key=lambda k: found[k].mean()), sorted(found))
    order = sorted(found)
    lengths = np.stack([found[k] for k in order], axis=1)
    length = lengths.mean(axis=0)
    return Curve(np.array(order), length, _spread(lengths, int(length.argmin())))


def _partition_length(rows: NDArray[np.float32], k: int, code: Code, seed: int) -> float:
    label = kmeans(rows, k, spherical=True, iterations=ITERATIONS, seed=seed).label
    return partition_length(group_statistics(rows, label), code)


def _spread(lengths: Array, best: int) -> Array:
    """Standard deviation over the first axis of how much longer each is than the best."""
    return np.asarray((lengths - lengths[:, [best]]).std(axis=0, ddof=1))


def _around(best: int, candidates: list[int]) -> set[int]:
    place = candidates.index(best)
    low, high = candidates[max(place - 1, 0)], candidates[min(place + 1, len(candidates) - 1)]
    return _grid(low, high, PER_REFINEMENT)


def _grid(low: int, high: int, count: int) -> set[int]:
    return {int(k) for k in np.round(np.geomspace(low, high, count))}

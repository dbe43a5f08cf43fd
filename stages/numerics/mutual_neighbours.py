"""Mutual neighbours: their share against the number of nearest that are looked at.

Of a class of m images, each has the other m - 1 for neighbours, and they have it; beyond, they have
others. So the share of mutual neighbours M(r) among the r nearest rises up to r = m - 1 and less
after: its log-odds, as a function of log(r + 1), bend at the size of a class. Chance is taken out
twice: r/n of all pairs are mutual anyway, and a Gaussian sample of the same covariance that goes
through the same steps shows what the shape of the whole bends. Mutual nearest neighbours are old
(Gowda and Krishna 1978); the curve, its reference and its bends are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import principal_rows, unit_rows
from clusterpipe.stages.numerics.whitening import neighbourhood_scatter, whitening

Array = NDArray[np.float64]
Rows = NDArray[np.float32]

COMPONENTS, FEW_COMPONENTS, ROWS_PER_COMPONENT = 128, 32, 8
WHITENED_OVER, SHRINKAGE, WHITENED_ON = 8, 0.05, 6_000  # neighbours; share of identity; rows
REACH = (1.5, 2.2, 3.5)  # how many times smaller and larger a class is looked at for a bend
BLOCK = 250  # rows whose neighbours are ranked at a time
STEPS = 16_384  # that similarities to a row are told apart in
SURE = 1e-3  # shares nearer to 0 or 1 count as this far away
NEAREST_TO_ALL = 0.8  # of the rows; beyond, everything is mutual
SPREAD, OF_SPACES = 1.7, 0.8  # standard deviation of a bend, in log-odds', and of the mean of three


@dataclass(frozen=True)
class Bends:
    """Bend of the curves at each size of class.

    candidate: (c,) numbers of clusters, ascending from 2, n over the size of a class; bend: (s, w,
    c) drop of the slope of the log-odds, less the reference's, in each of s spaces and for each
    reach; noise: (w, c) its standard deviation, for the finite number of pairs; odds, excess: (s,
    c) log-odds of being mutual neighbours within a class of that size, and how much above the
    reference's.
    """

    candidate: NDArray[np.int64]
    bend: Array
    noise: Array
    odds: Array
    excess: Array


def components(rows: Rows) -> Rows:
    """Unit rows (n, e) in as many principal components as so many rows (n, d) tell, 128 at most."""
    return principal_rows(rows, min(COMPONENTS, max(FEW_COMPONENTS // 4, len(rows) // 8)))


def spaces(rows: Rows) -> list[Rows]:
    """Three views of unit rows (n, e): the leading 32 components, all, and all made white.

    White is what varies between neighbours, found a second time where it was white once.
    """
    return [unit_rows(rows[:, :FEW_COMPONENTS]), rows, _white(_white(rows, rows), rows)]


def _white(near: Rows, rows: Rows) -> Rows:
    """`rows` after a map that makes white what differs between neighbours in `near`."""
    some = slice(WHITENED_ON)
    index = neighbours(near[some], WHITENED_OVER).index
    return unit_rows(
        rows @ whitening(neighbourhood_scatter(rows[some], index), shrinkage=SHRINKAGE)
    )


def structureless(rows: Rows, random: np.random.Generator) -> Rows:
    """As many unit rows (n, e) of a normal distribution with the same mean and covariance."""
    value, vector = np.linalg.eigh(np.cov(rows.T))
    drawn = random.standard_normal(rows.shape, np.float32) * np.sqrt(np.maximum(value, 0))
    return unit_rows(drawn @ vector.T + rows.mean(axis=0))


def mutual_pairs(rows: Rows, probe: NDArray[np.int64]) -> Array:
    """Mean number of the r nearest of a row that have it among their r nearest; (n,), r from 0.

    rows: (n, e) of unit length; ranks are among all rows, but only pairs of the rows `probe` (q,)
    are looked at. Time O(q n log n), memory O(q^2 + n).
    """
    n, q = len(rows), len(probe)
    rank = np.empty((q, q), np.int32)
    for start in range(0, q, BLOCK):
        own = probe[start : start + BLOCK]
        rank[start : start + BLOCK] = _ranks(rows, own, probe)
    mutual = np.maximum(rank, rank.T)
    np.fill_diagonal(mutual, 0)
    count = np.bincount(mutual.ravel(), minlength=n).astype(np.float64)
    count[0] = 0
    return np.asarray(np.cumsum(count) / q * ((n - 1) / max(q - 1, 1)))


def _ranks(rows: Rows, own: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int32]:
    """The rank (b, q) of rows `others` among the neighbours of rows `own`; the nearest has 1.

    By counting, which is faster than sorting: similarities that differ by less than a 16,384th
    of a row's range are equals, and all have the rank of the last of them.
    """
    cosine = rows[own] @ rows.T
    cosine[np.arange(len(own)), own] = -np.inf
    high = cosine.max(axis=1, keepdims=True)
    cosine[np.arange(len(own)), own] = np.inf
    low = cosine.min(axis=1, keepdims=True)
    scale = (STEPS - 2) / np.maximum(high - low, np.finfo(np.float32).tiny)
    step = np.clip((high - cosine) * scale + 1, 0, STEPS - 1).astype(np.int32)
    rank = np.empty((len(own), len(others)), np.int32)
    for row, each in enumerate(step):
        up_to = np.cumsum(np.bincount(each, minlength=STEPS))
        rank[row] = up_to[each[others]] - 1
    return rank


def bends(
    rows: Rows,
    candidate: NDArray[np.int64],
    *,
    probes: int,
    references: int = 1,
    random: np.random.Generator,
    done: Callable[[int], None] = lambda curves: None,
) -> tuple[Bends, list[Rows], list[Rows]]:
    """Curves of `rows` (n, e) for each candidate, and the spaces and those of the last reference.

    What is taken out as chance is the mean of so many references. `noise` is that of one.
    """
    n = len(rows)
    probe = np.sort(random.permutation(n)[:probes])
    pairs = len(probe) ** 2 / n * np.maximum(n / candidate, 2) / 2
    found = spaces(rows)
    real = _curves(found, probe, candidate, pairs, done)
    drawn = []
    for _ in range(references):
        reference = spaces(structureless(rows, random))
        drawn.append(_curves(reference, probe, candidate, pairs, done))
    bend, odds, variance = (np.mean(each, axis=0) for each in zip(*drawn, strict=True))
    noise = SPREAD * OF_SPACES * np.sqrt(real[2] + variance) / np.log(REACH)[:, None]
    return (
        Bends(candidate, real[0] - bend, noise, real[1], real[1] - odds),
        found,
        reference,
    )


def _curves(
    views: list[Rows],
    probe: NDArray[np.int64],
    candidate: NDArray[np.int64],
    pairs: Array,
    done: Callable[[int], None],
) -> tuple[Array, Array, Array]:
    """Bends (s, w, c), log-odds (s, c) and the variance of these for so many pairs (c,)."""
    n = len(views[0])
    size = np.log(np.maximum(n / candidate, 2))
    bend, odds = [], []
    for view in views:
        curve = _log_odds(mutual_pairs(view, probe), n)
        bend.append([_bend(*curve, n, candidate, reach) for reach in REACH])
        odds.append(np.interp(size, *curve))
        done(1)
    share = 1 / (1 + np.exp(-np.array(odds)))
    variance = (1 / np.maximum(share * (1 - share) * pairs, 1)).mean(axis=0)
    return np.array(bend), np.array(odds), variance


def _log_odds(pairs: Array, n: int) -> tuple[Array, Array]:
    """log of the size of a class, r + 1, and log-odds of being mutual beyond chance, (n - 1,)."""
    r = np.arange(1, n)
    share = (pairs[1:] / r - r / n) / (1 - r / n)
    share = np.clip(share, SURE, 1 - SURE)
    return np.log(r + 1.0), np.log(share / (1 - share))


def _bend(size: Array, odds: Array, n: int, candidate: NDArray[np.int64], reach: float) -> Array:
    """Slope below less slope above each candidate's size of a class, over a factor of `reach`."""
    middle = np.maximum(n / candidate, 2)
    low = np.maximum(n / candidate / reach, 1.5)
    high = np.minimum(middle * reach, n * NEAREST_TO_ALL)
    below, at, above = (np.interp(np.log(m), size, odds) for m in (low, middle, high))
    rise, fall = np.log(middle / low), np.maximum(np.log(high / middle), 0.2)
    return np.asarray((at - below) / rise - (above - at) / fall)

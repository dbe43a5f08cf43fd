"""Number of clusters, with a probability for every number.

What speaks for a number k: that the curves of mutual neighbours bend at classes of n / k images
(mutual_neighbours), in themselves and beside their largest bend, and are high there; that the
spectrum of neighbour graphs falls after the k-th eigenvalue, that the coding length and the whole
spectrum count about as many (eigengap), and that nothing finer stands out. What speaks against it:
fewer than ten images to a class, where bends say little. Their weights make a conditional logit
(McFadden 1974) over the logarithm of k; they were fitted on collections of known number, and are
judged on collections that were left out (docs/measurements/count.md). Ours, but for what is named.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import eigsh

from clusterpipe.stages.numerics.eigengap import neighbour_graph
from clusterpipe.stages.numerics.mutual_neighbours import Bends, bends, components

Array = NDArray[np.float64]

PER_OCTAVE = 6  # candidates
FEWEST = 1.2  # images to a class
PROBES = 5_000  # rows whose pairs are compared
SPACES, MOST_REFERENCES, REFERENCE_ROWS = 3, 3, 15_000  # rows of all references together, at most
EIGENVALUES, SPECTRUM_ON, DEGREE = 33, 2_000, 15
TINY_GAP = 0.003  # what a gap of the spectrum is measured in
FEW, TOO_FEW = 10, 5  # images to a class: little to see, nothing to see
RANKED_FROM, SLIGHT = 2.5, 0.3  # images to a class; bend, in log-odds per log size
FINER = 1.7  # times as many clusters, and they count as another level
SAME = 0.35  # standard deviation of log k of what counts as the same number
CLEAR = 3.0  # evidence, in standard deviations, from which a level is named
STRONG = 20.0  # the same, from which a finer level is taken
WIDER = 1.05  # than between candidates, either way
TAIL = 0.1  # of the probability that the interval leaves out on either side
WEIGHTS = {
    "bend within 1.5": 1.414,
    "bend within 2.2": 0.480,
    "bend within 3.5": 0.839,
    "bend when white": 0.185,
    "gap": 0.549,
    "something finer": -1.316,
    "few images": 0.211,
    "few images, squared": -1.690,
    "log size": -1.090,
    "log size, squared": -2.320,
    "a handful": 1.777,
    "bend within 1.5, beside the largest": -0.877,
    "bend within 2.2, beside the largest": -0.040,
    "bend within 3.5, beside the largest": -0.344,
    "log-odds": 1.502,
    "log-odds above chance": 1.038,
    "log-odds, squared": -1.381,
    "one cluster": 0.347,
    "one cluster: largest log-odds above chance": 1.290,
    "one cluster: largest bend": -0.056,
    "near the count by the spectrum": 3.011,
}


@dataclass(frozen=True)
class Evidence:
    """Evidence for each number of clusters, before it is weighed.

    number: (c,) ascending from 1; term: (c, f) in the order of `WEIGHTS`; share: (c,) log of the
    part of the axis of log k that a number stands for; strength: (c,) the bend at each number, in
    standard deviations of what chance does.
    """

    number: NDArray[np.int64]
    term: Array
    share: Array
    strength: Array


@dataclass(frozen=True)
class Levels:
    """A probability for each number of clusters, and the numbers that stand out.

    number: (c,) ascending from 1; probability: (c,), sums to 1; level: (l,) numbers of clusters at
    which structure stands out, ascending, `k` among them; evidence: (l,) how far, in standard
    deviations of what chance does.
    """

    number: NDArray[np.int64]
    probability: Array
    level: NDArray[np.int64]
    evidence: Array

    @property
    def k(self) -> int:
        """The number about which the median lies, or the finest that stands out about as much."""
        likeliest = _middle(self.number, self.probability)
        least = max(STRONG, self.evidence[self.level == likeliest].max(initial=0) / 2)
        return int(self.level[self.evidence >= least].max(initial=likeliest))

    @property
    def clarity(self) -> float:
        """The evidence for `k` itself, in standard deviations."""
        return float(self.evidence[self.level == self.k].max(initial=0))

    def stands_out(self, number: int, *, within: float) -> bool:
        """Test of a level within a factor of `number`."""
        return bool((np.abs(np.log(self.level / number)) < np.log(within)).any())

    def interval(self) -> tuple[int, int]:
        """Interval of eight tenths of the probability; how often it holds the truth is measured."""
        total = np.cumsum(self.probability)
        low = min(int(self.number[np.searchsorted(total, TAIL)]), self.k)
        last = min(int(np.searchsorted(total, 1 - TAIL)), len(total) - 1)
        high = max(int(self.number[last]), self.k)
        return (max(math.floor(low / WIDER), 1), math.ceil(high * WIDER)) if high > 1 else (1, 1)


def class_levels(
    rows: NDArray[np.float32],
    *,
    spectrum: int,
    seed: int = 0,
    done: Callable[[int], None] = lambda curves: None,
) -> Levels:
    """Probability of each number of clusters of rows (n, d), n >= 4, up to n / 1.2.

    `spectrum`: the number that the whole spectrum tells (eigengap.count_near). Time O(n^2) up to
    5,000 rows and O(n) beyond, memory O(n d). `done` hears of each curve, `curves(n)` in all.
    """
    return levels_of(evidence_of(rows, spectrum=spectrum, seed=seed, done=done), weights())


def curves(n: int) -> int:
    """Number of curves that are drawn for so many rows."""
    return SPACES * (1 + _references(n))


def _references(n: int) -> int:
    return int(np.clip(REFERENCE_ROWS // n, 1, MOST_REFERENCES))


def evidence_of(
    rows: NDArray[np.float32],
    *,
    spectrum: int,
    seed: int = 0,
    done: Callable[[int], None] = lambda curves: None,
) -> Evidence:
    """Evidence for each number of clusters of rows (n, d); as `class_levels`."""
    random = np.random.default_rng(seed)
    candidate = _candidates(int(len(rows) / FEWEST))
    if len(candidate) < 2:
        return Evidence(np.array([1]), np.zeros((1, len(WEIGHTS))), np.zeros(1), np.zeros(1))
    found, views, reference = bends(
        components(rows),
        candidate,
        probes=PROBES,
        references=_references(len(rows)),
        random=random,
        done=done,
    )
    gap = sum(
        _gaps(view, other, candidate) / 2
        for view, other in zip(views[1:], reference[1:], strict=True)
    )
    terms = _terms(found, np.asarray(gap), len(rows), spectrum)
    strength = found.bend.mean(axis=0)[1] / found.noise[1]
    strength = np.where(len(rows) / candidate > TOO_FEW, strength, 0)
    return Evidence(
        np.append(1, candidate),
        terms,
        np.append(0, np.log(_share(candidate))),
        np.append(0, strength),
    )


def levels_of(evidence: Evidence, weights: Array) -> Levels:
    """The probabilities that so much evidence and these weights (f,) make."""
    score = evidence.term @ weights + evidence.share
    probability = np.exp(score - score.max())
    probability /= probability.sum()
    k = _middle(evidence.number, probability)
    return Levels(evidence.number, probability, *_standing_out(evidence, k))


def weights() -> Array:
    """Those of the logit, (f,)."""
    return np.array(list(WEIGHTS.values()))


def _candidates(largest: int) -> NDArray[np.int64]:
    octaves = np.arange(1, np.log2(max(largest, 2)) + 1e-9, 1 / PER_OCTAVE)
    return np.unique(np.round(2**octaves)).astype(np.int64)


def _gaps(
    rows: NDArray[np.float32], reference: NDArray[np.float32], candidate: NDArray[np.int64]
) -> Array:
    """Fall of the spectrum after each candidate, (c,), beyond that of the reference."""
    fall = [np.maximum(-np.diff(_leading(view)), 0) for view in (rows, reference)]
    known = min(len(one) for one in fall)
    beyond = np.maximum(fall[0][:known] - fall[1][:known], 0)
    seen = candidate <= known
    gap = np.zeros(len(candidate))
    gap[seen] = beyond[candidate[seen] - 1]
    return gap


def _leading(rows: NDArray[np.float32]) -> Array:
    """The largest eigenvalues, descending, of the normalised graph of the first 2,000 rows."""
    rows = rows[:SPECTRUM_ON]
    graph = neighbour_graph(rows, min(DEGREE, max(2, len(rows) // 6))).astype(np.float64)
    scale = diags_array(1 / np.sqrt(np.asarray(graph.sum(axis=1))))
    normal = csr_array(scale @ graph @ scale)
    if len(rows) <= 5 * EIGENVALUES:
        return np.asarray(np.linalg.eigvalsh(normal.toarray())[::-1][:EIGENVALUES])
    start = np.random.default_rng(0).random(len(rows))
    return np.sort(eigsh(normal, EIGENVALUES, which="LA", v0=start, tol=1e-3)[0])[::-1]


def _share(candidate: NDArray[np.int64]) -> Array:
    """The part of the axis of log k that each candidate stands for, (c,)."""
    return np.gradient(np.log(candidate))


def _terms(found: Bends, gap: Array, n: int, spectrum: int) -> Array:
    """Evidence for one cluster and for each candidate, (c + 1, f), in the order of `WEIGHTS`."""
    size = np.log(n / found.candidate)
    bend = _compressed(found.bend.mean(axis=0) / found.noise)
    white = _compressed(found.bend[-1, 1] / found.noise[1] / 1.3)
    fall = _compressed(gap / TINY_GAP)
    strength = np.maximum(np.where(size > np.log(TOO_FEW), bend[1], 0), fall)
    finer = [strength[found.candidate >= FINER * k].max(initial=0) for k in found.candidate]
    few = np.maximum(np.log(FEW) - size, 0)
    seen = np.clip(size / np.log(TOO_FEW), 0, 1)
    handful = np.maximum(np.log(5 / found.candidate), 0)
    parts = [*bend * seen, white * seen, fall, finer, few, few**2, size, size**2 / 10, handful]
    parts += [*_beside_the_largest(found, size), *_height(found)]
    whole = np.zeros(len(parts))
    whole[5] = strength.max()
    alone = np.zeros((len(size) + 1, 3))
    alone[0] = [1, *_structure(found, size)]
    distance = np.log(np.append(1, found.candidate) / spectrum) / SAME
    near = np.exp(-(distance**2) / 2)
    return np.column_stack([np.vstack([whole, np.transpose(parts)]), alone, near])


def _height(found: Bends) -> list[Array]:
    """Share of mutual neighbours within classes of each size, as terms of the logit, (c,) each."""
    odds = np.clip(found.odds.mean(axis=0), -5, 5)
    return [odds, np.clip(found.excess.mean(axis=0), -3, 5), odds**2 / 10]


def _beside_the_largest(found: Bends, size: Array) -> Array:
    """The bends over the largest of their reach, (w, c)."""
    bend = np.where(size > np.log(RANKED_FROM), found.bend.mean(axis=0), 0)
    return np.asarray(bend / np.maximum(bend.max(axis=1, keepdims=True), SLIGHT))


def _structure(found: Bends, size: Array) -> Array:
    """Evidence against one cluster: excess and bend where they are largest, (2,)."""
    seen = size > np.log(TOO_FEW)
    excess, bend = found.excess.mean(axis=0), found.bend.mean(axis=0)[1]
    return np.asarray(np.clip([excess[seen].max(initial=0), bend[seen].max(initial=0)], 0, 3))


def _compressed(evidence: Array) -> Array:
    return np.asarray(np.log1p(np.maximum(evidence, 0)))


def _middle(number: NDArray[np.int64], probability: Array) -> int:
    """1 if that is likelier than not; otherwise the log mean of what lies about the median.

    The median of log k has the least absolute error to be expected; one step of mean shift
    (Fukunaga and Hostetler 1975) takes it from between two levels towards one of them.
    """
    if probability[0] > 0.5:
        return 1
    u, half_way = np.log(number), np.cumsum(probability) - probability / 2
    weight = np.exp(-((u - np.interp(0.5, half_way, u)) ** 2) / (2 * SAME**2)) * probability
    weight[0] = 0
    return round(float(np.exp(weight @ u / weight.sum())))


def _standing_out(evidence: Evidence, k: int) -> tuple[NDArray[np.int64], Array]:
    """`k` and the numbers at least 1.7 times off it, and off each other, where the bend peaks."""
    number, strength = evidence.number, evidence.strength
    chosen = [(k, float(np.interp(k, number, strength)))]
    for place in _peaks(strength[1:]):
        other, height = int(number[place + 1]), float(strength[place + 1])
        far = all(abs(np.log(other / one)) > np.log(FINER) for one, _ in chosen)
        if far and height > CLEAR:
            chosen.append((other, height))
    chosen.sort()
    return np.array([one for one, _ in chosen]), np.array([how for _, how in chosen])


def _peaks(values: Array) -> Sequence[int]:
    """Places of local maxima, the highest first."""
    padded = np.pad(values, 1, constant_values=-np.inf)
    top = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    return [int(place) for place in top[np.argsort(-values[top], kind="stable")]]

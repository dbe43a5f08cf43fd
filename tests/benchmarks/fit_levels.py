"""Weights of the count (numerics/class_levels.py), and how good it is on sets left out of them.

A sample is a collection whose number of clusters is known, with its evidence. The weights have the
largest likelihood, where a number counts as right as far as it is near the true one, with a ridge.
To judge a sample, they are fitted on those that share no base set with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from clusterpipe.stages.numerics.class_levels import WEIGHTS, Evidence, Levels, levels_of

Array = NDArray[np.float64]

RIDGE = 0.05
NEAR = 0.15  # standard deviation of log k of what counts as right
LEAST = 0.03  # added to each likelihood: what no weights can explain pulls less
ALONE = 0.2  # the deviation that "one cluster" counts as having: the ridge spares it


@dataclass(frozen=True)
class Sample:
    """name; sets: the base sets it is made of; k: its number; weight: how much it counts."""

    name: str
    sets: frozenset[str]
    k: int
    weight: float
    evidence: Evidence

    @property
    def right(self) -> Array:
        """How far each number counts as the true one, (c,), 1 where it is nearest."""
        if self.k == 1:
            return np.asarray(self.evidence.number == 1, np.float64)
        distance = np.abs(np.log(self.evidence.number / self.k))
        near = np.exp(-((distance / NEAR) ** 2) / 2)
        near[0] = 0
        near[distance[1:].argmin() + 1] = max(near.max(), 1e-6)
        return np.asarray(near / near.max())


def fitted(samples: Sequence[Sample], start: Array | None = None) -> Array:
    """The weights (f,) that explain the samples best."""
    term = np.concatenate([one.evidence.term for one in samples])
    scale = np.concatenate([one.evidence.term[1:] for one in samples]).std(axis=0)
    alone = np.array([one.evidence.term[0] for one in samples]).std(axis=0)
    scale = np.where(scale > 1e-6, scale, np.where(alone > 1e-6, alone, ALONE))
    share = np.concatenate([one.evidence.share for one in samples])
    right = np.concatenate([one.right for one in samples])
    size = np.array([len(one.evidence.number) for one in samples])
    first, owner = np.cumsum(size) - size, np.repeat(np.arange(len(size)), size)
    weight = np.array([one.weight for one in samples]) / sum(one.weight for one in samples)

    def loss(scaled: Array) -> tuple[float, Array]:
        score = term @ (scaled / scale) + share
        probability = np.exp(score - np.maximum.reduceat(score, first)[owner])
        probability /= np.add.reduceat(probability, first)[owner]
        likelihood = np.add.reduceat(probability * right, first)
        pull = (weight / (likelihood + LEAST))[owner] * probability * (right - likelihood[owner])
        ridge = RIDGE / len(scaled)
        value = -weight @ np.log(likelihood + LEAST) + ridge * scaled @ scaled
        return float(value), 2 * ridge * scaled - (term.T @ pull) / scale

    begin = np.zeros(len(scale)) if start is None else start * scale
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(found.x / scale)


def left_out(samples: Sequence[Sample], wanted: Sequence[Sample]) -> dict[str, list[Levels]]:
    """Levels of those wanted, by weights that never saw a base set of theirs: one for each set."""
    found: dict[str, list[Levels]] = {one.name: [] for one in wanted}
    start = fitted(samples)
    for name in sorted({each for one in wanted for each in one.sets}):
        weights = fitted([one for one in samples if name not in one.sets], start)
        for one in wanted:
            if name in one.sets:
                found[one.name].append(levels_of(one.evidence, weights))
    return found


def named(weights: Array) -> Mapping[str, float]:
    """The weights by name, as class_levels.py has them."""
    return dict(zip(WEIGHTS, (round(float(one), 3) for one in weights), strict=True))

"""Scores of a labelling by itself, to choose by where there is no ground truth.

Both agreements are over chance, like Cohen's kappa: 1 is perfect, 0 what labels dealt out at random
would have, and what one label for everything has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from clusterpipe.stages.numerics.metrics import Labels
from clusterpipe.stages.numerics.neighbours import neighbours

NEIGHBOURS = 10
FOLDS, RIDGE = 5, 1e-2  # of the probe; the ridge relative to the mean second moment
FULL = 0.9  # of the clusters asked for
MEASURES = ("probe_agreement", "neighbour_agreement", "smallest_share", "clusters_filled")


@dataclass(frozen=True)
class Selection:
    """Measures of each of `a` labellings without ground truth, and the score to choose by.

    value: (a, b) by each measure; score: (a,) the probe agreement, the largest is best.
    """

    measure: tuple[str, ...]
    value: NDArray[np.float64]
    score: NDArray[np.float64]

    @property
    def filled(self) -> NDArray[np.float64]:
        """In how many clusters each labelling has rows, (a,)."""
        return self.value[:, self.measure.index("clusters_filled")]

    def part(self, those: slice) -> "Selection":
        """Selection of some of the labellings."""
        return Selection(self.measure, self.value[those], self.score[those])


def selection(
    spaces: Sequence[NDArray[np.float32]], labels: Sequence[Labels], *, seed: int = 0
) -> Selection:
    """Measures labellings (n,), from 0, of the same rows, given in one or several spaces (n, d).

    Rows are of equal length in each space. Probes are fitted in each space and their agreement
    averaged, as TURTLE chooses among its settings; neighbours are looked for in all together.
    """
    labels = [np.unique(label, return_inverse=True)[1] for label in labels]
    probe = np.mean([probe_agreement(rows, labels, seed=seed) for rows in spaces], axis=0)
    near = neighbours(np.hstack(list(spaces)), NEIGHBOURS, seed=seed).index
    neighbour = [neighbour_agreement(label, near) for label in labels]
    share = [smallest_share(label, int(label.max()) + 1) for label in labels]
    filled = [int(label.max()) + 1 for label in labels]
    return Selection(MEASURES, np.column_stack([probe, neighbour, share, filled]), probe)


def collapsed(filled: Sequence[int] | NDArray[np.number[Any]], k: int) -> NDArray[np.bool_]:
    """Mask of the labellings (a,) that fill fewer than 0.9 of the k clusters asked for.

    filled: (a,) in how many clusters each has rows. Few huge clusters are the easiest to learn and
    have the nearest neighbours together, so no score may compare them with others. If none fills as
    many (there may be fewer distinct rows than k), fewer than 0.9 of those of the fullest.
    """
    count = np.asarray(filled)
    most = count.max()
    return np.asarray(count < FULL * (k if most >= FULL * k else most))


def neighbour_agreement(label: Labels, neighbour: NDArray[np.integer[Any]]) -> float:
    """Share of the edges of a k-NN graph whose ends share a label, over chance; at most 1.

    label: (n,) from 0; neighbour: (n, q) row numbers.
    """
    return _over_chance(float((label[neighbour] == label[:, None]).mean()), label)


def probe_agreement(
    rows: NDArray[np.float32], labels: Sequence[Labels], *, seed: int = 0
) -> NDArray[np.float64]:
    """The share of each labelling that a linear probe fitted on other folds finds, over chance.

    rows: (n, d); labels: (n,) each, from 0; (a,), at most 1. The probe is ridge regression on
    one-hot labels with an intercept, in closed form: O(n d (d + k)).
    """
    fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    x = np.hstack([rows, np.ones((len(rows), 1), np.float32)])
    moments, products = x.T @ x, [_sums(x, label, int(label.max()) + 1) for label in labels]
    ridge = RIDGE * np.eye(len(moments), dtype=np.float32) * np.trace(moments) / len(moments)
    right = np.zeros(len(labels))
    for held in range(FOLDS):
        out = fold == held
        factor = cho_factor(moments - x[out].T @ x[out] + ridge)
        for which, (label, product) in enumerate(zip(labels, products, strict=True)):
            rest = product - _sums(x[out], label[out], product.shape[1])
            found = (x[out] @ cho_solve(factor, rest)).argmax(axis=1)
            right[which] += (found == label[out]).sum()
    share = right / len(rows)
    return np.array([_over_chance(s, label) for s, label in zip(share, labels, strict=True)])


def about_least(error: NDArray[np.floating[Any]], n: int) -> NDArray[np.bool_]:
    """Mask of the shares (a,) of n rows that are at most a standard error above the least.

    The rule of one standard error (Breiman et al. 1984, "Classification and Regression Trees"); a
    share of none counts as one row.
    """
    least = float(np.clip(error.min(), 1 / n, 1))
    return np.asarray(error <= error.min() + np.sqrt(least * (1 - least) / n))


def _sums(rows: NDArray[np.float32], label: Labels, k: int) -> NDArray[np.float32]:
    """The sum of the rows (n, d) of each of k labels (n,), (d, k)."""
    start = np.arange(len(label) + 1)
    member = csr_array((np.ones(len(label), np.float32), label, start), (len(label), k))
    return np.ascontiguousarray((member.T @ rows).T)


def smallest_share(label: Labels, k: int) -> float:
    """The smallest of k clusters over the average one: 0 (one is empty) to 1 (all are equal).

    label: (n,) 0..k-1.
    """
    return float(np.bincount(label, minlength=k).min() * k / len(label))


def _over_chance(share: float, label: Labels) -> float:
    """The share less what labels of these sizes share by chance, over what is left; 0 for one."""
    chance = float(np.square(np.bincount(label) / len(label)).sum())
    return (share - chance) / (1 - chance) if chance < 1 else 0.0

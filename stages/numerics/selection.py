"""How good a labelling is by itself: what there is to choose by where there is no ground truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.metrics import Labels
from clusterpipe.stages.numerics.neighbours import neighbours

NEIGHBOURS = 15
MEASURES = ("neighbour_agreement", "probe_agreement", "smallest_share")

RIDGE = 1e-2  # of the probe, relative to the mean of the rows' second moments


def neighbour_agreement(label: Labels, neighbour: NDArray[np.integer[Any]]) -> float:
    """Share of the edges of a k-NN graph whose ends share a label, less what chance gives.

    label: (n,) from 0; neighbour: (n, q) row numbers. Chance is the sum of the squared shares of
    the labels, so one label for all has 0. -1..1.
    """
    share = np.bincount(label) / len(label)
    return float((label[neighbour] == label[:, None]).mean() - np.square(share).sum())


def smallest_share(label: Labels, k: int) -> float:
    """The smallest of k clusters over the average one, 0 (some cluster is empty) to 1 (all equal).

    label: (n,) 0..k-1.
    """
    return float(np.bincount(label, minlength=k).min() * k / len(label))


def probe_agreement(
    rows: NDArray[np.float32], label: Labels, *, folds: int = 5, seed: int = 0
) -> float:
    """Share of labels that a linear probe fitted on the other folds predicts, 0..1.

    rows: (n, d); label: (n,) from 0. The probe is ridge regression on the one-hot labels with an
    intercept, in closed form: of all labels at once, in O(n d (d + k)).
    """
    fold = np.random.default_rng(seed).permutation(len(rows)) % folds
    right = 0
    x = np.hstack([rows, np.ones((len(rows), 1), np.float32)])
    target = np.eye(int(label.max()) + 1, dtype=np.float32)[label]
    for held in range(folds):
        kept, out = fold != held, fold == held
        moments = x[kept].T @ x[kept]
        moments[np.diag_indices_from(moments)] += RIDGE * np.trace(moments) / len(moments)
        weight = np.linalg.solve(moments, x[kept].T @ target[kept])
        right += int(((x[out] @ weight).argmax(axis=1) == label[out]).sum())
    return right / len(rows)


@dataclass(frozen=True)
class Selection:
    """What is known of each of a labellings without ground truth, and the score to choose by.

    value: (a, b) by each measure; score: (a,) the mean of neighbour and probe agreement, the
    largest is best.
    """

    measure: tuple[str, ...]
    value: NDArray[np.float64]
    score: NDArray[np.float64]


def selection(
    spaces: Sequence[NDArray[np.float32]],
    labels: Iterable[Labels],
    *,
    seed: int = 0,
) -> Selection:
    """Measures labellings (n,) of the same rows, given in one or several spaces (n, d), unit rows.

    Neighbour agreement is looked for in all spaces together, probes are fitted in each.
    """
    rows = np.hstack(list(spaces))
    near = neighbours(rows, NEIGHBOURS, seed=seed).index
    value = np.array([_measured(spaces, near, label, seed) for label in labels])
    return Selection(MEASURES, value, value[:, :2].mean(axis=1))


def _measured(
    spaces: Sequence[NDArray[np.float32]], near: NDArray[np.int64], label: Labels, seed: int
) -> list[float]:
    label = np.unique(label, return_inverse=True)[1]
    return [
        neighbour_agreement(label, near),
        float(np.mean([probe_agreement(rows, label, seed=seed) for rows in spaces])),
        smallest_share(label, int(label.max()) + 1),
    ]

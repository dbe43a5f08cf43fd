"""What several labellings agree on: their clusters are matched one to one, and then they vote.

A labelling has no names for its clusters that another would know, so all are matched with one of
them, the reference, by the rows they share (Dudoit and Fridlyand 2003, "bagged clustering").
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.metrics import Labels, contingency, mutual_agreement, one_to_one

LabelRows = Sequence[Labels] | NDArray[np.integer[Any]]  # m labellings (n,)


def matches(labels: LabelRows, reference: Labels, k: int) -> NDArray[np.intp]:
    """Which of k clusters of `reference` each of the k clusters of each labelling is; (m, k).

    labels, reference: (n,) 0..k-1 each. One to one, by the Hungarian method.
    """
    match = np.empty((len(labels), k), np.intp)
    for row, label in zip(match, labels, strict=True):
        counts = np.zeros((k, k), np.int64)
        found = contingency(label, reference)
        counts[: found.shape[0], : found.shape[1]] = found
        row[:] = one_to_one(counts)
    return match


def votes(labels: LabelRows, match: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The share of m labellings (n,) that put each row into each cluster; (n, k), rows sum to 1.

    match: (m, k) what the clusters of each are called.
    """
    total = np.zeros((len(labels[0]), match.shape[1]), np.float32)
    for label, called in zip(labels, match, strict=True):
        total[np.arange(len(label)), called[label]] += 1
    return total / np.float32(len(labels))


def most_central(labels: LabelRows) -> int:
    """The labelling that agrees most with the others, by the mean adjusted Rand index."""
    return int(mutual_agreement(list(labels)).argmax()) if len(labels) > 2 else 0


def better_half(score: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Those of the scores that are among the larger half, rounded up; of equal ones the first."""
    chosen = np.zeros(score.shape, np.bool_)
    order = np.argsort(-score, axis=None, kind="stable")
    chosen.flat[order[: -(-score.size // 2)]] = True
    return chosen

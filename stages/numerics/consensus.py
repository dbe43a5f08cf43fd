"""Consensus of several labellings: their clusters are matched one to one, then they vote.

A labelling has no names for its clusters that another would know, so all are matched with one of
them, the reference, by the rows they share (Dudoit and Fridlyand 2003, "bagged clustering"), and
then once more with what they agreed on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.metrics import Labels, contingency, one_to_one

ROUNDS = 2  # of matching, first with one labelling, then with the vote

LabelRows = Sequence[Labels] | NDArray[np.integer[Any]]  # m labellings (n,)


def matches(labels: LabelRows, reference: Labels, k: int) -> NDArray[np.intp]:
    """Index of the cluster of `reference` that each cluster of each labelling is; (m, k).

    labels, reference: (n,) 0..k-1 each. One to one, by the Hungarian method.
    """
    match = np.empty((len(labels), k), np.intp)
    for row, label in zip(match, labels, strict=True):
        counts = np.zeros((k, k), np.int64)
        found = contingency(label, reference)
        counts[: found.shape[0], : found.shape[1]] = found
        row[:] = one_to_one(counts)
    return match


def votes(
    labels: LabelRows,
    match: NDArray[np.integer[Any]],
    weight: NDArray[np.floating[Any]] | None = None,
) -> NDArray[np.float32]:
    """The share of the votes that puts each row into each cluster; (n, k), rows sum to 1.

    labels: m labellings (n,); match: (m, k) what the clusters of each are called; weight: (m,) of
    each one's vote, not all 0; the same for all if not given.
    """
    each = np.ones(len(labels), np.float32) if weight is None else weight
    total = np.zeros((len(labels[0]), match.shape[1]), np.float32)
    for label, called, own in zip(labels, match, each, strict=True):
        total[np.arange(len(label)), called[label]] += own
    return total / np.float32(each.sum())


def matched(labels: LabelRows, weight: NDArray[np.floating[Any]], k: int) -> NDArray[np.intp]:
    """Common numbers of the k clusters of each labelling, (m, k), so that they can vote.

    Matched with the labelling of most weight (the first of equal ones), then with their vote.
    """
    reference = labels[int(weight.argmax())]
    for _ in range(ROUNDS):
        match = matches(labels, reference, k)
        reference = votes(labels, match, weight).argmax(axis=1)
    return match

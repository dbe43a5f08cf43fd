"""Rows that are nearly copies of others: they tell nothing of how many clusters there are.

Copies are each other's nearest neighbours whatever the clusters are, and look like clusters of two.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.curation import linked
from clusterpipe.stages.numerics.nearest import Nearest
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import center_of, prepare, principal_rows

NEAREST = 10  # neighbours looked at; a copy may have fewer copies than that
WIDTH = 64  # principal components to find them in
ALIKE = 0.9  # cosine of centred rows from which they may be copies: that of curate
NEARER = 0.1  # squared distance of a copy, in that of the last neighbour, which is none


def without_near_copies(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (n, d) less those that nearly repeat an earlier one, in their order.

    A copy is as near as in `curate` and besides much nearer than the tenth neighbour is: members of
    a tight cluster are about as near to each other as to ten more. What is joined by a chain of
    copies leaves its first row. Time O(n^2), memory O(n d). Ours.
    """
    if len(rows) <= 2 * NEAREST:
        return rows
    near = neighbours(principal_rows(rows, WIDTH), NEAREST)
    centred = prepare(rows, center_of(rows, unit=True), unit=True)
    cosine = np.stack([(centred * centred[other]).sum(axis=1) for other in near.index.T], axis=1)
    farthest = 1 - cosine.min(axis=1, keepdims=True)
    copies = (cosine > ALIKE) & (1 - cosine < NEARER * farthest)
    component = linked(Nearest(near.index, cosine), copies)
    return rows[np.sort(np.unique(component, return_index=True)[1])]

"""Rows that are nearly copies of others: they tell nothing that the first of them does not.

Copies are each other's nearest neighbours whatever the clusters are, and look like clusters of two.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.curation import linked
from clusterpipe.stages.numerics.nearest import Nearest
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import center_of, prepare, principal_rows

BLOCK = 4096  # rows compared at a time
NEAREST = 10  # neighbours looked at; a copy may have fewer copies than that
WIDTH = 64  # principal components to find them in
ALIKE = 0.9  # cosine of centred rows from which they may be copies: that of curate
NEARER = 0.1  # squared distance of a copy, in that of the last neighbour, which is none


def without_near_copies(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (n, d) less those that nearly repeat an earlier one, in their order: see `firsts`."""
    return rows[firsts(rows)]


def firsts(rows: NDArray[Any], *, seed: int = 0) -> NDArray[np.int64]:
    """The numbers, ascending, of the rows (n, d) that do not nearly repeat an earlier one.

    A copy is as near as in `curate` and besides much nearer than the tenth neighbour is: members of
    a tight cluster are about as near to each other as to ten more. What is joined by a chain of
    copies leaves its first row. Time O(n^2), beyond 50,000 rows about O(n^1.5) and some copies in
    a hundred are missed (numerics.neighbours); memory O(n d). Ours.
    """
    if len(rows) <= 2 * NEAREST:
        return np.arange(len(rows))
    near = neighbours(principal_rows(rows, WIDTH), NEAREST, seed=seed)
    cosine = _centred_cosine(rows, near.index)
    farthest = 1 - cosine.min(axis=1, keepdims=True)
    copies = (cosine > ALIKE) & (1 - cosine < NEARER * farthest)
    component = linked(Nearest(near.index, cosine), copies)
    return np.sort(np.unique(component, return_index=True)[1])


def _centred_cosine(rows: NDArray[Any], index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The cosine (n, q) of each row with those of its `index` (n, q), all centred."""
    centred = prepare(rows, center_of(rows, unit=True), unit=True)
    return np.concatenate(
        [
            np.einsum("nd,nqd->nq", centred[part], centred[index[part]])
            for part in (slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK))
        ]
    )

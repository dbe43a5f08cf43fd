"""The clusters a run stands by: as assigned, or with a person's corrections."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.rows import Rows
from clusterpipe.cache.schema import Assignment, Corrections
from clusterpipe.stages.heads.protocol import Head
from clusterpipe.stages.sampling import finite

CORRECTED = "corrected"


def corrected(assigned: Assignment, corrections: Corrections) -> Assignment:
    """The assignment with the corrected clusters in the place of its own.

    Centres, and all else that a fit gave, stay those of the fit; every seed has the corrected
    labels, and none agrees with another by itself.
    """
    seeds = len(assigned.label_per_seed)
    return replace(
        assigned,
        label=corrections.label,
        probability=corrections.probability,
        top_label=corrections.top_label,
        top_probability=corrections.top_probability,
        exemplar=corrections.exemplar,
        label_per_seed=np.tile(corrections.label, (seeds, 1)),
        effective_k=len(np.unique(corrections.label[corrections.label >= 0])),
        stability=math.nan,
    )


def soft_corrected(
    head: Head, assigned: Assignment, corrections: Corrections, features: Rows
) -> Callable[[Rows], NDArray[np.float32]]:
    """Probabilities (m, k) of any features (m, d) for the corrected clusters.

    features: (n, d) that the head was fitted on, which are read where a cluster was split. Of
    clusters that a person merged, probabilities add up; of one that was split, an image is of the
    piece whose images have the nearest mean. Images placed one by one change nothing here.
    """
    from clusterpipe.stages.numerics.pieces import among_pieces, several

    piece, k = corrections.piece, len(corrections.exemplar)
    mean = np.full((len(piece), len(head.center)), np.nan, np.float32)
    if several(piece).any():
        mean = _means(head, assigned, corrections, features)

    def soft(rows: Rows) -> NDArray[np.float32]:
        found = np.empty((rows.shape[0], k), np.float32)
        fitted = head.soft(rows)
        for part, z in head.prepared_blocks(finite(rows)):
            count = part.stop - part.start
            found[part] = among_pieces(fitted[part], z[:count], piece, mean, k)
        return found

    return soft


def _means(
    head: Head, assigned: Assignment, corrections: Corrections, features: Rows
) -> NDArray[np.float32]:
    """The mean (p, d) of each piece's prepared rows, but for those a person placed; NaN of none."""
    piece = corrections.piece
    total = np.zeros((len(piece), len(head.center)), np.float64)
    count = np.zeros(len(piece))
    for part, z in head.prepared_blocks(finite(features)):
        was, now = assigned.label[part], corrections.label[part]
        for p, (before, after) in enumerate(piece):
            rows = np.flatnonzero((was == before) & (now == after))
            total[p] += z[rows].sum(axis=0)
            count[p] += len(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count[:, None], np.float32)

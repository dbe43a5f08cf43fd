"""Clusters that were merged or split after a fit: from its probabilities to those of the pieces."""

import numpy as np
from numpy.typing import NDArray


def several(piece: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Mask (p,) of the pieces (p, 2), of a cluster of the fit and a present one, that do not hold
    their cluster of the fit as a whole."""
    return np.asarray(np.bincount(piece[:, 0])[piece[:, 0]] > 1)


def among_pieces(
    soft: NDArray[np.float32],
    z: NDArray[np.float32],
    piece: NDArray[np.integer],
    mean: NDArray[np.float32],
    k: int,
) -> NDArray[np.float32]:
    """Probabilities (m, k) of the present clusters, from those of the fit (m, j).

    A cluster that went to one other as a whole adds to it; one of several pieces adds to that whose
    mean (p, d) is nearest to the row z (m, d). A piece without a mean, NaN, is nearest to nothing.
    """
    found = np.zeros((len(soft), k), np.float32)
    for cluster in range(soft.shape[1]):
        own = np.flatnonzero(piece[:, 0] == cluster)
        with_mean = own[~np.isnan(mean[own, 0])] if len(own) > 1 else own
        if len(with_mean) > 1:
            distance = ((z[:, None] - mean[with_mean]) ** 2).sum(axis=2)
            nearest = piece[with_mean[distance.argmin(axis=1)], 1]
        else:
            nearest = np.full(len(soft), piece[(with_mean if len(with_mean) else own)[0], 1])
        found[np.arange(len(soft)), nearest] += soft[:, cluster]
    return found

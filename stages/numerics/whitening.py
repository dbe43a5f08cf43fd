"""Start of the scalable refinement: the linear map at which rate reduction stands still.

For a linear map W, groups made of an image and its nearest neighbours, and deviations d within a
group that are small, R_c grows by c/2 tr(W S W^T), where S is the mean of d d^T, while R grows by
log|det W|. Their sum stands still where W S W^T is a multiple of the identity: where the scatter
within neighbourhoods is white. Ours; the map is that of within-class covariance normalisation
(Hatch and Stolcke 2006), with neighbourhoods in the place of classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.preparation import RANK_TOLERANCE

BLOCK = 8192  # rows


def neighbourhood_scatter(
    rows: NDArray[np.float32], index: NDArray[np.integer[Any]], *, at_once: int = BLOCK
) -> NDArray[np.float64]:
    """(e, e) mean outer product of the differences between rows (n, e) and their neighbours.

    index: (n, q) row numbers of each row's neighbours, q >= 1. at_once: rows whose differences are
    formed at a time.
    """
    scatter = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        difference = (rows[index[part]] - rows[part, None]).reshape(-1, rows.shape[1])
        scatter += difference.T @ difference
    return scatter / index.size


def whitening(scatter: NDArray[np.float64], *, shrinkage: float) -> NDArray[np.float32]:
    """The symmetric (e, e) map after which `scatter`, shrunk, is the identity.

    Before, the scatter is scaled to eigenvalues of mean 1, and `shrinkage` added to each: the
    larger, the less is turned up what hardly varies. The identity if there is no scatter.
    """
    values, vectors = np.linalg.eigh(scatter)
    if values.mean() <= 0:
        return np.eye(len(scatter), dtype=np.float32)
    scale = np.maximum(values / values.mean(), 0) + max(shrinkage, RANK_TOLERANCE)
    return np.asarray((vectors / np.sqrt(scale)) @ vectors.T, np.float32)

"""Start of the scalable refinement: the linear map at which rate reduction stands still.

For a linear map W, groups made of an image and its nearest neighbours, and deviations d within a
group that are small, R_c grows by c/2 tr(W S W^T), where S is the mean of d d^T, while R grows by
log|det W|. Their sum stands still where W S W^T is a multiple of the identity: where the scatter
within neighbourhoods is white. Ours; the map is that of within-class covariance normalisation
(Hatch and Stolcke 2006), with neighbourhoods in the place of classes.
"""

import numpy as np
from numpy.typing import NDArray

RANK_TOLERANCE = 1e-6  # of the largest variance: what float32 input can still tell from zero
BLOCK = 8192  # rows


def principal_axes(prepared: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """(e, d) leading eigenvectors of the prepared rows (n, d), e = min(width, d, rank).

    Raises ValueError when every row is the same, so that there is no direction at all.
    """
    n, d = prepared.shape
    if n < d:  # no (d, d) matrix of few rows
        _, lengths, right = np.linalg.svd(prepared.astype(np.float64), full_matrices=False)
        values, vectors = lengths[::-1] ** 2, right[::-1].T
    else:
        values, vectors = np.linalg.eigh((prepared.T @ prepared).astype(np.float64))
    rank = int((values > RANK_TOLERANCE * values[-1]).sum())
    if values[-1] <= 0 or rank == 0:
        raise ValueError(
            f"the variance of the {n:,} images read is {values[-1]:.2g}: nothing to tell apart"
        )
    leading = vectors[:, ::-1][:, : min(width, rank)].T
    return np.ascontiguousarray(leading, np.float32)


def neighbourhood_scatter(
    rows: NDArray[np.float32], index: NDArray[np.int64], *, at_once: int = BLOCK
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

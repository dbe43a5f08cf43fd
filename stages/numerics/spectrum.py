"""Spectrum of rows: the spread of their variance over principal components."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh


def variance_shares(rows: NDArray[Any]) -> NDArray[np.float64]:
    """The share of the variance of rows (n, d) in each principal component, largest first.

    min(n - 1, d) numbers from 0 to 1 that sum to 1: the squared singular values of the centred
    rows over their sum. All 0 when the rows are equal.
    """
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    n, d = centred.shape
    side = centred.T @ centred if d < n else centred @ centred.T
    values = np.maximum(eigvalsh(side)[::-1][: min(n - 1, d)], 0)
    return np.asarray(values / max(values.sum(), np.finfo(np.float64).tiny))


def effective_rank(shares: NDArray[np.float64]) -> float:
    """Number of equal components that are as spread out: the exponential of the shares' entropy.

    shares: (r,), from `variance_shares`; Roy and Vetterli 2007.
    """
    positive = shares[shares > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))

"""Rows as a given number of plain clusters would give them: what a count is held against.

A criterion may see structure where there is none: the bends of mutual neighbours also come of the
shape of a few large Gaussians. So a count is repeated on rows that are known to be k clusters and
otherwise like those at hand. What is counted there as well says nothing of the rows at hand: a
parametric bootstrap (Efron and Tibshirani 1993, chapter 6), used as a test of k against more.
"""

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import means, unit_rows

ITERATIONS = 15


def simulated_clusters(rows: NDArray[np.float32], k: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Unit rows (n, d) drawn from k Gaussians that stand where k clusters of `rows` (n, d) stand.

    The clusters are those of spherical k-means; each keeps its mean, its number of rows and its
    spread, and all have the covariance within clusters of all, pooled.
    """
    unit = unit_rows(rows)
    label = kmeans(
        unit_rows(unit - unit.mean(axis=0)), k, spherical=True, iterations=ITERATIONS, seed=seed
    ).label
    centre = means(unit, label, k)[label]
    size = np.bincount(label, minlength=k)
    inside = (unit - centre) * np.sqrt(size / np.maximum(size - 1, 1))[label, None]
    spread = np.sqrt(np.bincount(label, (inside**2).sum(axis=1), minlength=k) / np.maximum(size, 1))
    scale = spread / max(np.sqrt((inside**2).sum(axis=1).mean()), np.finfo(np.float32).tiny)
    drawn = _drawn_like(inside, np.random.default_rng(seed))
    return unit_rows((centre + drawn * scale[label, None]).astype(np.float32))


def _drawn_like(rows: NDArray[np.floating], random: np.random.Generator) -> NDArray[np.floating]:
    """As many normal rows (n, d) with mean 0 and the second moments of `rows` (n, d)."""
    _, length, direction = np.linalg.svd(rows, full_matrices=False)
    normal = random.standard_normal((len(rows), len(length)))
    return np.asarray((normal * (length / np.sqrt(len(rows)))) @ direction)

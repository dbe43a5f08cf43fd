"""Rows of features as points of the plane, close where the rows are close."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from clusterpipe.stages.numerics.nearest import nearest_rows
from clusterpipe.stages.numerics.preparation import unit_rows

LANDMARKS = 4000  # rows that t-SNE lays out; the cost of more grows faster than what they show
LEADING = 50  # principal components that t-SNE works on (van der Maaten and Hinton 2008)
PERPLEXITY = 30.0
BESIDE = 3  # landmarks that place another row


def principal_plane(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The two leading principal components (n, 2) of rows (n, d)."""
    flat = np.zeros((len(rows), 2), np.float32)
    kept = min(2, *rows.shape)
    if not _all_equal(rows):
        flat[:, :kept] = PCA(kept, svd_solver="full").fit_transform(rows)
    return flat


def tsne_plane(
    rows: NDArray[np.float32], *, landmarks: int = LANDMARKS, seed: int = 0
) -> NDArray[np.float32]:
    """Rows (n, d) by t-SNE (van der Maaten and Hinton 2008), as (n, 2).

    Of more than `landmarks` rows that many, drawn at random, are laid out, and every other row is
    placed among its three landmarks of largest cosine, the nearer the likelier (ours). Fewer than
    four rows, or equal ones, are shown by their principal components.
    """
    if len(rows) < 4 or _all_equal(rows):
        return principal_plane(rows)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:landmarks]
    plane = np.empty((len(rows), 2), np.float32)
    plane[chosen] = _tsne(rows[chosen], seed)
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    if len(others):
        plane[others] = _among(rows[others], rows[chosen], plane[chosen])
    return plane


def umap_plane(rows: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
    """Rows (n, d) by UMAP (McInnes, Healy and Melville 2018), as (n, 2); needs umap-learn.

    A row that is opposite to all its neighbours is in no graph: it lies in the middle. Fewer than
    four rows, or equal ones, are shown by their principal components.
    """
    if len(rows) < 4 or _all_equal(rows):
        return principal_plane(rows)
    import torch  # noqa: F401 - numba sets its threads to as many as there are cores: they are put back

    with warnings.catch_warnings(), threadpool_limits(1):
        # umap tells whoever imports it that it lacks tensorflow, which nothing here needs
        warnings.filterwarnings("ignore", category=ImportWarning, module="umap")
        warnings.filterwarnings("ignore", "A (few|large number) of your vertices")
        from umap import UMAP

        neighbours = min(15, len(rows) - 1)
        model = UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
        plane = np.asarray(model.fit_transform(rows), np.float32)
    placed = np.isfinite(plane).all(axis=1)
    plane[~placed] = plane[placed].mean(axis=0) if placed.any() else 0
    return plane


def in_unit_square(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (n, 2) moved and scaled into [0, 1] x [0, 1], the same along both axes, centred."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max()) or 1.0
    return np.asarray((points - (low + high) / 2) / side + 0.5, np.float32)


def _all_equal(rows: NDArray[np.float32]) -> bool:
    return bool((rows == rows[0]).all())


def _tsne(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    leading = PCA(min(LEADING, *rows.shape), random_state=seed).fit_transform(rows)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    init = "pca" if leading.shape[1] > 1 else "random"
    model = TSNE(perplexity=perplexity, init=init, random_state=seed)
    return np.asarray(model.fit_transform(leading), np.float32)


def _among(
    rows: NDArray[np.float32], landmarks: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    found = nearest_rows(unit_rows(rows), unit_rows(landmarks), BESIDE)
    weight = 1 / (1 - found.cosine + 1e-3)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray((weight[..., None] * points[found.index]).sum(axis=1), np.float32)

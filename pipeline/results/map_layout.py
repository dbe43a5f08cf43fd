"""The map of a run: points in the plane for its images, by the features that were clustered."""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import take
from clusterpipe.pipeline.results.predict import clustered
from clusterpipe.pipeline.results.reading import Results

MAPS = ("auto", "umap", "tsne", "pca")
MAP_NAMES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal components"}


def lay_out(
    results: Results, rows: NDArray[np.intp], method: str, seed: int
) -> NDArray[np.float32]:
    """Points (m, 2) in the unit square for rows of a run, by the features that it clustered."""
    from clusterpipe.stages.numerics import projection
    from clusterpipe.stages.numerics.preparation import prepare

    clusters = results.clusters
    features = take(clustered(results).rows, rows)
    widths = tuple(clusters.width)
    prepared = prepare(features, clusters.center, unit=bool(clusters.normalised), widths=widths)
    if method == "pca":
        plane = projection.principal_plane(prepared)
    elif method == "umap":
        plane = projection.umap_plane(prepared, seed=seed)
    else:
        plane = projection.tsne_plane(prepared, seed=seed)
    return projection.in_unit_square(plane)


def map_method(wanted: str) -> str:
    """The layout that is meant; auto is UMAP where it is installed. Raises UsageError."""
    if wanted not in MAPS:
        raise UsageError(f"--map takes {', '.join(MAPS)}, not {wanted!r}")
    installed = find_spec("umap") is not None
    if wanted == "umap" and not installed:
        raise UsageError("--map umap needs umap-learn: pip install umap-learn")
    if wanted == "auto":
        return "umap" if installed else "tsne"
    return wanted

"""Spectral clustering: k-means in the leading eigenvectors of a graph, which any row can enter.

The graph joins each row to its nearest rows (up to `exact_up_to` images) or to its nearest of many
small k-means cells, the landmarks (beyond). In both, a new row is placed by the landmarks it is
like, so new images are labelled exactly as those of the run are. To how many rows each is joined
decides which clusters are found; where that is not given, graphs of several widths are tried.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.cache.rows import blocks
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.kmeans import Centroids, KMeans
from clusterpipe.stages.heads.probing import probe_errors, sound
from clusterpipe.stages.heads.protocol import BLOCK, Fits, Training
from clusterpipe.stages.sampling import sample_of

LANDMARKS_PER_ROW = 5
TRIED = (15, 40, 100)  # neighbours, where none are given
ROWS_PER_CELL = 64  # that cells are found from, at most
CELLS_PER_CLUSTER = 5  # at least


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Graph of landmarks: coordinates of a row in q eigenvectors, by the landmarks it is like.

    landmark: (p, d) unit rows, radius: (p,) their scales, coordinate: (p, q) what each adds to the
    place of a row; neighbours: how many landmarks place a row.
    """

    landmark: NDArray[np.float32]
    radius: NDArray[np.float32]
    coordinate: NDArray[np.float32]
    neighbours: int

    def placed(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places (b, q) of prepared rows (b, d), unit rows."""
        from clusterpipe.stages.numerics.spectral import (
            embedded,
            local_affinity,
            nearest_landmarks,
        )

        near = nearest_landmarks(z, self.landmark, int(self.neighbours))
        return embedded(local_affinity(near, self.radius), self.coordinate)


@dataclass(frozen=True, kw_only=True)
class SpectralClusters(Graph):
    """Clusters by the nearest of k centres among the places.

    centroid: (k, d) in the prepared space; place: (k, q) the centres among the places. tried: (a,)
    to how many landmarks rows were joined, one graph each, and errors: (a,) what linear probes miss
    of the clusters of each.
    """

    centroid: NDArray[np.float32]
    place: NDArray[np.float32]
    tried: NDArray[np.int64]
    errors: NDArray[np.float64]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.soft_at(self.placed(z))

    def soft_at(self, places: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (b, k) of rows at these places (b, q)."""
        return Centroids(self.place, self.temperature).soft(places)


@dataclass(frozen=True)
class SpectralFits(Fits):
    """All seeds place a row alike."""

    def soft(self, z: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        places = self.model.placed(z)
        for model in self.models:
            yield model.soft_at(places)


@dataclass(frozen=True)
class Spectral:
    """One graph and its eigenvectors for all seeds; each clusters the places by k-means."""

    name: ClassVar[str] = "spectral"
    table: ClassVar[str] = "assign.spectral"
    about: ClassVar[str] = "cuts a graph of neighbours where it is thin"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = "inertia"
    model: ClassVar[type[SpectralClusters]] = SpectralClusters

    landmarks: ClassVar[int] = 1024  # beyond exact_up_to; more where there are many clusters

    neighbours: int = option(
        0,
        "Images to join each image to. More merges small clusters, fewer splits large ones. 0"
        " = of 15, 40 and 100 what a linear probe learns best.",
        least=0,
    )
    exact_up_to: int = option(
        10_000,
        "Most images (of the fit) that are joined to each other; more are joined to landmarks, "
        "in time and memory that grow with the number of landmarks only.",
        least=0,
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        z, exact = training.z, len(training.z) <= self.exact_up_to
        landmark = z if exact else self._cells(z, k, seeds[0], progress)
        counts = self._counts(exact, len(landmark))
        tried = [
            self._cut(training, landmark, count, exact, k, seeds, progress) for count in counts
        ]
        labels = [cut.label for cut in tried]
        errors = probe_errors(labels, training, seeds[0])
        best = tried[int(sound(labels, errors, k).argmin())]
        models = [
            SpectralClusters(
                **vars(best.graph),
                centroid=_centroid(z, best.places, fit, k),
                place=fit.centroid,
                tried=np.array(counts),
                errors=errors,
                temperature=fit.temperature,
            )
            for fit in best.fits.models
        ]
        return SpectralFits(models, best.fits.objective, best.fits.chosen)

    def _counts(self, exact: bool, p: int) -> list[int]:
        """To how many of p landmarks, of which it may be one, a row is joined in each trial."""
        if not exact:
            return [min(LANDMARKS_PER_ROW, p)]
        wanted = (self.neighbours,) if self.neighbours else TRIED
        return sorted({min(count + 1, p) for count in wanted})  # a row is its own nearest

    def _cut(
        self,
        training: Training,
        landmark: NDArray[np.float32],
        count: int,
        exact: bool,
        k: int,
        seeds: Sequence[int],
        progress: Progress,
    ) -> "_Cut":
        from clusterpipe.stages.numerics.spectral import embedded

        affinity, radius = _affinities(training.z, landmark, count, progress)
        graph = _graph(affinity, landmark, radius, k, exact, seeds[0], progress)
        places = embedded(affinity, graph.coordinate)
        inner = Training.of(places, training.common)
        fits = KMeans().fit(inner, k, seeds, progress, named=self.name)
        return _Cut(graph, places, fits)

    def _cells(
        self, z: NDArray[np.float32], k: int, seed: int, progress: Progress
    ) -> NDArray[np.float32]:
        """The centroids of many small k-means cells, (p, d)."""
        from clusterpipe.stages.numerics.kmeans import cells

        count = min(max(self.landmarks, CELLS_PER_CLUSTER * k), len(z))
        sample = z[sample_of(np.arange(len(z)), ROWS_PER_CELL * count, seed)]
        with progress(f"finding {count:,} landmarks", total=1, unit="fits") as advance:
            found = cells(sample, count, seed=seed)
            advance(1)
        return found


@dataclass(frozen=True)
class _Cut:
    """A graph, the places (n, q) of the rows, and k-means among them."""

    graph: Graph
    places: NDArray[np.float32]
    fits: Fits

    @property
    def label(self) -> NDArray[np.int64]:
        from clusterpipe.stages.numerics.kmeans import nearest

        return nearest(self.places, self.fits.model.centroid).label


def _centroid(
    z: NDArray[np.float32], places: NDArray[np.float32], fit: Centroids, k: int
) -> NDArray[np.float32]:
    from clusterpipe.stages.numerics.kmeans import nearest
    from clusterpipe.stages.numerics.preparation import mean_directions

    return mean_directions(z, nearest(places, fit.centroid).label, k)


def _affinities(
    z: NDArray[np.float32], landmark: NDArray[np.float32], count: int, progress: Progress
) -> tuple[Any, NDArray[np.float32]]:
    """Affinities of rows (n, d) to their `count` nearest landmarks, (n, p), and radii (p,)."""
    from scipy.sparse import csr_array, vstack

    from clusterpipe.stages.numerics.spectral import (
        local_affinity,
        local_radius,
        nearest_landmarks,
    )

    near = (nearest_landmarks(block, landmark, count) for block in blocks(landmark, BLOCK))
    radius, parts = np.concatenate([local_radius(one.cosine) for one in near]), []
    with progress("joining images", total=len(z), unit="images") as advance:
        for block in blocks(z, BLOCK):
            parts.append(local_affinity(nearest_landmarks(block, landmark, count), radius))
            advance(len(block))
    return csr_array(vstack(parts)), radius


def _graph(
    affinity: Any,
    landmark: NDArray[np.float32],
    radius: NDArray[np.float32],
    k: int,
    exact: bool,
    seed: int,
    progress: Progress,
) -> Graph:
    from clusterpipe.stages.numerics.spectral import (
        joined,
        landmark_coordinates,
        row_coordinates,
    )

    coordinates = row_coordinates if exact else landmark_coordinates
    count = min(k, len(landmark))
    with progress("finding eigenvectors", total=count, unit="vectors") as advance:
        coordinate = joined(coordinates(affinity, count, seed=seed), landmark, affinity)
        advance(count)
    neighbours = int(affinity.indptr[1])
    return Graph(landmark=landmark, radius=radius, coordinate=coordinate, neighbours=neighbours)

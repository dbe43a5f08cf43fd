"""Spectral clustering: k-means in the leading eigenvectors of a graph, which any row can enter.

The graph joins each row to its nearest rows (up to `exact_up_to` images) or to its nearest of many
small k-means cells, the landmarks (beyond). In both, a new row is placed by the landmarks it is
like, so new images are labelled exactly as those of the run are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Advance
from clusterpipe.stages.heads.kmeans import Centroids, KMeans
from clusterpipe.stages.heads.protocol import BLOCK, Fits
from clusterpipe.stages.sampling import sample_of

CELL_ITERATIONS = 10
LANDMARKS_PER_ROW = 5
ROWS_PER_CELL = 64  # that cells are found from, at most
CELLS_PER_CLUSTER = 5  # at least


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Where a row lies in q eigenvectors, by the landmarks it is like.

    landmark: (p, d) unit rows, radius: (p,) their scales, coordinate: (p, q) what each adds to the
    place of a row; neighbours: how many landmarks place a row.
    """

    landmark: NDArray[np.float32]
    radius: NDArray[np.float32]
    coordinate: NDArray[np.float32]
    neighbours: int

    def placed(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places (b, q) of prepared rows (b, d), unit rows."""
        from clusterpipe.stages.numerics.spectral import embedded

        affinity = _affinity(z, self.landmark, self.radius, int(self.neighbours))
        return embedded(affinity, self.coordinate)


@dataclass(frozen=True, kw_only=True)
class SpectralClusters(Graph):
    """Clusters by the nearest of k centres among the places.

    centroid: (k, d) in the prepared space; place: (k, q) the centres among the places.
    """

    centroid: NDArray[np.float32]
    place: NDArray[np.float32]
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
    about: ClassVar[str] = "cuts a graph of neighbours where it is thin"
    unit: ClassVar[bool] = True
    model: ClassVar[type[SpectralClusters]] = SpectralClusters

    restarts: int
    iterations: int
    temperature: float
    neighbours: int
    exact_up_to: int
    landmarks: int

    def fit(self, z: NDArray[np.float32], k: int, seeds: Sequence[int], advance: Advance) -> Fits:
        from clusterpipe.stages.numerics.kmeans import nearest
        from clusterpipe.stages.numerics.preparation import mean_directions

        exact = len(z) <= self.exact_up_to
        graph = self._of_rows(z, k) if exact else self._of_landmarks(z, k, seeds[0])
        places = np.concatenate([graph.placed(block) for block in _blocks(z)])
        fits = KMeans(self.restarts, self.iterations, self.temperature).fit(
            places, k, seeds, advance
        )
        models = [
            SpectralClusters(
                **vars(graph),
                centroid=mean_directions(z, nearest(places, fit.centroid).label, k),
                place=fit.centroid,
                temperature=fit.temperature,
            )
            for fit in fits.models
        ]
        return SpectralFits(models, fits.objective, fits.chosen)

    def _of_rows(self, z: NDArray[np.float32], k: int) -> Graph:
        """The graph in which every row is a landmark."""
        from clusterpipe.stages.numerics.spectral import joined, row_coordinates

        count = min(self.neighbours + 1, len(z))  # each row is its own nearest
        radius = _radius(z, count)
        coordinate = joined(row_coordinates(_affinity(z, z, radius, count), k), z)
        return Graph(landmark=z, radius=radius, coordinate=coordinate, neighbours=count)

    def _of_landmarks(self, z: NDArray[np.float32], k: int, seed: int) -> Graph:
        """The graph between rows and the centroids of many small k-means cells."""
        from clusterpipe.stages.numerics.kmeans import kmeans
        from clusterpipe.stages.numerics.spectral import joined, landmark_coordinates

        cells = min(max(self.landmarks, CELLS_PER_CLUSTER * k), len(z))
        sample = z[sample_of(np.arange(len(z)), ROWS_PER_CELL * cells, seed)]
        landmark = kmeans(
            sample, cells, spherical=True, iterations=CELL_ITERATIONS, seed=seed
        ).centroid
        count = min(LANDMARKS_PER_ROW, cells)
        radius = _radius(landmark, count)
        affinity = _affinity(z, landmark, radius, count)
        coordinate = joined(landmark_coordinates(affinity, min(k, cells)), landmark)
        return Graph(landmark=landmark, radius=radius, coordinate=coordinate, neighbours=count)


def _radius(landmark: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    from clusterpipe.stages.numerics.spectral import local_radius, nearest_landmarks

    return np.concatenate(
        [
            local_radius(nearest_landmarks(block, landmark, count).cosine)
            for block in _blocks(landmark)
        ]
    )


def _affinity(
    z: NDArray[np.float32],
    landmark: NDArray[np.float32],
    radius: NDArray[np.float32],
    count: int,
) -> Any:
    """Affinities of rows (n, d) to their `count` nearest landmarks, (n, p) sparse."""
    from scipy.sparse import csr_array, vstack

    from clusterpipe.stages.numerics.spectral import local_affinity, nearest_landmarks

    parts = [
        local_affinity(nearest_landmarks(block, landmark, count), radius) for block in _blocks(z)
    ]
    return csr_array(vstack(parts))


def _blocks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]

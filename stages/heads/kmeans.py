"""k-means on the sphere and in Euclidean space; probabilities by a softmax over distances."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.heads.protocol import Fits, Training


@dataclass(frozen=True)
class Centroids:
    """Clusters by nearest centroid, (k, d)."""

    centroid: NDArray[np.float32]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.kmeans import soft_assign

        return soft_assign(z, self.centroid, temperature=self.temperature)


@dataclass(frozen=True)
class KMeans:
    """Lloyd's algorithm; the seed of lowest inertia is chosen."""

    name: ClassVar[str] = "kmeans"
    table: ClassVar[str] = "assign.kmeans"
    about: ClassVar[str] = "compares positions"
    unit: ClassVar[bool] = False
    minimised: ClassVar[str] = "inertia"
    model: ClassVar[type[Centroids]] = Centroids

    def fit(
        self,
        training: Training,
        k: int,
        seeds: Sequence[int],
        progress: Progress,
        *,
        named: str = "",
    ) -> Fits:
        from clusterpipe.stages.numerics.kmeans import kmeans

        z, common, clusterings = training.z, training.common, []
        with progress(f"fitting {named or self.name}", total=len(seeds), unit="fits") as advance:
            for seed in seeds:
                clusterings.append(
                    kmeans(
                        z,
                        k,
                        spherical=self.unit,
                        restarts=common.restarts,
                        iterations=common.iterations,
                        seed=seed,
                    )
                )
                advance(1)
        inertia = np.array([c.inertia for c in clusterings])
        scale = float(np.square(z).sum(axis=1, dtype=np.float64).mean()) or 1.0
        temperature = common.temperature or scale
        return Fits(
            [Centroids(c.centroid, temperature) for c in clusterings],
            inertia,
            int(inertia.argmin()),
        )


@dataclass(frozen=True)
class SphericalKMeans(KMeans):
    """The same between directions: rows and centroids have unit length."""

    name: ClassVar[str] = "spherical-kmeans"
    table: ClassVar[str] = "assign.spherical_kmeans"
    about: ClassVar[str] = "compares directions: right for most backbones"
    unit: ClassVar[bool] = True

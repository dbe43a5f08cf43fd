"""Annealed k-means: soft clusters around mean directions, followed while they sharpen.

What single runs of k-means get wrong by chance is different in each: their mean vote is the start,
and a soft k-means that cools mends it (`numerics.annealing`). It works in principal components in
which the differences between neighbours are white. Ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.coordinates import Axes, studied, white_axes
from clusterpipe.stages.heads.probing import PROBE_ERROR, probed
from clusterpipe.stages.heads.protocol import Fits, Training


@dataclass(frozen=True, kw_only=True)
class DirectionClusters:
    """Clusters by nearest direction in white components.

    centroid: (k, d) in the prepared space; direction: (d, e) to the components of all spaces side
    by side, of which `width` (r,) belong to each; place: (k, e) the clusters' directions there.
    """

    centroid: NDArray[np.float32]
    direction: NDArray[np.float32]
    width: NDArray[np.int64]
    place: NDArray[np.float32]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.kmeans import soft_assign

        rows = Axes(self.direction, self.width).rows(z)
        return soft_assign(rows, self.place, temperature=self.temperature)


@dataclass(frozen=True)
class Annealed:
    """Vote of eight runs of k-means per seed, annealed; of the seeds the most typical stands."""

    name: ClassVar[str] = "annealed"
    table: ClassVar[str] = "assign.annealed"
    about: ClassVar[str] = "follows soft clusters while they sharpen: right for most collections"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = PROBE_ERROR
    model: ClassVar[type[DirectionClusters]] = DirectionClusters

    balance: float = option(
        0.3,
        "Pull towards clusters of equal size while they form, 0 to 1. Lower it where sizes "
        "differ much.",
        least=0,
        most=1,
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        axes, z = white_axes(training, k, seeds[0]), training.z
        rows, models = axes.rows(z), []
        with progress(f"fitting {self.name}", total=len(seeds), unit="fits") as advance:
            for seed in seeds:
                place = self._place(rows[studied(len(z), k, seed)], k, training, seed)
                models.append(_model(z, rows, axes, place))
                advance(1)
        return probed(models, training, seeds[0])

    def _place(
        self, rows: NDArray[np.float32], k: int, training: Training, seed: int
    ) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.annealing import annealed_kmeans

        iterations = training.common.iterations
        return annealed_kmeans(rows, k, iterations=iterations, seed=seed, balance=self.balance)


def _model(
    z: NDArray[np.float32],
    rows: NDArray[np.float32],
    axes: Axes,
    place: NDArray[np.float32],
) -> DirectionClusters:
    """Clusters around these directions (k, e), numbered from the largest down; temperature 1."""
    from clusterpipe.stages.numerics.preparation import largest_first, mean_directions

    k, label = len(place), (rows @ place.T).argmax(axis=1)
    order = largest_first(label, k)
    return DirectionClusters(
        centroid=mean_directions(z, label, k)[order],
        direction=axes.direction,
        width=axes.width,
        place=place[order],
        temperature=1.0,
    )

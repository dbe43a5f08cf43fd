"""Clusters by minimum incremental coding length: an image joins the cluster that codes it best.

Starts from spherical k-means. Unlike a centre, a cluster's code knows its spread: which directions
its images differ in, and how much. Of few images that cannot be told, and large clusters swallow
small ones: there it refuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.probing import sound
from clusterpipe.stages.heads.protocol import Fits, Training

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.coding_length import Code

EPSILON_SQUARED, MODEL_COST, OFFSET = 0.3, 0.3, 0.2  # as in estimate-k
ROWS_PER_DIMENSION = 2  # of the average cluster
LEAST_IMAGES = 20  # per cluster: with 15, one cluster in six dies, with 8, a third to half of them


@dataclass(frozen=True, kw_only=True)
class CodedClusters:
    """Clusters as codes: the cost of one more image in each.

    centroid: (k, d) in the prepared space; direction: (d, e) the components that are coded; mean
    (k, p), factor (k, p, p), weight (k,) and base (k,): see numerics.incremental_coding, p = e + 1.
    """

    centroid: NDArray[np.float32]
    direction: NDArray[np.float32]
    mean: NDArray[np.float32]
    factor: NDArray[np.float64]
    weight: NDArray[np.float64]
    base: NDArray[np.float64]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.incremental_coding import (
            Increments,
            added_length,
            soft_by_length,
        )

        cost = Increments(self.mean, self.factor, self.weight, self.base)
        length = added_length(_coded(z, self.direction), cost)
        return soft_by_length(length, temperature=self.temperature)


@dataclass(frozen=True)
class CodingLength:
    """Labels and codes in turn, from k-means, until no image moves; one start per seed."""

    name: ClassVar[str] = "coding-length"
    table: ClassVar[str] = "assign.coding_length"
    about: ClassVar[str] = "asks which cluster describes an image shortest"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = "length"
    model: ClassVar[type[CodedClusters]] = CodedClusters

    rounds: ClassVar[int] = 15  # in which images may move

    components: int = option(
        32,
        "Principal components that are coded; at most half as many as the average cluster has "
        "images.",
        least=1,
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        from clusterpipe.stages.numerics.coding_length import partition_length
        from clusterpipe.stages.numerics.incremental_coding import (
            cluster_statistics,
            increments,
        )
        from clusterpipe.stages.numerics.preparation import mean_directions, principal_directions

        z = training.z
        _refuse_too_few(len(z), k)
        width = min(self.components, max(1, len(z) // (k * ROWS_PER_DIMENSION)))
        direction = principal_directions(z, width)
        rows, code = _coded(z, direction), _code()
        labels = self._labels(training, rows, k, seeds, progress)
        length = np.array([partition_length(cluster_statistics(rows, x, k), code) for x in labels])
        costs = [increments(rows, label, k, code) for label in labels]
        chosen = int(sound(labels, length, k).argmin())
        models = [
            CodedClusters(
                centroid=mean_directions(z, label, k),
                direction=direction,
                temperature=training.common.temperature or width,
                **vars(cost),
            )
            for label, cost in zip(labels, costs, strict=True)
        ]
        return Fits(models, length, chosen)

    def _labels(
        self,
        training: Training,
        rows: NDArray[np.float32],
        k: int,
        seeds: Sequence[int],
        progress: Progress,
    ) -> list[NDArray[np.int64]]:
        """From k-means to labels that their own codes keep, from the largest cluster down."""
        from clusterpipe.stages.numerics.incremental_coding import settled
        from clusterpipe.stages.numerics.kmeans import kmeans
        from clusterpipe.stages.numerics.preparation import largest_first

        common, labels = training.common, []
        with progress(f"fitting {self.name}", total=len(seeds), unit="fits") as advance:
            for seed in seeds:
                start = kmeans(
                    training.z,
                    k,
                    spherical=True,
                    restarts=common.restarts,
                    iterations=common.iterations,
                    seed=seed,
                )
                label = settled(rows, start.label, k, _code(), rounds=self.rounds)
                labels.append(largest_first(label, k).argsort()[label])
                advance(1)
        return labels


def _refuse_too_few(n: int, k: int) -> None:
    if k > 1 and n < LEAST_IMAGES * k:
        raise UsageError(
            f"coding-length describes how each cluster spreads, for which {n / k:.1f} images per "
            f"cluster are too few: it takes {LEAST_IMAGES}. Take another of assign.methods (and "
            "assign.consensus.candidates)"
        )


def _code() -> "Code":
    from clusterpipe.stages.numerics.coding_length import Code

    return Code(EPSILON_SQUARED, MODEL_COST)


def _coded(z: NDArray[np.float32], direction: NDArray[np.float32]) -> NDArray[np.float32]:
    """Prepared rows (b, d) as they are coded: unit rows in components and a constant, (b, p)."""
    from clusterpipe.stages.numerics.preparation import unit_rows, with_offset

    return with_offset(unit_rows(z @ direction), OFFSET)

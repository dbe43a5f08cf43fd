"""Zero-shot classification: a cluster for each name that was given, by the words alone.

It is no clustering, but the mark that clustering without names is measured by: nothing is fitted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.calibration import probabilities
from clusterpipe.stages.heads.protocol import Fits, Training, words_of

TEMPERATURE = 0.01  # CLIP's own


@dataclass(frozen=True, kw_only=True)
class NamedClusters:
    """Clusters by the likeliest name.

    centroid: (k, d) mean features of the images of each; word: (k, d) the names as rows of the same
    space and offset: (k,) what their scores start from; by_cosine: whether directions are compared.
    """

    centroid: NDArray[np.float32]
    word: NDArray[np.float32]
    offset: NDArray[np.float32]
    by_cosine: bool
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.preparation import unit_rows

        score = (unit_rows(z) if self.by_cosine else z) @ self.word.T + self.offset
        return probabilities(score, self.temperature)


@dataclass(frozen=True)
class NamedFits(Fits):
    """All seeds are one model."""

    def soft(self, z: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        soft = self.model.soft(z)
        for _ in self.models:
            yield soft


@dataclass(frozen=True)
class ZeroShot:
    """Each image to the name it is likeliest of: cluster i is the i-th of those that were given."""

    name: ClassVar[str] = "zero-shot"
    table: ClassVar[str] = "assign.zero_shot"
    about: ClassVar[str] = "no clustering: each image to the likeliest of the names you give"
    unit: ClassVar[bool] = False
    minimised: ClassVar[str] = ""  # nothing is fitted
    model: ClassVar[type[NamedClusters]] = NamedClusters

    class_names: str = option(
        "",
        "Names, one cluster each: a text file, a file of text features, or 'classes', those "
        "of the source (leaks the answer).",
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        from clusterpipe.stages.numerics.preparation import means

        words, z = words_of(training, self.name), training.z
        unfilled = NamedClusters(
            centroid=words.feature,
            word=words.feature,
            offset=words.offset,
            by_cosine=words.by_cosine,
            temperature=training.common.temperature or (TEMPERATURE if words.by_cosine else 1.0),
        )
        with progress("naming", total=len(z), unit="images") as advance:
            soft = unfilled.soft(z)
            advance(len(z))
        label = soft.argmax(axis=1)
        model = replace(unfilled, centroid=means(z, label, len(words.name)))
        surprise = -float(np.log(soft.max(axis=1)).mean())
        return NamedFits([model] * len(seeds), np.full(len(seeds), surprise), 0)

"""Protocol of a cluster head: its fit, the fitted model, and the labels of any row.

A *method* is a frozen dataclass of its settings, the table `assign.<name>`; `fit` gives one *model*
per seed. A model is a frozen dataclass of plain arrays, which is also how it is stored.
Both see prepared rows: centred and, if the method says `unit`, of unit length. A `Head` is a model
with its preparation, less the clusters that no image is in: it takes features as they come.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress
from clusterpipe.cache.rows import Rows, blocks
from clusterpipe.stages.sampling import finite

BLOCK = 1024  # rows that are assigned together, always so many: see `padded`

# every kind of head by its name, entered by the package, which alone knows them all
KINDS: dict[str, type[Any]] = {}

Probabilities = NDArray[np.float32]


class Model(Protocol):
    """Fitted model. A frozen dataclass whose every field is an array or a number, or else with
    `arrays()`, from which `Method.model` makes it again.

    centroid: (k, d) mean of each cluster's prepared rows; temperature: of the soft assignment, 0
    where there is none.
    """

    @property
    def centroid(self) -> NDArray[np.float32]: ...

    @property
    def temperature(self) -> float: ...

    def soft(self, z: NDArray[np.float32]) -> Probabilities:
        """Probability of each cluster, (b, k), rows sum to 1. z: (b, d), treated row by row."""
        ...


@dataclass(frozen=True)
class Words:
    """v words as rows of the space of the images.

    name: (v,); feature: (v, d) float32. An image's score for a word is the cosine of their rows if
    `by_cosine` (a text tower), else their product plus the word's `offset` (v,) (a classifier).
    """

    name: tuple[str, ...]
    feature: NDArray[np.float32]
    offset: NDArray[np.float32]
    by_cosine: bool


@dataclass(frozen=True)
class Verdict:
    """Labels of n rows by one fit: the likeliest cluster of each, and its probability, (n,)."""

    label: NDArray[np.int64]
    probability: NDArray[np.float32]

    @classmethod
    def of(cls, soft: Probabilities) -> Self:
        """Labels and their probabilities, from probabilities (n, k)."""
        return cls(soft.argmax(axis=1), soft.max(axis=1))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Of all rows, from parts of them in their order."""
        return cls(
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.probability for part in parts]),
        )


@dataclass(frozen=True)
class Lesson:
    """Labels by the fits of a head, for another head to learn; the rest is as in `Fits`."""

    verdicts: Sequence[Verdict]
    objective: NDArray[np.float64]
    chosen: int


@dataclass(frozen=True)
class Common:
    """Settings that heads share, of assign itself: restarts and iterations of k-means, the
    temperature of the probabilities (0: calibrated), whether rows were centred."""

    restarts: int = 4
    iterations: int = 25
    temperature: float = 0.0
    center: bool = True


@dataclass(frozen=True)
class Training:
    """Training data of heads: prepared rows of one feature space, or of several side by side.

    z: (n, d) float32; widths: of each space, they sum to d; common: settings of all heads; views:
    (n, v, d) augmented views of the same images, prepared as `z` is, if there are any; words: of
    that space, for heads that read some, not prepared; members: what was fitted before, the best
    first, for a head that is made of others; lesson: what another head says, for one that learns
    from it.
    """

    z: NDArray[np.float32]
    widths: tuple[int, ...]
    common: Common = Common()
    views: NDArray[np.float32] | None = None
    words: Words | None = None
    members: tuple["Member", ...] = ()
    lesson: "Lesson | None" = None

    @classmethod
    def of(cls, z: NDArray[np.float32], common: Common = Common()) -> Self:
        """The rows (n, d) of one space."""
        return cls(z, (z.shape[1],), common)

    @property
    def spaces(self) -> list[NDArray[np.float32]]:
        """The rows in each space, (n, width)."""
        return np.split(self.z, np.cumsum(self.widths)[:-1], axis=1)


def words_of(training: Training, head: str) -> Words:
    """The words that `head` reads. Raises UsageError if there are none."""
    if training.words is None:
        raise UsageError(f"{head} reads words, and none were given")
    return training.words


def labelled(model: Model, z: NDArray[np.float32]) -> NDArray[np.int64]:
    """The likeliest cluster (n,) of prepared rows (n, d), block by block."""
    return judged(model, z).label


def judged(model: Model, z: NDArray[np.float32]) -> Verdict:
    """The same, and how likely it is."""
    return Verdict.joined([Verdict.of(model.soft(block)) for block in blocks(z, BLOCK)])


@dataclass(frozen=True)
class Fits:
    """One model per seed, (s,); `objective` (s,) is what was minimised, `chosen` the model to use.

    Heads whose seeds share work may override `soft`.
    """

    models: Sequence[Any]
    objective: NDArray[np.float64]
    chosen: int

    @property
    def model(self) -> Any:
        return self.models[self.chosen]

    def soft(self, z: NDArray[np.float32]) -> Iterator[Probabilities]:
        """Memberships of prepared rows by each seed's model, in turn."""
        for model in self.models:
            yield model.soft(z)


class Method(Protocol):
    """Fitting of a head. A frozen dataclass of settings, each an `option`; there may be none."""

    name: ClassVar[str]
    table: ClassVar[str]  # of its settings: "assign." and the name, with underscores
    about: ClassVar[str]  # completes "<name>: ..." in the help
    unit: ClassVar[bool]  # whether rows are scaled to unit length
    minimised: ClassVar[
        str
    ]  # what the objective is called, such as inertia; "" if nothing is fitted
    model: ClassVar[type[Any]]

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        """Fit k clusters to the n rows, once with each seed."""
        ...


def arrays_of(model: Any) -> dict[str, NDArray[Any]]:
    """A model's fields as arrays, or what it gives itself, if it is made of other models."""
    if hasattr(model, "arrays"):
        return dict(model.arrays())
    return {f.name: np.asarray(getattr(model, f.name)) for f in fields(model)}


@dataclass(frozen=True)
class Head:
    """A model and the preparation of its rows: gives any features a label and a probability.

    center: (d,) subtracted from each row; normalised: whether rows are scaled to unit length, each
    of the spaces of these `widths` for itself; clusters: (k,) those of the model that are kept,
    ascending.
    """

    model: Any
    center: NDArray[np.float32]
    normalised: bool
    widths: tuple[int, ...]
    clusters: NDArray[np.integer[Any]]

    @property
    def centroid(self) -> NDArray[np.float32]:
        """The mean of each cluster's prepared rows, (k, d)."""
        return np.asarray(self.model.centroid[self.clusters])

    def prepared(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (b, d), b <= `BLOCK`, as the model sees them: (`BLOCK`, d), zeros at the end."""
        from clusterpipe.stages.numerics.preparation import prepare

        return prepare(_padded(rows), self.center, unit=self.normalised, widths=self.widths)

    def kept(self, soft: Probabilities) -> Probabilities:
        """From the model's probabilities (b, m) to those of the clusters that are kept, (b, k)."""
        if len(self.clusters) == soft.shape[1]:
            return soft
        left = np.maximum(soft[:, self.clusters], np.finfo(np.float32).tiny)
        return np.asarray(left / left.sum(axis=1, keepdims=True), np.float32)

    def soft(self, features: Rows) -> Probabilities:
        """Probability of each cluster, (n, k); the label is the argmax.

        features: (n, d) as the backbone gave them. A row's result does not depend on the others.
        Raises UsageError for another width, NaN or infinity.
        """
        n, width = features.shape
        if width != len(self.center):
            raise UsageError(
                f"the clusters were fitted on features of width {len(self.center)}, not {width}"
            )
        soft = np.empty((n, len(self.clusters)), np.float32)
        for part, z in self.prepared_blocks(finite(features)):
            soft[part] = self.kept(self.model.soft(z)[: part.stop - part.start])
        return soft

    def prepared_blocks(self, rows: Rows) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Blocks of features (n, d): which rows they are, and these rows as `prepared`."""
        start = 0
        for block in blocks(rows, BLOCK):
            yield slice(start, start + len(block)), self.prepared(block)
            start += len(block)

    def parameters(self) -> dict[str, NDArray[Any]]:
        """The model's arrays, but for those that have places of their own in an assignment.

        The centroids are among them only if some clusters are not kept.
        """
        beside = {"temperature", *(["centroid"] if self._is_whole else [])}
        arrays = arrays_of(self.model)
        return {name: value for name, value in arrays.items() if name not in beside}

    @property
    def _is_whole(self) -> bool:
        return len(self.clusters) == len(self.model.centroid)


@dataclass(frozen=True)
class Member:
    """One fit of a method that is part of another: `seed` counts its fits.

    start: the column where its features begin in the rows that are given.
    """

    method: str
    seed: int
    head: Head
    start: int = 0

    def read(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Its part of the rows (b, d)."""
        return rows[:, self.start : self.start + len(self.head.center)]


def kind_of(method: str) -> str:
    """The head of a method, which may also name its features: 'turtle' of 'turtle:both'."""
    return method.partition(":")[0]


def _padded(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (b, d) and zeros up to `BLOCK` of them.

    Matrix products round differently for different numbers of rows: with one number for all, a row
    has the same probability alone or among others, whatever ties there are.
    """
    block = np.zeros((BLOCK, rows.shape[1]), np.float32)
    block[: len(rows)] = rows
    return block

"""Consensus: clusters of images that the fits of other heads put together, again and again.

The labels that all member fits give an image, side by side as indicators, are its place; two images
are as near as there are members that put them together (co-association: Strehl and Ghosh 2002).
k-means among the places takes time and memory that grow with the images, not with their square, and
a new image is placed by the same members.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.heads.calibration import temperature_of
from clusterpipe.stages.heads.kmeans import Centroids
from clusterpipe.stages.heads.protocol import BLOCK, Fits, Head, Member, Training

MOST_PLACED = 20_000  # images that the centres are found from


@dataclass(frozen=True, kw_only=True)
class ConsensusClusters:
    """Clusters by the nearest of k centres among the places that members give a row.

    centroid: (k, d) mean of each cluster's features; place: (k, q) the centres; weight: (q,) what
    each indicator counts, 0 for members that have no say.
    """

    centroid: NDArray[np.float32]
    place: NDArray[np.float32]
    weight: NDArray[np.float32]
    temperature: float
    members: tuple[Member, ...]

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.soft_at(_indicators(_labels(self.members, z), self.members))

    def soft_at(self, places: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (b, k) of rows at these places (b, q)."""
        return Centroids(self.place, self.temperature).soft(places * self.weight)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, those of members as `<place>.<head>.<seed>.<name>`.

        What a member shares with the one before it, of the same head, is there once.
        """
        found = {"centroid": self.centroid, "place": self.place, "weight": self.weight}
        before: dict[str, dict[str, Any]] = {}
        for at, member in enumerate(self.members):
            parts, last = _parts(member.head), before.get(member.kind, {})
            for name, value in parts.items():
                if last.get(name) is not value:
                    found[f"{at}.{member.kind}.{member.seed}.{name}"] = np.asarray(value)
            before[member.kind] = parts
        return found

    @classmethod
    def restored(
        cls,
        *,
        centroid: NDArray[np.float32],
        place: NDArray[np.float32],
        weight: NDArray[np.float32],
        temperature: float,
        **arrays: NDArray[Any],
    ) -> "ConsensusClusters":
        """The inverse of `arrays`."""
        found: dict[tuple[int, str, int], dict[str, Any]] = {}
        for key, value in arrays.items():
            at, head, fit, name = key.split(".")
            found.setdefault((int(at), head, int(fit)), {})[name] = value
        members, before = [], dict[str, dict[str, Any]]()
        for (_, kind, seed), parts in sorted(found.items()):
            before[kind] = {**before.get(kind, {}), **parts}
            members.append(Member(kind, seed, _head(kind, before[kind])))
        return cls(
            centroid=centroid,
            place=place,
            weight=weight,
            temperature=temperature,
            members=tuple(members),
        )


@dataclass(frozen=True)
class ConsensusFits(Fits):
    """All seeds place a row alike."""

    def soft(self, z: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        members = self.model.members
        places = _indicators(_labels(members, z), members)
        for model in self.models:
            yield model.soft_at(places)


@dataclass(frozen=True)
class Consensus:
    """k-means among the labels of all members; each seed leaves out the members of that seed."""

    name: ClassVar[str] = "consensus"
    about: ClassVar[str] = (
        "joins what the fits of all other methods named put together, or of `candidates` if alone"
    )
    unit: ClassVar[bool] = False
    minimised: ClassVar[str] = "inertia"
    model: ClassVar[Any] = ConsensusClusters.restored

    restarts: int
    iterations: int
    temperature: float

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        members, z = training.members, _spread(training.z, max(MOST_PLACED, k))
        blocks = (z[at : at + BLOCK] for at in range(0, len(z), BLOCK))
        labels = np.concatenate([_labels(members, block) for block in blocks], axis=1)
        models, inertia = [], []
        with progress(f"fitting {self.name}", total=len(seeds), unit="fits") as advance:
            for at, seed in enumerate(seeds):
                found = self._agreed(z, labels, _say(members, at), members, k, seed)
                models.append(found.model)
                inertia.append(found.inertia)
                advance(1)
        return ConsensusFits(models, np.array(inertia), int(np.argmin(inertia)))

    def _agreed(
        self,
        z: NDArray[np.float32],
        labels: NDArray[np.int64],
        weight: NDArray[np.float32],
        members: tuple[Member, ...],
        k: int,
        seed: int,
    ) -> "_Agreed":
        """One clustering of the labels (m, n) that members give; as sure as they agree with it."""
        from clusterpipe.stages.numerics.kmeans import kmeans
        from clusterpipe.stages.numerics.preparation import means

        places = _indicators(labels, members) * weight
        found = kmeans(
            places,
            k,
            spherical=False,
            restarts=self.restarts,
            iterations=self.iterations,
            seed=seed,
        )
        temperature = temperature_of(
            lambda value: Centroids(found.centroid, value).soft(places),
            [found.label, *labels],
            0,
            given=self.temperature,
            scale=1.0,
        )
        model = ConsensusClusters(
            centroid=means(z, found.label, k),
            place=found.centroid,
            weight=weight,
            temperature=temperature,
            members=members,
        )
        return _Agreed(model, found.inertia)


@dataclass(frozen=True)
class _Agreed:
    model: ConsensusClusters
    inertia: float


def _labels(members: Sequence[Member], z: NDArray[np.float32]) -> NDArray[np.int64]:
    """The label of each row of features (b, d), b <= `BLOCK`, by each of m members; (m, b)."""
    soft = (member.head.model.soft(member.head.prepared(z)) for member in members)
    return np.stack([one[: len(z)].argmax(axis=1) for one in soft])


def _indicators(labels: NDArray[np.int64], members: Sequence[Member]) -> NDArray[np.float32]:
    """Labels (m, b) as ones among zeros, side by side, (b, q)."""
    wide = [np.eye(member.clusters, dtype=np.float32) for member in members]
    return np.hstack([one[label] for one, label in zip(wide, labels, strict=True)])


def _say(members: Sequence[Member], seed: int) -> NDArray[np.float32]:
    """The weight (q,) of each indicator: nothing for members of that seed, if there are others.

    Places then have unit length.
    """
    has = np.array([member.seed != seed for member in members])
    has |= not has.any()
    each = (has / np.sqrt(has.sum())).astype(np.float32)
    return np.repeat(each, [member.clusters for member in members])


def _spread(rows: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most so many of the rows (n, d), evenly spread."""
    return rows[:: -(-len(rows) // most)]


def _parts(head: Head) -> dict[str, Any]:
    """The fields of a head and of its model by name, those of the model after an =."""
    own = {f.name: getattr(head, f.name) for f in fields(head) if f.name != "model"}
    return own | {f"={f.name}": getattr(head.model, f.name) for f in fields(head.model)}


def _head(kind: str, parts: dict[str, Any]) -> Head:
    """The inverse of `_parts`."""
    from clusterpipe.stages.heads import HEADS

    inner = {name[1:]: value for name, value in parts.items() if name.startswith("=")}
    return Head(
        HEADS[kind].model(**inner),
        parts["center"],
        bool(parts["normalised"]),
        tuple(int(width) for width in parts["widths"]),
        parts["clusters"],
    )

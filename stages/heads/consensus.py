"""Consensus: what the fits of other heads agree on, by a vote.

All fits but collapsed ones vote on each image, their clusters matched one to one, first with those
of the fit that scores best without labels (`numerics.selection`); where votes are equal, those of
better fits decide. What chance decided in one fit the others outvote (Dudoit and Fridlyand 2003).
A new image is put to the same vote.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.cache.rows import blocks
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.protocol import (
    BLOCK,
    KINDS,
    Fits,
    Head,
    Member,
    Training,
    kind_of,
)

MOST_VOTED_ON = 20_000  # images that clusters are matched by
TIE = 0.01  # of a vote, that the best member has more: decides ties only, up to 200 members
GRADE = 1e-3  # of a vote, that the mean probability adds: grades rows on which all agree
STANDING = 0  # the fit that all members are heard in


@dataclass(frozen=True, kw_only=True)
class ConsensusClusters:
    """Clusters by the votes of m members, and by how sure they are where they agree.

    centroid: (k, d) mean of each cluster's features; match: (m, k) what the clusters of each member
    are called; weight: (m,) of its vote, 0 if it is not heard. A probability is the share of the
    votes, and a thousandth of the members' mean probability, to the power of 1 / temperature.
    """

    centroid: NDArray[np.float32]
    match: NDArray[np.int64]
    weight: NDArray[np.float32]
    temperature: float
    members: tuple[Member, ...]

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.heard(_each(self.members, z))

    def heard(self, each: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probabilities (b, k) of rows of which each of m members says this, (b, k)."""
        from scipy.special import softmax

        from clusterpipe.stages.numerics.consensus import votes

        heard = [int(member) for member in np.flatnonzero(self.weight)]
        labels = np.stack([each[member].argmax(axis=1) for member in heard])
        score = votes(labels, self.match[heard], self.weight[heard])
        for member in heard:
            score[:, self.match[member]] += np.float32(GRADE / len(heard)) * each[member]
        logits = np.log(np.maximum(score, np.finfo(np.float32).tiny))
        return np.asarray(softmax(logits / np.float32(self.temperature), axis=1), np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, those of members as `<place>.<method>.<seed>.<name>`.

        What a member shares with the one before it, of the same method, is there once.
        """
        found: dict[str, NDArray[Any]] = {
            "centroid": self.centroid,
            "match": self.match,
            "weight": self.weight,
        }
        before: dict[str, dict[str, Any]] = {}
        for at, member in enumerate(self.members):
            parts, last = _parts(member), before.get(member.method, {})
            for name, value in parts.items():
                if last.get(name) is not value:
                    found[f"{at}.{member.method}.{member.seed}.{name}"] = np.asarray(value)
            before[member.method] = parts
        return found

    @classmethod
    def restored(
        cls,
        *,
        centroid: NDArray[np.float32],
        match: NDArray[np.int64],
        weight: NDArray[np.float32],
        temperature: float,
        **arrays: NDArray[Any],
    ) -> "ConsensusClusters":
        """The inverse of `arrays`."""
        found: dict[tuple[int, str, int], dict[str, Any]] = {}
        for key, value in arrays.items():
            at, method, fit, name = key.split(".")
            found.setdefault((int(at), method, int(fit)), {})[name] = value
        members, before = [], dict[str, dict[str, Any]]()
        for (_, method, seed), parts in sorted(found.items()):
            before[method] = {**before.get(method, {}), **parts}
            members.append(_member(method, seed, before[method]))
        return cls(
            centroid=centroid,
            match=match,
            weight=weight,
            temperature=temperature,
            members=tuple(members),
        )


@dataclass(frozen=True)
class ConsensusFits(Fits):
    """All seeds ask the same members."""

    def soft(self, z: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        each = _each(self.model.members, z)
        for model in self.models:
            yield model.heard(each)


@dataclass(frozen=True)
class Consensus:
    """The vote of all members, by which it stands; each seed but the first leaves out its own."""

    name: ClassVar[str] = "consensus"
    table: ClassVar[str] = "assign.consensus"
    about: ClassVar[str] = (
        "takes what the fits of the other methods, or of its candidates, agree on"
    )
    unit: ClassVar[bool] = False
    minimised: ClassVar[str] = "members unheard"
    model: ClassVar[Any] = ConsensusClusters.restored

    candidates: tuple[str, ...] = option(
        ("annealed", "annealed:embeddings", "annealed:both"),
        "Methods whose fits 'auto', or consensus alone, hears, but for fits that leave a "
        "tenth of the clusters empty.",
    )
    rival: str = option(
        "spectral",
        "Method that 'auto' stands by where it keeps many more nearest images together than the "
        "vote. Empty = none.",
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        members, z = training.members, _spread(training.z, max(MOST_VOTED_ON, k))
        labels = np.concatenate([_labels(members, block) for block in blocks(z, BLOCK)], axis=1)
        models = []
        with progress(f"fitting {self.name}", total=len(seeds), unit="fits") as advance:
            for seed in range(len(seeds)):
                models.append(_agreed(z, labels, _weights(members, seed), members, k))
                advance(1)
        unheard = np.array([float((model.weight == 0).mean()) for model in models])
        return ConsensusFits(models, unheard, STANDING)


def _agreed(
    z: NDArray[np.float32],
    labels: NDArray[np.int64],
    weight: NDArray[np.float32],
    members: tuple[Member, ...],
    k: int,
) -> ConsensusClusters:
    """The vote on rows (n, d) of the members, by `weight` (m,); labels: (m, n) by all.

    Clusters are numbered from the largest down.
    """
    from clusterpipe.stages.numerics.consensus import matched, votes
    from clusterpipe.stages.numerics.preparation import largest_first, means

    match = matched(labels, weight, k)
    label = votes(labels, match, weight).argmax(axis=1)
    rank = largest_first(label, k).argsort(kind="stable")
    return ConsensusClusters(
        centroid=means(z, rank[label], k),
        match=rank[match],
        weight=weight,
        temperature=1.0,
        members=members,
    )


def _each(members: Sequence[Member], z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Memberships of rows (b, d), b <= `BLOCK`, by each of m members; (b, k) each."""
    each = (member.head.model.soft(member.head.prepared(member.read(z))) for member in members)
    return [soft[: len(z)] for soft in each]


def _labels(members: Sequence[Member], z: NDArray[np.float32]) -> NDArray[np.int64]:
    """The label of each row of features (b, d), b <= `BLOCK`, by each of m members; (m, b)."""
    return np.stack([soft.argmax(axis=1) for soft in _each(members, z)])


def _weights(members: Sequence[Member], seed: int) -> NDArray[np.float32]:
    """(m,) of the votes, the best member's first.

    0 for the members of that seed, if it is not the first and there are others.
    """
    heard = np.array([seed == STANDING or member.seed != seed for member in members])
    weight = 1 + TIE * np.linspace(1, 0, len(members))
    return np.asarray(weight * (heard | ~heard.any()), np.float32)


def _spread(rows: NDArray[Any], most: int) -> NDArray[Any]:
    """At most so many of the rows (n, d), evenly spread."""
    return rows[:: -(-len(rows) // most)]


def _parts(member: Member) -> dict[str, Any]:
    """The fields of a member's head and of its model by name, those of the model after an =."""
    head = member.head
    own = {f.name: getattr(head, f.name) for f in fields(head) if f.name != "model"}
    inner = {f"={f.name}": getattr(head.model, f.name) for f in fields(head.model)}
    return {"start": member.start, **own, **inner}


def _member(method: str, seed: int, parts: dict[str, Any]) -> Member:
    """The inverse of `_parts`."""
    inner = {name[1:]: value for name, value in parts.items() if name.startswith("=")}
    head = Head(
        KINDS[kind_of(method)].model(**inner),
        parts["center"],
        bool(parts["normalised"]),
        tuple(int(width) for width in parts["widths"]),
        parts["clusters"],
    )
    return Member(method, seed, head, int(parts["start"]))

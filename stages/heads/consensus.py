"""Consensus: what the better half of the fits of other heads agree on.

Every fit is scored without labels (`numerics.selection`), and the probabilities of those that score
best are averaged, their clusters matched one to one: a vote in which a fit that is unsure of an
image has less say. So the score chooses among heads, features and restarts at once, and what chance
decided in one fit the others outvote: cluster ensemble selection (Fern and Lin 2008). A new image
is put to the same vote.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.heads.protocol import (
    BLOCK,
    Fits,
    Head,
    Member,
    Training,
    kind_of,
)

MOST_VOTED_ON = 20_000  # images that clusters are matched by
MOST_COMPARED = 2_000  # images that the reference is found by
STANDING = 0  # the fit that all members are heard in


@dataclass(frozen=True, kw_only=True)
class ConsensusClusters:
    """Clusters by the votes of m members; the probability of one is the mean of theirs.

    centroid: (k, d) mean of each cluster's features; match: (m, k) what the clusters of each member
    are called; say: (m,) 1, or 0 for a member that has none; temperature: 0, there is none.
    """

    centroid: NDArray[np.float32]
    match: NDArray[np.int64]
    say: NDArray[np.int64]
    temperature: float
    members: tuple[Member, ...]

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.agreed(_soft(self.members, z))

    def agreed(self, soft: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probabilities (b, k) of rows that the m members give these, (b, at most k) each."""
        from clusterpipe.stages.numerics.consensus import pooled

        heard = np.flatnonzero(self.say)
        return pooled([soft[member] for member in heard.tolist()], self.match[heard])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, those of members as `<place>.<method>.<seed>.<name>`.

        What a member shares with the one before it, of the same method, is there once.
        """
        found: dict[str, NDArray[Any]] = {
            "centroid": self.centroid,
            "match": self.match,
            "say": self.say,
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
        say: NDArray[np.int64],
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
            say=say,
            temperature=temperature,
            members=tuple(members),
        )


@dataclass(frozen=True)
class ConsensusFits(Fits):
    """All seeds ask the same members."""

    def soft(self, z: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        soft = _soft(self.model.members, z)
        for model in self.models:
            yield model.agreed(soft)


@dataclass(frozen=True)
class Consensus:
    """The vote of all members, by which it stands; each seed but the first leaves out its own."""

    name: ClassVar[str] = "consensus"
    about: ClassVar[str] = (
        "what the better half of the fits of all other methods named, or of `candidates` if alone, "
        "agree on"
    )
    unit: ClassVar[bool] = False
    minimised: ClassVar[str] = "members unheard"
    model: ClassVar[Any] = ConsensusClusters.restored

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        members, z = training.members, _spread(training.z, max(MOST_VOTED_ON, k))
        with progress(f"fitting {self.name}", total=2 * len(z), unit="images") as advance:
            given = np.empty((len(members), len(z)), np.int64)
            for rows, soft in _blocks(members, z):
                given[:, rows] = [one.argmax(axis=1) for one in soft]
                advance(len(soft[0]))
            voters = [_voters(given, _say(members, at), members, k) for at in range(len(seeds))]
            agreed = np.empty((len(voters), len(z)), np.int64)
            for rows, soft in _blocks(members, z):
                agreed[:, rows] = [model.agreed(soft).argmax(axis=1) for model in voters]
                advance(len(soft[0]))
        models = [_ranked(model, z, label) for model, label in zip(voters, agreed, strict=True)]
        unheard = np.array([1 - float(model.say.mean()) for model in models])
        return ConsensusFits(models, unheard, STANDING)


def _voters(
    labels: NDArray[np.int64], say: NDArray[np.int64], members: tuple[Member, ...], k: int
) -> ConsensusClusters:
    """The vote of the members that have a `say` (m,), clusters called as in the most central.

    labels: (m, n) by all; the centroids are not known yet.
    """
    from clusterpipe.stages.numerics.consensus import matches, most_central

    heard = labels[say > 0]
    reference = heard[most_central(_spread(heard.T, MOST_COMPARED).T)]
    return ConsensusClusters(
        centroid=np.zeros((k, 0), np.float32),
        match=matches(labels, reference, k),
        say=say,
        temperature=0.0,
        members=members,
    )


def _ranked(
    model: ConsensusClusters, z: NDArray[np.float32], label: NDArray[np.int64]
) -> ConsensusClusters:
    """The same with its centroids, clusters numbered from the largest down.

    label: (n,) what it says of rows (n, d).
    """
    from clusterpipe.stages.numerics.preparation import means

    k = len(model.centroid)
    order = np.argsort(-np.bincount(label, minlength=k), kind="stable")
    rank = order.argsort(kind="stable")
    return replace(model, centroid=means(z, rank[label], k), match=rank[model.match])


def _blocks(
    members: Sequence[Member], z: NDArray[np.float32]
) -> Iterator[tuple[slice, list[NDArray[np.float32]]]]:
    """Where the blocks of rows (n, d) are, and what members say of them."""
    for start in range(0, len(z), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, _soft(members, z[rows])


def _soft(members: Sequence[Member], z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What each of m members makes of features (b, d), b <= `BLOCK`; (b, at most k) each."""
    return [
        member.head.model.soft(member.head.prepared(member.read(z)))[: len(z)] for member in members
    ]


def _say(members: Sequence[Member], seed: int) -> NDArray[np.int64]:
    """(m,) 0 for the members of that seed, if it is not the first and there are others, else 1."""
    has = np.array([seed == STANDING or member.seed != seed for member in members])
    return np.asarray(has | ~has.any(), np.int64)


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
    from clusterpipe.stages.heads import HEADS

    inner = {name[1:]: value for name, value in parts.items() if name.startswith("=")}
    head = Head(
        HEADS[kind_of(method)].model(**inner),
        parts["center"],
        bool(parts["normalised"]),
        tuple(int(width) for width in parts["widths"]),
        parts["clusters"],
    )
    return Member(method, seed, head, int(parts["start"]))

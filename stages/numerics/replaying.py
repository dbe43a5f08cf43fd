"""Replay of a person's acts onto an assignment, whichever fit it comes from.

An act names a cluster by some of its images. Here it is found again: the clusters that one act
names, and all that were given names, are matched one to one with those there are (Hungarian
method), by the Jaccard index of what was named and what is there. Ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Rows: TypeAlias = NDArray[np.int64]
Cut: TypeAlias = Callable[[Rows, int], NDArray[np.integer]]

ALIKE = 0.3  # Jaccard index from which on a cluster is the one that was named
MOST = 0.5  # share of a cluster's images that lies in one place
NOBODY = "none of its images is left"


@dataclass(frozen=True)
class Reference:
    """A cluster as it was named: the rows of its images that are left, how many had been named, and
    how many images it had."""

    rows: Rows
    named: int
    size: int


@dataclass(frozen=True)
class Step:
    """An act in rows of the assignment; `line` is its place in the log, from 1.

    lost: images it names that are not there any more.
    """

    line: int
    kind: str
    rows: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    clusters: Sequence[Reference] = ()
    name: str = ""
    into: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Replayed:
    """Clusters after the acts. Numbers of clusters that were merged away hold no image.

    label: (n,) cluster, -1 none; name: of each of the k clusters, "" without one; piece: (p, 2)
    each cluster that was assigned, and a cluster its images went to as a whole or in part; placed:
    (n,) True where a person decided; star: rows, first things first; kept: (n,) 1 to keep, -1 to
    drop, 0 nothing said; outcome: for each step the reason why it, or part of it, does not apply,
    "" where it does.
    """

    label: NDArray[np.int32]
    name: list[str]
    piece: NDArray[np.int64]
    placed: NDArray[np.bool_]
    star: list[int]
    kept: NDArray[np.int8]
    outcome: list[str]


def replay(
    steps: Sequence[Step],
    label: NDArray[np.integer],
    probability: NDArray[np.floating],
    top_label: NDArray[np.integer],
    k: int,
    cut: Cut,
) -> Replayed:
    """The assignment after all steps, in their order.

    label (n,), its probability (n,), and the likeliest clusters (n, m) of an assignment with k
    clusters; cut parts rows (r,) into so many groups 0, 1, ... (r,). Nothing is written into what
    is given. Names are dealt out at the end: a cluster that was named and then split leaves its
    name to the piece most like it.
    """
    state = _State(
        np.array(label, np.int32), np.asarray(probability), np.asarray(top_label), cut, k
    )
    outcome = []
    for step in steps:
        reason = _ACTS[step.kind](state, step)
        outcome.append("; ".join(filter(None, [_lost(step), reason])))
    name = _named(state, steps, outcome)
    pairs = [(j, c) for j, pieces in enumerate(state.pieces) for c in pieces]
    return Replayed(
        state.label,
        name,
        np.array(pairs, np.int64).reshape(-1, 2),
        state.placed,
        list(dict.fromkeys(state.star)),
        state.kept,
        outcome,
    )


def alike(
    references: Sequence[Reference], label: NDArray[np.integer], k: int
) -> NDArray[np.float64]:
    """Jaccard index (r, k) of each cluster that was named and each there is, from its images left.

    Of a cluster that was named by a part of its images, the part stands for the whole.
    """
    size = np.bincount(label[label >= 0], minlength=k)
    found = np.zeros((len(references), k))
    for row, reference in enumerate(references):
        inside = _counts(reference.rows, label, k)
        if not len(reference.rows):
            continue
        left = reference.size * len(reference.rows) / reference.named
        common = np.minimum(inside / len(reference.rows) * left, size)
        found[row] = common / np.maximum(left + size - common, 1)
    return found


def matched(references: Sequence[Reference], label: NDArray[np.integer], k: int) -> list[int]:
    """The cluster that each reference means, one each, so that all together are most alike.

    -1 where none is alike enough.
    """
    found = alike(references, label, k)
    cluster = [-1] * len(references)
    for row, column in zip(*linear_sum_assignment(-found), strict=True):
        if found[row, column] >= ALIKE:
            cluster[row] = int(column)
    return cluster


# ---------------------------------------------------------------- acts


@dataclass
class _State:
    """Labels while acts are replayed; `pieces` are the clusters that those assigned went to."""

    label: NDArray[np.int32]
    probability: NDArray[np.floating]
    top_label: NDArray[np.integer]
    cut: Cut
    k: int
    pieces: list[list[int]] = field(init=False)
    placed: NDArray[np.bool_] = field(init=False)
    pinned: NDArray[np.bool_] = field(init=False)
    kept: NDArray[np.int8] = field(init=False)
    star: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.label)
        self.pieces = [[j] for j in range(self.k)]
        self.placed, self.pinned = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.kept = np.zeros(n, np.int8)

    def place(self, rows: Rows, cluster: int) -> None:
        self.label[rows] = cluster
        self.placed[rows] = True

    def new_cluster(self, rows: Rows) -> None:
        """Makes a cluster of the rows; it is a piece of the clusters that they were in."""
        before = set(np.unique(self.label[rows]).tolist())
        self.label[rows] = self.k
        for pieces in self.pieces:
            if before & set(pieces):
                pieces.append(self.k)
        self.k += 1


def _merge(state: _State, step: Step) -> str:
    found = matched(step.clusters, state.label, state.k)
    lost = [r for r, c in zip(step.clusters, found, strict=True) if c < 0]
    left = [c for c in found if c >= 0]
    if len(left) < 2:
        return _unlike(state, lost) or "its clusters are one already"
    first = left[0]
    state.label[np.isin(state.label, left)] = first
    state.pieces = [
        list(dict.fromkeys(first if c in left else c for c in pieces)) for pieces in state.pieces
    ]
    return _unlike(state, lost)


def _split(state: _State, step: Step) -> str:
    (cluster,) = matched(step.clusters, state.label, state.k)
    if cluster < 0:
        return _unlike(state, step.clusters)
    members = np.flatnonzero(state.label == cluster)
    if len(members) < step.into:
        return f"its cluster has {len(members)} images, too few for {step.into} clusters"
    part = state.cut(members, step.into)
    for number in range(1, step.into):  # the first piece stays what it was
        state.new_cluster(members[part == number])
    return ""


def _gather(state: _State, step: Step) -> str:
    if len(step.rows):
        state.new_cluster(step.rows)
        state.placed[step.rows] = True
    return ""


def _move(state: _State, step: Step) -> str:
    cluster, reason = _home(state, step.clusters[0])
    if cluster >= 0:
        state.place(step.rows, cluster)
    return reason


def _pin(state: _State, step: Step) -> str:
    cluster, reason = _home(state, step.clusters[0])
    if cluster >= 0:
        state.place(step.rows, cluster)
        state.pinned[step.rows] = True
    return reason


def _reject(state: _State, step: Step) -> str:
    cluster, reason = _home(state, step.clusters[0])
    if cluster >= 0:
        state.place(step.rows[state.label[step.rows] == cluster], -1)
    return reason


def _same(state: _State, step: Step) -> str:
    rows = step.rows
    if len(rows) < 2:
        return ""
    order = np.lexsort((-state.probability[rows], ~state.pinned[rows], state.label[rows] < 0))
    cluster = int(state.label[rows[order[0]]])
    if cluster < 0:
        return "its images are in no cluster"
    moved = rows[(state.label[rows] != cluster) & ~state.pinned[rows]]
    state.place(moved, cluster)
    apart = int((state.label[rows] != cluster).sum())
    return f"{apart} of its images are pinned elsewhere" if apart else ""


def _not_same(state: _State, step: Step) -> str:
    if len(step.rows) < 2 or len(set(state.label[step.rows].tolist())) > 1:
        return ""
    free = [row for row in step.rows if not state.pinned[row]]
    if not free or state.label[free[0]] < 0:
        return "both are pinned to one cluster" if not free else ""
    row = min(free, key=lambda row: state.probability[row])
    for likely in state.top_label[row].tolist():
        cluster = state.pieces[likely][0] if likely >= 0 else -1
        if cluster not in (-1, state.label[row]):
            state.place(np.array([row]), cluster)
            return ""
    return "neither has another likely cluster"


def _keep(state: _State, step: Step) -> str:
    state.kept[step.rows] = 1
    return ""


def _drop(state: _State, step: Step) -> str:
    state.kept[step.rows] = -1
    return ""


def _star(state: _State, step: Step) -> str:
    state.star += step.rows.tolist()
    return ""


def _nothing(state: _State, step: Step) -> str:
    return ""


_ACTS: dict[str, Callable[[_State, Step], str]] = {
    "rename": _nothing,  # names come last
    "merge": _merge,
    "split": _split,
    "gather": _gather,
    "move": _move,
    "reject": _reject,
    "pin": _pin,
    "same": _same,
    "not-same": _not_same,
    "keep": _keep,
    "drop": _drop,
    "star": _star,
    "note": _nothing,
}


# ---------------------------------------------------------------- where things are now


def _home(state: _State, reference: Reference) -> tuple[int, str]:
    """The cluster that most of a reference's images are in, and else -1 and the reason."""
    if not len(reference.rows):
        return -1, NOBODY
    counts = _counts(reference.rows, state.label, state.k)
    if counts.max(initial=0) < MOST * len(reference.rows):
        return -1, f"its cluster is spread over {int((counts > 0).sum())} clusters now"
    return int(counts.argmax()), ""


def _counts(rows: Rows, label: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """Number of the rows in each cluster, (k,)."""
    inside = label[rows]
    return np.bincount(inside[inside >= 0], minlength=k)


def _unlike(state: _State, references: Sequence[Reference]) -> str:
    """The reason why the references, if there are any, mean no cluster."""
    if not references:
        return ""
    if not any(len(reference.rows) for reference in references):
        return NOBODY
    nearest = alike(references, state.label, state.k).max(axis=1, initial=0).min()
    return f"no cluster is like the one it names: the nearest shares {nearest:.0%} of their images"


def _lost(step: Step) -> str:
    if not step.lost:
        return ""
    return f"{step.lost} of its {step.lost + len(step.rows)} images are not in the run"


# ---------------------------------------------------------------- names


def _named(state: _State, steps: Sequence[Step], outcome: list[str]) -> list[str]:
    """The name of each cluster; why a name is nobody's is added to `outcome`."""
    name, giver = [""] * state.k, [0] * state.k
    places = [place for place, step in enumerate(steps) if step.kind == "rename"]
    places = [p for p in places if not _is_renamed(steps[p], [steps[q] for q in places if q > p])]
    references = [steps[place].clusters[0] for place in places]
    found = matched(references, state.label, state.k)
    for place, cluster in zip(places, found, strict=True):
        if cluster >= 0:
            name[cluster], giver[cluster] = steps[place].name, steps[place].line
    likeness = alike(references, state.label, state.k)
    for row, (place, cluster) in enumerate(zip(places, found, strict=True)):
        if cluster < 0:
            nearest = int(likeness[row].argmax())
            taken = name[nearest] and likeness[row, nearest] >= ALIKE
            outcome[place] = (
                f"its cluster is called {name[nearest]!r} by line {giver[nearest]}"
                if taken
                else _unlike(state, [references[row]])
            )
    return name


def _is_renamed(step: Step, later: Sequence[Step]) -> bool:
    """True if a later act gives the same cluster another name."""
    own = step.clusters[0].rows
    for other in (step.clusters[0].rows for step in later):
        shared = len(np.intersect1d(own, other))
        if shared and shared >= MOST * min(len(own), len(other)):
            return True
    return False

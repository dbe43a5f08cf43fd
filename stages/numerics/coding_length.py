"""Coding length of a partition in nats, and the merging of clusters that makes it shortest.

Everything is computed from additive statistics of groups of rows (how many, and the Gram matrix),
so that a partition is scored, two clusters are merged or a sample is reweighted without the rows.

Sources: Ma, Derksen, Hong and Wright (2007), "Segmentation of multivariate mixed data via lossy
data coding and compression", for the length and for merging; Chu et al. (2024, CPP) for choosing
the number of clusters by it. The weight of the model cost and the resampling are ours.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Index: TypeAlias = list[int] | NDArray[np.integer[Any]]

GROWS_FROM = 60  # rows of a cluster
LOG_DET_BATCH = 2**21  # matrix entries that are factored at a time: 16 MiB


@dataclass(frozen=True)
class Code:
    """Code: the distortion that is allowed, and the cost of a cluster.

    epsilon_squared: squared distortion of a unit row. model_cost: the share of the p directions
    that each cluster pays for, beside its rows; 1 as published, 0 makes clusters free. growth: the
    power of its size that a cluster of more than 60 rows pays besides; 0 as published. The more
    rows there are, the finer the differences that would pay for a cluster of their own.
    """

    epsilon_squared: float = 0.1
    model_cost: float = 1.0
    growth: float = 0.0


@dataclass(frozen=True)
class Groups:
    """Additive statistics of g groups of rows: size (g,), and Gram matrices Z^T Z (g, p, p)."""

    size: Array
    gram: Array

    @property
    def width(self) -> int:
        return int(self.gram.shape[-1])

    def __add__(self, other: "Groups") -> "Groups":
        """The union of each group with its counterpart."""
        return Groups(self.size + other.size, self.gram + other.gram)

    def __getitem__(self, index: Index) -> "Groups":
        """Some of the groups, in the order of `index`."""
        return Groups(self.size[index], self.gram[index])


@dataclass(frozen=True)
class MergePath:
    """The clusters met on the way from g groups to one, and what each partition takes.

    left, right: (g - 1,) the clusters that merge; groups are 0..g-1 and step t makes cluster g + t.
    length: (g,) nats with 1, 2, ..., g clusters.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    length: Array

    def clusters(self, k: int) -> NDArray[np.int64]:
        """The cluster that each group is in when `k` are left, (g,), by its name on the path."""
        name = np.arange(len(self.length))
        for step in range(len(name) - k):
            merged = (name == self.left[step]) | (name == self.right[step])
            name[merged] = len(name) + step
        return name


def group_statistics(rows: NDArray[np.floating], label: NDArray[np.integer]) -> Groups:
    """Statistics of rows (n, p) grouped by `label` (n,), in ascending order of the labels."""
    _, group = np.unique(label, return_inverse=True)
    order = np.argsort(group, kind="stable")
    size = np.bincount(group)
    members = np.split(rows[order].astype(np.float64), np.cumsum(size)[:-1])
    return Groups(size.astype(np.float64), np.stack([z.T @ z for z in members]))


def coding_lengths(groups: Groups, code: Code, *, total: float) -> Array:
    """Nats that each group takes within a collection of `total` rows, (g,).

    (m + w p)/2 logdet(I + p/(m eps^2) G) - m log(m/total), with w the model cost, times
    (m/60)^growth from m = 60: the rows and their subspace, then their labels. A group of size 0
    takes nothing. Ma et al. eq. 12 without its mean term, so that z and -z are alike; with w = 1
    and no growth the sum over groups is CPP's criterion.
    """
    p = groups.width
    size = np.where(groups.size > 0, groups.size, 1.0)
    log_det = _log_det(groups.gram, p / (size * code.epsilon_squared))
    cost = code.model_cost * p * np.maximum(size / GROWS_FROM, 1) ** code.growth
    length = (size + cost) / 2 * log_det - size * np.log(size / total)
    return np.where(groups.size > 0, length, 0.0)


def partition_length(groups: Groups, code: Code) -> float:
    """Nats that the partition into these groups takes."""
    return float(coding_lengths(groups, code, total=float(groups.size.sum())).sum())


def merge(groups: Groups, code: Code, *, candidates: int = 8) -> MergePath:
    """Merges the two clusters whose union is coded shortest, until one is left.

    Each cluster is tried with the `candidates` clusters whose Gram matrices are most alike (the
    cosine of the two matrices, which sees a subspace rather than a direction). About
    2 g `candidates` determinants of p x p; memory g^2 + g p^2.
    """
    return _Merging(groups, code, candidates).run()


def resampled_length(
    groups: Groups, path: MergePath, code: Code, weight: NDArray[np.floating]
) -> Array:
    """The lengths of `path`'s partitions, (g,), had group i been seen `weight[i]` times."""
    drawn = Groups(groups.size * weight, groups.gram * weight[:, None, None])
    tree = _tree(drawn, path)
    own = coding_lengths(tree, code, total=max(float(tree.size[-1]), 1.0))
    g = len(groups.size)
    step = own[g:] - own[path.left] - own[path.right]
    return np.asarray(own[:g].sum() + np.concatenate([[0.0], np.cumsum(step)])[::-1])


def _tree(groups: Groups, path: MergePath) -> Groups:
    """The statistics of the groups and then of every cluster that a merge makes, (2 g - 1)."""
    tree = _with_room(groups, len(path.left))
    for step, (a, b) in enumerate(zip(path.left, path.right, strict=True), len(groups.size)):
        tree.size[step] = tree.size[a] + tree.size[b]
        tree.gram[step] = tree.gram[a] + tree.gram[b]
    return tree


def _with_room(groups: Groups, room: int) -> Groups:
    """A copy with `room` empty groups at the end."""

    def longer(values: Array) -> Array:
        return np.concatenate([values, np.zeros((room, *values.shape[1:]))])

    return Groups(longer(groups.size), longer(groups.gram))


class _Merging:
    """The state of a merge: clusters in slots, and what it would cost to merge slots i and j."""

    def __init__(self, groups: Groups, code: Code, candidates: int) -> None:
        g = len(groups.size)
        self.code, self.candidates, self.total = code, candidates, float(groups.size.sum())
        self.groups = _with_room(groups, 0)
        self.norm = _norms(groups.gram)
        self.own = coding_lengths(groups, code, total=self.total)
        self.name = np.arange(g)
        self.alive = np.ones(g, bool)
        self.cost = np.full((g, g), np.inf)
        self.best = np.full(g, np.inf)
        self.partner = np.zeros(g, np.int64)

    def run(self) -> MergePath:
        g = len(self.name)
        for slot in range(g):
            self._price(slot)
        left, right, length = [], [], [float(self.own.sum())]
        for step in range(g - 1):
            i = int(self.best.argmin())
            j = int(self.partner[i])
            left.append(self.name[i])
            right.append(self.name[j])
            length.append(length[-1] + float(self.best[i]))
            self._unite(i, j, g + step)
        return MergePath(np.array(left, int), np.array(right, int), np.array(length[::-1]))

    def _unite(self, i: int, j: int, name: int) -> None:
        """Slot i becomes the union, slot j is left empty, and prices are brought up to date."""
        self.groups.size[i] += self.groups.size[j]
        self.groups.gram[i] += self.groups.gram[j]
        self.norm[i] = _norms(self.groups.gram[i])
        self.name[i] = name
        self.alive[j] = False
        self.own[i] = coding_lengths(self.groups[[i]], self.code, total=self.total)[0]
        for gone in (i, j):
            self.cost[gone] = self.cost[:, gone] = np.inf
        self.best[j] = np.inf
        stranded = np.flatnonzero(self.alive & np.isin(self.partner, (i, j)))
        self._price(i)
        for slot in stranded[stranded != i]:
            self._look_up(int(slot))

    def _price(self, slot: int) -> None:
        """The cost of merging `slot` with each cluster it is most like."""
        others = self._alike(slot)
        if not len(others):
            return
        unions = self.groups[[slot]] + self.groups[others]
        length = coding_lengths(unions, self.code, total=self.total)
        price = length - self.own[slot] - self.own[others]
        self.cost[slot, others] = self.cost[others, slot] = price
        cheaper = price < self.best[others]
        self.best[others[cheaper]] = price[cheaper]
        self.partner[others[cheaper]] = slot
        self._look_up(slot)

    def _look_up(self, slot: int) -> None:
        partner = int(self.cost[slot].argmin())
        self.partner[slot], self.best[slot] = partner, self.cost[slot, partner]
        if np.isinf(self.best[slot]):
            self._price(slot)

    def _alike(self, slot: int) -> NDArray[np.int64]:
        flat = self.groups.gram.reshape(len(self.name), -1)
        likeness = np.where(self.alive, flat @ flat[slot] / self.norm, -np.inf)
        likeness[slot] = -np.inf
        wanted = min(self.candidates, len(flat) - 1)
        others = np.argpartition(-likeness, wanted)[:wanted]
        return others[np.isfinite(likeness[others])]


def _norms(gram: Array) -> Array:
    """Frobenius norms, kept off zero."""
    return np.asarray(np.maximum(np.linalg.norm(gram, axis=(-2, -1)), np.finfo(float).tiny))


def _log_det(gram: Array, scale: Array) -> Array:
    """logdet(I + scale_i G_i) of positive semidefinite matrices (g, p, p), batch by batch."""
    p = gram.shape[-1]
    batch = max(1, LOG_DET_BATCH // p**2)
    parts = []
    for s in range(0, len(gram), batch):
        factor = np.linalg.cholesky(
            np.eye(p) + scale[s : s + batch, None, None] * gram[s : s + batch]
        )
        parts.append(2 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1))
    return np.concatenate(parts)

"""The coding length of a collection as a function of the number of clusters, with its error."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.coding_length import (
    Array,
    Code,
    MergePath,
    group_statistics,
    merge,
    resampled_length,
)
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import principal_rows, with_offset

Labels = NDArray[np.int64]

ITERATIONS = 15
ROWS_PER_CELL, FEW_CELLS = 6, 12
ROWS_PER_DIMENSION = 10
MOST_AT_ONCE, PER_PIECE = 20, 15  # clusters that one set of principal components tells apart
DOUBT = 0.06  # about the cost of a cluster: standard deviation of its logarithm


@dataclass(frozen=True)
class Tree:
    """Many small clusters, the cells, and the merges that lead from them to one.

    cell: (n,) the cell of each row, 0..g-1; merge: (g - 1, 2) the clusters that merge, step t
    making cluster g + t. The first g - k merges leave k clusters.
    """

    cell: Labels
    merge: Labels


@dataclass(frozen=True)
class Curve:
    """Coding length against the number of clusters.

    candidate: (m,) ascending from 1; length: (m,) nats for the whole collection; drawn: (r,) the
    number of clusters of shortest length in each of many draws, of images and of what is
    uncertain; tree: the merges it was met on, if it was by merging.
    """

    candidate: NDArray[np.int64]
    length: Array
    drawn: NDArray[np.int64]
    tree: Tree | None = None

    @property
    def k(self) -> int:
        """The number of clusters of shortest coding length."""
        return int(self.candidate[self.length.argmin()])

    def interval(self) -> tuple[int, int]:
        """The spread of what was drawn, from its 5th to its 95th percentile, put around `k`.

        Relative to the median of the draws, which lies above `k`: drawing anew repeats rows, and
        repeated rows look like clusters.
        """
        low, middle, high = np.percentile(self.drawn, [5, 50, 95])
        least = math.floor(self.k * low / middle)
        most = math.ceil(self.k * high / middle)
        return max(least, 1), min(most, max(self.k, int(self.candidate[-1])))


@dataclass(frozen=True)
class Space:
    """Reduction of rows before they are coded: principal components beside a constant.

    dimensions: components kept, never more than a tenth of the rows; offset: size of the constant.
    """

    dimensions: int = 32
    offset: float = 0.2

    def coordinates(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit rows (n, e + 1) of any rows (n, d)."""
        few = max(2, len(rows) // ROWS_PER_DIMENSION)
        return with_offset(principal_rows(rows, min(self.dimensions, few)), self.offset)


def cells_for(n: int, wanted: int) -> int:
    """As many cells as wanted if each can hold some rows; small collections get a few anyway."""
    return max(1, min(wanted, max(n // ROWS_PER_CELL, min(n // 2, FEW_CELLS))))


def merged_curve(
    rows: NDArray[np.float32],
    code: Code,
    space: Space,
    *,
    cells: int,
    largest: int,
    restarts: int = 3,
    resamples: int = 40,
    seed: int = 0,
    done: Callable[[int], None] = lambda restarts: None,
) -> Curve:
    """The lengths met while merging small k-means clusters into one.

    rows: (n, d); candidates 1..`largest`, or up to the number of cells if that is less. Principal
    components of everything tell few clusters apart. So where more than 20 are found, the merges
    that are left to about a fifteenth of them divide the rows into pieces, and each piece is
    counted anew in components of its own; lengths are then comparable within pieces, and joined
    where each has become one cluster. The mean over `restarts` sets of cells; the tree is that of
    the first. In each of `resamples` draws the rows are drawn anew (bootstrap: each cell's size
    becomes a Poisson variable) and the model cost is multiplied by a lognormal variable, since it
    is known from experience only. `done` hears of every restart. Ours, after the merging of Ma et
    al. (2007).
    """
    runs = []
    for number in range(restarts):
        generator = np.random.default_rng([seed, number])
        costs = code.model_cost * generator.lognormal(sigma=DOUBT, size=resamples)
        runs.append(_Counting(code, space, cells, generator, costs).run(rows))
        done(1)
    common = min(largest, *(len(run.length) for run in runs))
    length = np.mean([run.length[:common] for run in runs], axis=0)
    drawn = np.concatenate([run.drawn[:, :common].argmin(axis=1) + 1 for run in runs])
    return Curve(np.arange(1, common + 1), length, drawn, runs[0].tree)


@dataclass(frozen=True)
class _Run:
    """A tree, the length (g,) with 1..g clusters on it, and the same of resamples (r, g)."""

    tree: Tree
    length: Array
    drawn: Array

    @property
    def k(self) -> int:
        return int(self.length.argmin()) + 1


@dataclass(frozen=True)
class _Counting:
    """Counting of one set of rows, or of a piece of it."""

    code: Code
    space: Space
    cells: int
    generator: np.random.Generator
    model_costs: Array

    def run(self, rows: NDArray[np.float32]) -> _Run:
        whole, path = self._merged(rows)
        if whole.k <= MOST_AT_ONCE:
            return whole
        pieces = -(-whole.k // PER_PIECE)
        piece = path.clusters(pieces)[whole.tree.cell]
        names = np.unique(piece)
        return _joined([self.run(rows[piece == name]) for name in names], piece, whole)

    def _merged(self, rows: NDArray[np.float32]) -> tuple[_Run, MergePath]:
        z = self.space.coordinates(rows)
        cells = cells_for(len(z), self.cells)
        seed = int(self.generator.integers(2**31 - 1))
        cell = kmeans(z, cells, spherical=True, iterations=ITERATIONS, seed=seed).label
        groups = group_statistics(z, cell)
        path = merge(groups, self.code)
        size = groups.size
        weights = self.generator.poisson(size, (len(self.model_costs), len(size))) / size
        drawn = [
            resampled_length(groups, path, replace(self.code, model_cost=cost), weight)
            for cost, weight in zip(self.model_costs, weights, strict=True)
        ]
        cell = np.unique(cell, return_inverse=True)[1]
        tree = Tree(cell, np.column_stack([path.left, path.right]))
        return _Run(tree, path.length, np.array(drawn)), path


def _joined(parts: Sequence[_Run], piece: Labels, whole: _Run) -> _Run:
    """One run: the merges within pieces, shortest first, and then those of the whole's path.

    piece: (n,) the name on the whole's path of the piece that each row is in; parts: by that name.
    """
    order = _interleaved(parts)
    length = _lengths(order, [part.length for part in parts], whole.length)
    drawn = _lengths(order, [part.drawn for part in parts], whole.drawn)
    return _Run(_joined_tree(order, parts, piece, whole.tree), length, drawn)


def _interleaved(parts: Sequence[_Run]) -> Labels:
    """The part that each merge belongs to, so that the shortest of all lengths is met on the way.

    First what brings each part to its own shortest length, then the rest, by rising cost.
    """
    part = np.repeat(np.arange(len(parts)), [len(p.length) - 1 for p in parts])
    beyond = [np.arange(len(p.length) - 1) >= len(p.length) - p.k for p in parts]
    costs = [np.maximum.accumulate(np.diff(p.length[::-1])) for p in parts]
    return np.asarray(part[np.lexsort((np.concatenate(costs), np.concatenate(beyond)))])


def _lengths(order: Labels, parts: Sequence[Array], whole: Array) -> Array:
    """The length along all merges (..., g), of lengths along those of each part and the whole."""
    steps = np.empty((*whole.shape[:-1], len(order)))
    for number, part in enumerate(parts):
        steps[..., order == number] = np.diff(part[..., ::-1])
    last = np.diff(whole[..., len(parts) - 1 :: -1])
    start = np.sum([part[..., -1] for part in parts], axis=0)[..., None]
    return np.cumsum(np.concatenate([start, steps, last], axis=-1), axis=-1)[..., ::-1]


def _joined_tree(order: Labels, parts: Sequence[_Run], piece: Labels, whole: Tree) -> Tree:
    sizes = [len(part.length) for part in parts]
    start = np.cumsum([0, *sizes])
    cell = np.empty(len(piece), np.int64)
    names = np.unique(piece)
    for name, part, first in zip(names, parts, start, strict=False):
        cell[piece == name] = part.tree.cell + first
    known = [list(range(first, first + size)) for first, size in zip(start, sizes, strict=False)]
    merges = []
    steps = [iter(part.tree.merge) for part in parts]
    for number in order:
        merges.append([known[number][side] for side in next(steps[number])])
        known[number].append(start[-1] + len(merges) - 1)
    root = {name: clusters[-1] for name, clusters in zip(names, known, strict=True)}
    cells = len(whole.merge) + 1
    for step in range(cells - len(parts), cells - 1):
        merges.append([root[side] for side in whole.merge[step]])
        root[cells + step] = start[-1] + len(merges) - 1
    return Tree(cell, np.array(merges, np.int64))

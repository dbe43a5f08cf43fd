"""Approximate nearest neighbours of a million unit rows among themselves, by cells and a screen.

Rows are parted into small cells by a few rounds of k-means. The rows of a cell are compared with
those of the cells around it, as one product of matrices: first in the few leading axes, then, for
the best of them, in full. How many cells and how many candidates is found on a few rows whose true
neighbours are known, and the recall on others is measured. The inverted file of Sivic and Zisserman
(2003) turned round, so that queries come by cells as well. Ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from clusterpipe.stages.numerics.nearest import (
    Nearest,
    Sliced,
    nearest_in_blocks,
    picked,
    sliced,
    without,
)

Rows = NDArray[np.float32]
Fixed = NDArray[np.int16]
Index = NDArray[np.int64]

CELL = 500  # rows, in the mean
SCREEN = 96  # leading axes of the first comparison
AXES_FROM = 10_000  # rows
TRAINED, ROUNDS = 64, 3  # rows per cell and rounds of k-means that place the cells
VOTES = 8  # cells that a row names as near
TUNED, PROBED = 128, 1000  # rows of known neighbours that set the search, and that measure it
IN_CELLS, AIM = 0.972, 0.96  # recall that it is set for: of the cells alone, and of all
SAMPLED = 4  # one column in so many tells where the best candidates begin
BLOCK = 16_384
ONE = np.iinfo(np.int16).max  # rows are held as fixed-point numbers: quicker to read than halves
SCORES = 2**23  # computed at a time
TINY = np.finfo(np.float32).min  # below all scores


def cell_search(rows: Sliced, count: int, *, seed: int, done: Callable[[int], None]) -> Nearest:
    """The `count` other rows of largest cosine with each row, nearly; n > count.

    rows: (n, d) of unit length, read by slices three times and held once in 16 bits a number,
    which moves cosines by less than 0.001. `done` is told how many rows have been looked up.
    `recall` is measured on 1,000 random rows that took no part in the settings.
    """
    n = rows.shape[0]
    random = np.random.default_rng(seed)
    turned = Turned.of(picked(rows, random.choice(n, min(n, AXES_FROM), replace=False)))
    held = Held.of(rows, turned, random)
    asked = random.choice(n, min(n, TUNED + PROBED), replace=False)
    truth = held.true_neighbours(asked, count)
    tuned = min(TUNED, len(asked) // 2)
    cells, candidates = held.settings(asked[:tuned], truth[:tuned], count)
    index, cosine = np.empty((n, count), np.int32), np.empty((n, count), np.float32)
    space = Workspace()
    for cell in range(held.cells):
        own = held.order[held.members(cell)]
        found = held.search(cell, cells, candidates, count, space)
        index[own], cosine[own] = found.index, found.cosine
        done(len(own))
    hits = [np.isin(index[row], true).sum() for row, true in zip(asked, truth, strict=True)]
    return Nearest(index, cosine, float(np.sum(hits[tuned:]) / truth[tuned:].size))


@dataclass(frozen=True)
class Turned:
    """An orthogonal map of rows whose first columns are the rows' leading axes.

    A block reflection (Schreiber and Parlett 1988): I - reflector (d, e) @ back (e, d), which costs
    a fraction of a full rotation. None where there are few columns: they are taken as they are.
    """

    reflector: Rows | None
    back: Rows | None

    @classmethod
    def of(cls, sample: Rows) -> "Turned":
        d = sample.shape[1]
        if d <= SCREEN:
            return cls(None, None)
        _, axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))
        leading = axes[:, ::-1][:, :SCREEN]
        left, scale, right = np.linalg.svd(leading[:SCREEN])
        reflector = leading.copy()
        reflector[:SCREEN] += left @ right
        back = np.linalg.solve(np.eye(SCREEN) + (right.T * scale) @ right, reflector.T)
        return cls(reflector.astype(np.float32), back.astype(np.float32))

    def rows(self, block: Rows) -> Rows:
        if self.reflector is None or self.back is None:
            return block
        return np.asarray(block - (block @ self.reflector) @ self.back, np.float32)


@dataclass(frozen=True)
class Held:
    """All rows, turned and in fixed-point numbers of 16 bits, one cell after another.

    rows: (n, d); order: (n,) the given row at each place; start: (c + 1,) places at which cells
    begin; near: (c, c) sparse, how often the rows of a cell named another as near.
    """

    rows: Fixed
    order: Index
    start: Index
    near: csr_array

    @classmethod
    def of(cls, rows: Sliced, turned: Turned, random: np.random.Generator) -> "Held":
        n = rows.shape[0]
        centres = _centres(rows, turned, max(1, n // CELL), random)
        held = np.empty(rows.shape, np.int16)
        cell, start = np.empty(n, np.int32), 0
        c = centres.ntotal
        near = csr_array((c, c), dtype=np.float32)
        for block in sliced(rows, BLOCK):
            part = turned.rows(block)
            _, named = centres.search(np.ascontiguousarray(part[:, :SCREEN]), min(VOTES, c))
            held[start : start + len(part)] = np.rint(part * ONE)
            cell[start : start + len(part)] = named[:, 0]
            near = near + _votes(named, c)
            start += len(part)
        order = np.argsort(cell, kind="stable")
        _reorder(held, order)
        starts = np.searchsorted(cell[order], np.arange(c + 1))
        return cls(held, order, starts, near)

    @property
    def cells(self) -> int:
        return len(self.start) - 1

    def members(self, cell: int) -> slice:
        return slice(self.start[cell], self.start[cell + 1])

    def around(self, cell: int, cells: int) -> Index:
        """The `cells` nearest cells to one, itself first."""
        part = slice(self.near.indptr[cell], self.near.indptr[cell + 1])
        named, votes = self.near.indices[part], self.near.data[part].copy()
        votes[named == cell] = np.inf
        return np.asarray(named[np.argsort(-votes, kind="stable")[:cells]], np.int64)

    def places(self, cells: Index) -> Index:
        """The places of the rows of these cells."""
        return np.concatenate([np.arange(*self.start[cell : cell + 2]) for cell in cells])

    def true_neighbours(self, asked: Index, count: int) -> Index:
        """The `count` other rows nearest to the rows `asked` (m,), exactly: (m, count)."""
        place = self.places_of()[asked]
        found = nearest_in_blocks(
            self.rows[place].astype(np.float32), sliced(self.rows, BLOCK), count + 1
        )
        return np.asarray(self.order[without(found, place).index])

    def places_of(self) -> Index:
        """The place (n,) of each given row."""
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(self.order))
        return place

    def settings(self, asked: Index, truth: Index, count: int) -> tuple[int, int]:
        """Cells to search and candidates to keep, for a recall of `AIM`.

        asked: (m,) rows; truth: (m, count) their true neighbours. Most of what may be missed is
        left to the cells, as more of them cost more than more candidates.
        """
        place = self.places_of()
        cell_of = np.searchsorted(self.start, place, side="right") - 1
        rank = np.concatenate(
            [self._cell_rank(cell_of[a], cell_of[t]) for a, t in zip(asked, truth, strict=True)]
        )
        cells = int(np.quantile(rank, IN_CELLS, method="inverted_cdf")) + 1
        cells = min(cells, self.cells)
        ranks = [
            self._screen_rank(place[a], self.around(cell_of[a], cells), place[t])
            for a, t in zip(asked, truth, strict=True)
        ]
        kept = int(np.quantile(np.concatenate(ranks), AIM, method="inverted_cdf")) + 1
        return cells, min(max(kept, 2 * count), len(self.order))

    def _cell_rank(self, own: int, others: Index) -> Index:
        """Place (q,) of other cells among those around one; beyond all for those not named."""
        around = self.around(own, self.cells)
        rank = np.full(self.cells, self.cells - 1)
        rank[around] = np.arange(len(around))
        return rank[others]

    def _screen_rank(self, asked: int, cells: Index, true: Index) -> Index:
        """Place (q,) of the true neighbours among the candidates by the screen; n if not there."""
        head = self.rows[:, :SCREEN]
        places = self.places(cells)
        query = head[asked].astype(np.float32)
        score = np.sort(head[places].astype(np.float32) @ query)
        rank = len(score) - np.searchsorted(score, head[true].astype(np.float32) @ query)
        return np.where(np.isin(true, places), rank, len(self.order))

    def search(
        self, cell: int, cells: int, candidates: int, count: int, space: "Workspace"
    ) -> Nearest:
        """The neighbours (m, count) of the m rows of a cell."""
        around = self.around(cell, cells)
        if np.diff(self.start)[around].sum() <= count:
            around = np.append(cell, np.delete(np.arange(self.cells), cell))
        parts = [self.rows[self.members(other)] for other in around]
        m = sum(map(len, parts))
        rows = space.array("rows", (m, self.rows.shape[1]))
        np.concatenate(parts, out=rows, casting="unsafe")
        found = best_of(rows, len(parts[0]), candidates, count, space)
        given = self.order[self.places(around)]
        return Nearest(given[found.index], found.cosine / np.float32(ONE) ** 2)


def _centres(rows: Sliced, turned: Turned, count: int, random: np.random.Generator) -> faiss.Index:
    """An index of the centres (count, e) of cells in the leading axes."""
    n = rows.shape[0]
    chosen = random.choice(n, min(n, TRAINED * count), replace=False)
    heads = picked(rows, chosen, lambda block: turned.rows(block)[:, :SCREEN])
    run = faiss.Clustering(heads.shape[1], count)
    run.niter, run.seed = ROUNDS, int(random.integers(2**31 - 1))
    run.min_points_per_centroid, run.max_points_per_centroid = 1, TRAINED
    index = faiss.IndexFlatL2(heads.shape[1])
    run.train(np.ascontiguousarray(heads), index)
    return index


def _votes(named: Index, cells: int) -> csr_array:
    """Counts by which rows' cells, first of `named` (b, v), name others; near ones count more."""
    weight = np.broadcast_to(1 / np.arange(1, named.shape[1] + 1, dtype=np.float32), named.shape)
    own = np.repeat(named[:, 0], named.shape[1])
    return coo_array((weight.ravel(), (own, named.ravel())), (cells, cells)).tocsr()


def _reorder(rows: Fixed, order: Index) -> None:
    """Puts rows in another order in place, some columns at a time."""
    step = max(1, rows.shape[1] // 8)
    for column in range(0, rows.shape[1], step):
        rows[:, column : column + step] = rows[order, column : column + step]


class Workspace:
    """Arrays that are used again: the pages of new ones cost more than what is put there."""

    def __init__(self) -> None:
        self._held: dict[str, Rows] = {}

    def array(self, name: str, shape: tuple[int, int]) -> Rows:
        """An array of that shape, of any content."""
        size = shape[0] * shape[1]
        if name not in self._held or self._held[name].size < size:
            self._held[name] = np.empty(size, np.float32)
        return self._held[name][:size].reshape(shape)


def best_of(rows: Rows, own: int, candidates: int, count: int, space: Workspace) -> Nearest:
    """For each of the first `own` of rows (m, d), the `count` others of largest product.

    Only about `candidates` of each are compared in full, those of largest product in the leading
    axes; m > count.
    """
    head = space.array("head", (len(rows), min(SCREEN, rows.shape[1])))
    head[:] = rows[:, :SCREEN]
    index, cosine = np.empty((own, count), np.int64), np.empty((own, count), np.float32)
    step = max(1, SCORES // len(rows))
    for start in range(0, own, step):
        part = slice(start, min(start + step, own))
        asked = np.arange(part.start, part.stop)
        score = np.matmul(head[part], head.T, out=space.array("score", (len(asked), len(rows))))
        score[np.arange(len(asked)), asked] = TINY
        row, column = _candidates(score, candidates, count)
        index[part], cosine[part] = _first(rows, asked, row, column, count)
    return Nearest(index, cosine)


def _candidates(score: Rows, candidates: int, count: int) -> tuple[Index, Index]:
    """Row and column of about the largest `candidates` of each row of scores (b, m), by rows.

    A sample tells above which score they are; where fewer than `count` are, all are looked at.
    """
    m = score.shape[1]
    kept = score > TINY
    if candidates * SAMPLED < m:
        last = m // SAMPLED - max(1, candidates // SAMPLED)
        sample = np.ascontiguousarray(score[:, ::SAMPLED][:, : m // SAMPLED])
        sample.partition(last, axis=1)
        np.greater_equal(score, sample[:, last : last + 1], out=kept)
        few = np.flatnonzero(np.count_nonzero(kept, axis=1) < count)
        least = np.partition(score[few], m - count, axis=1)[:, m - count]
        kept[few] = (score[few] >= least[:, None]) & (score[few] > TINY)
    found = np.flatnonzero(kept)
    return found // m, found % m


def _first(
    rows: Rows, asked: Index, row: Index, column: Index, count: int
) -> tuple[Index, NDArray[np.float32]]:
    """The first `count` columns of each row by full product, and these, from pairs by rows."""
    cosine = np.empty(len(row), np.float32)
    held = (rows, asked[row], rows, column, cosine)  # alive while FAISS reads them
    faiss.pairwise_indexed_inner_product(  # type: ignore[attr-defined]
        rows.shape[1], len(row), *(faiss.swig_ptr(one) for one in held)
    )
    many = np.bincount(row, minlength=len(asked))
    place = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
    table = np.full((len(asked), many.max()), -np.inf, np.float32)
    columns = np.zeros(table.shape, np.int64)
    table[row, place], columns[row, place] = cosine, column
    best = np.argpartition(-table, count - 1, axis=1)[:, :count]
    best = np.take_along_axis(
        best, np.argsort(-np.take_along_axis(table, best, 1), axis=1, kind="stable"), 1
    )
    return np.take_along_axis(columns, best, 1), np.take_along_axis(table, best, 1)

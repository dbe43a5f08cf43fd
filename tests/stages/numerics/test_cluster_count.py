"""The number of clusters on collections of known structure."""

import numpy as np
import pytest

from clusterpipe.stages.numerics.cluster_count import Curve, Space, Tree, merged_curve
from clusterpipe.stages.numerics.coding_length import Code, group_statistics, partition_length
from clusterpipe.stages.numerics.preparation import unit_rows

CODE = Code(0.3, 0.3)
SPACE = Space()


def directions(k: int, size: int, *, d: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    centre = np.repeat(unit_rows(rng.normal(size=(k, d))), size, axis=0)
    return unit_rows(centre + noise * rng.normal(size=centre.shape) / np.sqrt(d))


def families(count: int, each: int, size: int) -> np.ndarray:
    """Clusters that differ little beside how much the families that they come in differ."""
    rng = np.random.default_rng(0)
    family = np.repeat(unit_rows(rng.normal(size=(count, 48))), each, axis=0)
    centre = family + 0.6 * unit_rows(rng.normal(size=family.shape))
    rows = np.repeat(centre, size, axis=0)
    return unit_rows(rows + 0.3 * rng.normal(size=rows.shape) / np.sqrt(48))


def cut(tree: Tree, k: int) -> np.ndarray:
    """The cluster of each row where `k` are left."""
    cells = len(tree.merge) + 1
    name = np.arange(cells)
    for step, pair in enumerate(tree.merge[: cells - k]):
        name[np.isin(name, pair)] = cells + step
    return name[tree.cell]


def test_the_interval_is_the_spread_of_the_draws_around_the_estimate() -> None:
    length = np.abs(np.arange(1, 41) - 10.0)
    drawn = np.array([1, *[16] * 3, *[20] * 30, *[30] * 3, 40])
    curve = Curve(np.arange(1, 41), length, drawn)
    assert curve.k == 10
    assert curve.interval() == (8, 15)
    assert Curve(curve.candidate[:12], length[:12], drawn).interval() == (8, 12)


def test_candidates_end_where_asked_or_with_the_cells() -> None:
    rows = directions(4, 50, d=8, noise=0.3)
    few = merged_curve(rows, CODE, SPACE, cells=20, largest=3)
    assert few.candidate.tolist() == [1, 2, 3]
    assert len(merged_curve(rows, CODE, SPACE, cells=20, largest=99).candidate) == 20


def test_one_direction_is_one_cluster() -> None:
    rows = directions(1, 600, d=32, noise=1.0)
    assert merged_curve(rows, CODE, SPACE, cells=60, largest=60).k == 1


@pytest.mark.parametrize("k", [5, 20])
def test_merging_counts_directions(k: int) -> None:
    rows = directions(k, 80, d=48, noise=0.7)
    curve = merged_curve(rows, CODE, SPACE, cells=6 * k, largest=6 * k)
    assert curve.k == k
    low, high = curve.interval()
    assert low <= k <= high <= 2 * low


def test_pieces_are_counted_by_themselves_where_there_are_many_clusters() -> None:
    rows = families(6, 6, 40)
    curve = merged_curve(rows, CODE, SPACE, cells=200, largest=400)
    assert len(curve.candidate) > 200
    assert curve.k == pytest.approx(36, abs=2)


@pytest.mark.parametrize(("rows", "cells"), [(directions(4, 60, d=16, noise=0.5), 40)])
def test_lengths_without_pieces_are_those_of_the_tree(rows: np.ndarray, cells: int) -> None:
    curve = merged_curve(rows, CODE, SPACE, cells=cells, largest=cells, restarts=1)
    assert curve.tree is not None
    z = SPACE.coordinates(rows)
    for k in (1, 4, 9, cells):
        label = cut(curve.tree, k)
        assert len(np.unique(label)) == k
        expected = partition_length(group_statistics(z, label), CODE)
        assert curve.length[k - 1] == pytest.approx(expected, rel=1e-9)


def test_every_cut_of_a_tree_of_pieces_is_a_partition_that_the_next_refines() -> None:
    rows = families(6, 6, 40)
    tree = merged_curve(rows, CODE, SPACE, cells=200, largest=400, restarts=1).tree
    assert tree is not None
    truth = np.repeat(np.arange(36), 40)
    coarse, fine = cut(tree, 6), cut(tree, 36)
    assert len(np.unique(coarse)) == 6
    assert len(np.unique(fine)) == 36
    assert len(np.unique(np.column_stack([coarse, fine]), axis=0)) == 36
    pure = sum(np.bincount(truth[fine == c]).max() for c in np.unique(fine))
    assert pure > 0.95 * len(rows)


def test_rotation_and_order_do_not_matter() -> None:
    rows = directions(8, 60, d=24, noise=0.6)
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    changed = (rows @ rotation)[rng.permutation(len(rows))].astype(np.float32)
    for each in (rows, changed):
        assert merged_curve(each, CODE, SPACE, cells=60, largest=60).k == 8


def test_progress_hears_of_every_restart() -> None:
    heard: list[int] = []
    rows = directions(4, 50, d=8, noise=0.3)
    merged_curve(rows, CODE, SPACE, cells=20, largest=20, restarts=3, done=heard.append)
    assert heard == [1, 1, 1]

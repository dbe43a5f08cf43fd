"""Coding length against CPP's values and closed forms; merging against brute force."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from clusterpipe.stages.numerics.coding_length import (
    Code,
    Groups,
    MergePath,
    coding_lengths,
    group_statistics,
    merge,
    partition_length,
    resampled_length,
)
from clusterpipe.stages.numerics.preparation import unit_rows

REFERENCE = np.load(Path(__file__).with_name("cpp_reference_small.npz"), allow_pickle=False)
Z, LABEL = REFERENCE["small/Z"], REFERENCE["small/labels"]
CODE = Code(0.3, 0.3)


def subspaces(k: int, size: int, *, d: int = 16, rank: int = 2, noise: float = 0.2) -> np.ndarray:
    """Unit rows near k random subspaces: rows of one have both signs, and no mean direction."""
    rng = np.random.default_rng(0)
    bases = np.linalg.qr(rng.normal(size=(k, d, rank)))[0]
    inside = unit_rows(rng.normal(size=(k * size, rank))).reshape(k, size, rank)
    rows = np.einsum("kdr,ksr->ksd", bases, inside).reshape(-1, d)
    return unit_rows(rows + noise * unit_rows(rng.normal(size=rows.shape))).astype(np.float64)


def written_out(rows: np.ndarray, label: np.ndarray, code: Code) -> float:
    """The length, cluster by cluster, from the rows."""
    n, p = rows.shape
    total = 0.0
    for cluster in np.unique(label):
        z = rows[label == cluster]
        m = len(z)
        matrix = np.eye(p) + p / (m * code.epsilon_squared) * z.T @ z
        total += (m + code.model_cost * p) / 2 * np.linalg.slogdet(matrix)[1] - m * np.log(m / n)
    return total


def partition_on_path(path: MergePath, groups: int, k: int) -> np.ndarray:
    """The cluster of each group once the path has come down to k clusters."""
    cluster = np.arange(groups)
    for step in range(groups - k):
        cluster[np.isin(cluster, (path.left[step], path.right[step]))] = groups + step
    return cluster


def test_equals_cpp() -> None:
    code = Code(0.1, model_cost=1.0)
    one = np.zeros(len(Z), int)
    for label, name in [(LABEL, "coding_length_nats"), (one, "coding_length_one_cluster_nats")]:
        found = partition_length(group_statistics(Z, label), code)
        assert found == pytest.approx(float(REFERENCE[f"small/{name}"]), rel=1e-9)


@pytest.mark.parametrize("code", [CODE, Code(0.05, 0.0), Code(1.0, 2.0)])
def test_equals_the_formula_written_out(code: Code) -> None:
    found = partition_length(group_statistics(Z, LABEL), code)
    assert found == pytest.approx(written_out(Z, LABEL, code), rel=1e-10)


def test_orthogonal_lines_have_a_closed_form() -> None:
    """p clusters, each of m copies of one axis: one eigenvalue p/eps^2 each."""
    p, m = 5, 8
    rows, label = np.repeat(np.eye(p), m, axis=0), np.repeat(np.arange(p), m)
    code = Code(0.1, 0.5)
    each = (m + 0.5 * p) / 2 * np.log(1 + p / 0.1) + m * np.log(p)
    assert partition_length(group_statistics(rows, label), code) == pytest.approx(p * each)


def test_ignores_rotation_order_and_names() -> None:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    order, names = rng.permutation(len(Z)), rng.permutation(LABEL.max() + 1) * 7
    changed = group_statistics((Z @ rotation)[order], names[LABEL][order])
    expected = partition_length(group_statistics(Z, LABEL), CODE)
    assert partition_length(changed, CODE) == pytest.approx(expected, rel=1e-10)


def test_statistics_are_additive() -> None:
    parts, whole = group_statistics(Z, LABEL), group_statistics(Z, np.zeros(len(Z), int))
    np.testing.assert_allclose(parts.gram.sum(axis=0), whole.gram[0])
    assert parts.size.sum() == whole.size[0] == len(Z)


def test_empty_groups_take_nothing() -> None:
    groups = group_statistics(Z, LABEL)
    padded = Groups(np.append(groups.size, 0), np.concatenate([groups.gram, np.zeros((1, 8, 8))]))
    assert coding_lengths(padded, CODE, total=len(Z))[-1] == 0
    assert partition_length(padded, CODE) == pytest.approx(partition_length(groups, CODE))


def test_every_length_on_the_path_is_that_of_its_partition() -> None:
    rows = subspaces(3, 20)
    cell = np.arange(60) // 4
    groups = group_statistics(rows, cell)
    path = merge(groups, CODE)
    for k in range(1, 16):
        label = partition_on_path(path, 15, k)[cell]
        assert len(np.unique(label)) == k
        assert path.length[k - 1] == pytest.approx(written_out(rows, label, CODE), rel=1e-9)


def test_merges_the_pair_that_brute_force_would() -> None:
    rows = subspaces(3, 16)
    cell = np.arange(48) // 4
    path = merge(group_statistics(rows, cell), CODE, candidates=99)
    for k in range(12, 1, -1):
        now = partition_on_path(path, 12, k)
        pairs = combinations(np.unique(now), 2)
        best = min(written_out(rows, np.where(now == b, a, now)[cell], CODE) for a, b in pairs)
        assert path.length[k - 2] == pytest.approx(best, rel=1e-9)


def test_few_candidates_find_the_same_clusters() -> None:
    rows = subspaces(5, 60)
    groups = group_statistics(rows, np.arange(300) // 5)
    all_pairs, few = merge(groups, CODE, candidates=99), merge(groups, CODE, candidates=6)
    assert few.length.argmin() == all_pairs.length.argmin() == 4
    assert few.length.min() == pytest.approx(all_pairs.length.min(), rel=1e-9)


def test_merging_puts_subspaces_together_again() -> None:
    path = merge(group_statistics(subspaces(4, 50), np.arange(200) // 5), CODE)
    cluster = partition_on_path(path, 40, 4)
    assert len({tuple(part) for part in cluster.reshape(4, 10)}) == 4
    assert all(len(np.unique(part)) == 1 for part in cluster.reshape(4, 10))


def test_one_group_is_a_path_of_one() -> None:
    groups = group_statistics(Z, np.zeros(len(Z), int))
    path = merge(groups, CODE)
    assert path.length == pytest.approx([partition_length(groups, CODE)])
    np.testing.assert_allclose(resampled_length(groups, path, CODE, np.ones(1)), path.length)


def test_resampling_with_unit_weights_changes_nothing() -> None:
    groups = group_statistics(subspaces(3, 20), np.arange(60) // 4)
    path = merge(groups, CODE)
    found = resampled_length(groups, path, CODE, np.ones(15))
    np.testing.assert_allclose(found, path.length, rtol=1e-10)


def test_resampling_weights_are_repetitions() -> None:
    rows, cell = subspaces(3, 20), np.arange(60) // 4
    groups = group_statistics(rows, cell)
    path = merge(groups, CODE)
    weight = np.random.default_rng(1).integers(0, 4, size=15)
    found = resampled_length(groups, path, CODE, weight)
    repeated = np.repeat(np.arange(60), weight[cell])
    for k in (1, 3, 9):
        label = partition_on_path(path, 15, k)[cell]
        expected = written_out(rows[repeated], label[repeated], CODE)
        assert found[k - 1] == pytest.approx(expected, rel=1e-9)

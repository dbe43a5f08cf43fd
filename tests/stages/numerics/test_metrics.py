"""Metrics against brute force, hand-made cases, scikit-learn and invariances."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_score,
)

from clusterpipe.stages.numerics.metrics import (
    agreement,
    contingency,
    cosine_distances,
    matched,
    shared_labels,
    silhouette,
)
from clusterpipe.stages.numerics.preparation import unit_rows

RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 4, 60)
CLUSTER = np.where(RNG.random(60) < 0.6, (LABEL + 1) % 4, RNG.integers(0, 5, 60))


def best_by_brute_force(counts: np.ndarray) -> int:
    wide = counts if counts.shape[0] <= counts.shape[1] else counts.T
    columns = permutations(range(wide.shape[1]), wide.shape[0])
    return max(sum(wide[row, column] for row, column in enumerate(choice)) for choice in columns)


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3), (1, 5), (5, 1)])
def test_matching_equals_brute_force(shape: tuple[int, int]) -> None:
    for seed in range(10):
        counts = np.random.default_rng(seed).integers(0, 20, shape)
        assert matched(counts) == best_by_brute_force(counts)


def test_accuracy_equals_brute_force() -> None:
    counts = contingency(LABEL, CLUSTER)
    assert agreement(LABEL, CLUSTER).accuracy == best_by_brute_force(counts) / 60


def test_contingency_counts_pairs_and_leaves_out_unknown_rows() -> None:
    found = contingency(np.array([0, 0, 2, -1, 2]), np.array([1, 1, 0, 0, -1]))
    np.testing.assert_array_equal(found, [[0, 2], [0, 0], [1, 0]])


def test_a_perfect_partition_scores_one_under_any_names() -> None:
    found = agreement(LABEL, np.array([2, 0, 3, 1])[LABEL])
    for value in (found.accuracy, found.nmi, found.ami, found.ari, found.purity):
        assert value == pytest.approx(1)


def test_names_and_order_do_not_matter() -> None:
    order = RNG.permutation(60)
    renamed = np.array([4, 2, 0, 3, 1])[CLUSTER]
    changed = agreement(np.array([3, 1, 0, 2])[LABEL][order], renamed[order])
    expected = agreement(LABEL, CLUSTER)
    for name in ("accuracy", "nmi", "ami", "ari", "purity"):
        assert getattr(changed, name) == pytest.approx(getattr(expected, name), rel=1e-9)


def test_nmi_is_over_the_arithmetic_mean_of_entropies() -> None:
    p = contingency(LABEL, CLUSTER) / 60
    row, column = p.sum(axis=1, keepdims=True), p.sum(axis=0, keepdims=True)
    nonzero = p > 0
    information = (p[nonzero] * np.log(p[nonzero] / (row * column)[nonzero])).sum()
    entropy = -(row * np.log(row)).sum() - (column * np.log(column)).sum()
    assert agreement(LABEL, CLUSTER).nmi == pytest.approx(2 * information / entropy)


def test_clusters_left_over_are_errors_for_accuracy_but_not_for_purity() -> None:
    found = agreement(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 3, 3]))
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.purity == 1


def test_unassigned_rows_are_errors() -> None:
    cluster = LABEL.copy()
    cluster[:15] = -1
    found = agreement(LABEL, cluster)
    assert found.accuracy == found.purity == pytest.approx(45 / 60)
    assert found.nmi < 1


@pytest.mark.parametrize(
    ("n", "classes", "clusters"),
    [(1, 1, 1), (5, 1, 1), (30, 4, 6), (500, 2, 1), (900, 30, 200), (20_000, 20, 40)],
)
def test_information_and_pairs_equal_scikit_learn(n: int, classes: int, clusters: int) -> None:
    random = np.random.default_rng(n)
    label = random.integers(0, classes, n)
    cluster = np.where(random.random(n) < 0.3, label % clusters, random.integers(-1, clusters, n))
    found = agreement(label, cluster)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(label, cluster), abs=1e-9)
    assert found.ami == pytest.approx(adjusted_mutual_info_score(label, cluster), abs=1e-9)
    assert found.ari == pytest.approx(adjusted_rand_score(label, cluster), abs=1e-9)


def test_single_rows_agree_with_single_rows() -> None:
    found = agreement(np.arange(7), np.arange(7)[::-1].copy())
    assert (found.nmi, found.ami, found.ari) == (1, 1, 1)


def test_chance_scores_nothing_when_adjusted() -> None:
    scores = [agreement(LABEL, np.random.default_rng(s).permutation(CLUSTER)) for s in range(50)]
    assert np.mean([score.ari for score in scores]) == pytest.approx(0, abs=0.02)
    assert np.mean([score.ami for score in scores]) == pytest.approx(0, abs=0.02)


def test_partitions_share_all_labels_with_themselves_renamed() -> None:
    assert shared_labels(CLUSTER, np.array([4, 2, 0, 3, 1])[CLUSTER]) == 1
    assert shared_labels(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])) == 0.75


def test_silhouette_equals_scikit_learn() -> None:
    rows = unit_rows(RNG.normal(size=(60, 5)))
    expected = silhouette_score(rows, CLUSTER, metric="cosine")
    assert silhouette(cosine_distances(rows), CLUSTER) == pytest.approx(expected, abs=1e-5)


def test_silhouette_leaves_out_unassigned_rows() -> None:
    rows = unit_rows(RNG.normal(size=(60, 5)))
    cluster = np.where(np.arange(60) < 20, -1, CLUSTER)
    expected = silhouette(cosine_distances(rows[20:]), CLUSTER[20:])
    assert silhouette(cosine_distances(rows), cluster) == pytest.approx(expected)


@pytest.mark.parametrize("cluster", [np.zeros(6, int), np.arange(6), np.full(6, -1)])
def test_silhouette_is_nan_where_it_has_no_meaning(cluster: np.ndarray) -> None:
    assert np.isnan(silhouette(cosine_distances(unit_rows(RNG.normal(size=(6, 3)))), cluster))


def test_many_small_clusters_are_scored_without_a_murmur() -> None:
    """scikit-learn takes labels for a regression target when there are many."""
    assert agreement(np.arange(30), np.arange(30)).accuracy == 1

"""What a row adds against the lengths of whole partitions, and partitions that settle."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import adjusted_rand_score

from clusterpipe.stages.numerics.coding_length import Code, group_statistics, partition_length
from clusterpipe.stages.numerics.incremental_coding import (
    added_length,
    cluster_statistics,
    increments,
    settled,
    soft_by_length,
)
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import unit_rows

SIZES = (150, 100, 50)
TRUTH = np.repeat(np.arange(3), SIZES)
CODE = Code(0.3, 0.3)


def subspaces(noise: float = 0.2) -> np.ndarray:
    """Unit rows near three planes of 12 dimensions, on both sides of the origin: no mean tells."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(12, 6)))[0].reshape(12, 3, 2)
    rows = np.einsum("dnj,nj->nd", basis[:, TRUTH], rng.normal(size=(300, 2)))
    return unit_rows(unit_rows(rows) + noise * rng.normal(size=(300, 12)) / np.sqrt(12))


def cones(k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    label = np.repeat(np.arange(k), 20)
    rows = rng.normal(size=(k, 12))[label] + 0.3 * rng.normal(size=(len(label), 12))
    return unit_rows(rows), label


@pytest.mark.parametrize("code", [CODE, Code(0.1, 1.0), Code(1.0, 0.0)])
def test_what_a_row_adds_is_the_difference_of_two_partitions(code: Code) -> None:
    rows = subspaces()
    new = unit_rows(np.random.default_rng(5).normal(size=(4, 12)))
    found = added_length(new, increments(rows, TRUTH, 3, code))
    for row, added in zip(new, found, strict=True):
        whole = [
            partition_length(
                group_statistics(np.vstack([rows, row]), np.append(TRUTH, cluster)), code
            )
            for cluster in range(3)
        ]
        np.testing.assert_allclose(added - added[0], np.array(whole) - whole[0], atol=1e-3)


def test_statistics_keep_empty_clusters() -> None:
    rows = subspaces()
    found = cluster_statistics(rows, 2 * TRUTH, 6)
    whole = group_statistics(rows, TRUTH)
    np.testing.assert_array_equal(found.size, [150, 0, 100, 0, 50, 0])
    np.testing.assert_allclose(found.gram[::2], whole.gram)
    assert not found.gram[1::2].any()


def test_settles_on_subspaces_that_means_cannot_tell_apart() -> None:
    rows = subspaces()
    rng = np.random.default_rng(0)
    start = np.where(rng.random(300) < 0.6, TRUTH, rng.integers(3, size=300))
    assert adjusted_rand_score(TRUTH, start) < 0.6
    assert adjusted_rand_score(TRUTH, settled(rows, start, 3, CODE, rounds=20)) > 0.95
    assert adjusted_rand_score(TRUTH, kmeans(rows, 3, spherical=True, restarts=5).label) < 0.5


def test_a_settled_partition_stays_and_no_round_changes_nothing() -> None:
    rows = subspaces()
    label = settled(rows, TRUTH, 3, CODE, rounds=50, tolerance=0)
    np.testing.assert_array_equal(settled(rows, label, 3, CODE, rounds=1), label)
    np.testing.assert_array_equal(settled(rows, TRUTH, 3, CODE, rounds=0), TRUTH)


def test_rotation_and_order_do_not_matter() -> None:
    rows, rng = subspaces(), np.random.default_rng(6)
    turn, order = np.linalg.qr(rng.normal(size=(12, 12)))[0], rng.permutation(300)
    plain = added_length(rows, increments(rows, TRUTH, 3, CODE))
    turned = unit_rows(rows @ turn)[order]
    moved = added_length(turned, increments(turned, TRUTH[order], 3, CODE))
    np.testing.assert_allclose(moved, plain[order], atol=1e-2)


def test_only_the_ten_nearest_means_are_tried() -> None:
    rows, label = cones(25)
    cost = increments(rows, label, 25, CODE)
    length = added_length(rows, cost)
    finite = np.isfinite(length)
    assert (finite.sum(axis=1) == 10).all()
    cosine = rows @ cost.mean.T
    assert (
        np.where(finite, cosine, 1).min(axis=1) >= np.where(finite, -1, cosine).max(axis=1)
    ).all()
    np.testing.assert_array_equal(length.argmin(axis=1), label)


def test_soft_assignment_is_the_softmax_of_lengths() -> None:
    length = np.array([[3.0, 1.0, np.inf], [900.0, 905.0, 901.0]])
    found = soft_by_length(length, temperature=2.0)
    np.testing.assert_allclose(found, softmax(-length / 2, axis=1), rtol=1e-6)
    assert found[0, 2] == 0

"""Soft k-means that cools."""

import numpy as np
from sklearn.metrics import adjusted_rand_score

from clusterpipe.stages.numerics.annealing import annealed, annealed_kmeans, balanced, memberships
from clusterpipe.stages.numerics.preparation import unit_rows


def test_memberships_are_the_posterior_of_equal_densities() -> None:
    rng = np.random.default_rng(1)
    rows, direction = unit_rows(rng.normal(size=(9, 5))), unit_rows(rng.normal(size=(3, 5)))
    density = np.exp(np.einsum("nd,kd->nk", rows, direction) / 0.3)
    expected = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(memberships(rows, direction, 0.3), expected, rtol=1e-4)


def test_cold_rounds_are_those_of_spherical_k_means() -> None:
    rng = np.random.default_rng(2)
    rows, direction = unit_rows(rng.normal(size=(200, 5))), unit_rows(rng.normal(size=(3, 5)))
    label = (rows @ direction.T).argmax(axis=1)
    means = unit_rows(np.stack([rows[label == cluster].mean(axis=0) for cluster in range(3)]))
    found = annealed(rows, direction, hot=1e-4, cold=1e-4, rounds=1)
    np.testing.assert_allclose(found, means, atol=1e-3)


def test_one_hot_round_brings_all_directions_together() -> None:
    rng = np.random.default_rng(3)
    rows = unit_rows(rng.normal(size=(200, 5)) + 1)
    found = annealed(rows, unit_rows(rng.normal(size=(3, 5))), hot=100, cold=100, rounds=1)
    mean = unit_rows(rows.mean(axis=0, keepdims=True))
    assert (found @ mean.T).min() > 0.99


def test_a_hot_start_finds_all_groups_more_often_than_k_means() -> None:
    """Six groups, twenty random starts: cold from the beginning is spherical k-means."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(6), 40)
    rows = unit_rows(np.eye(6, 8)[truth] + 0.15 * rng.normal(size=(240, 8)))
    starts = [np.random.default_rng(s).choice(240, 6, replace=False) for s in range(20)]

    def successes(hot: float) -> int:
        directions = [annealed(rows, rows[s], hot=hot, cold=1e-3, rounds=20) for s in starts]
        nearest = [(rows @ direction.T).argmax(axis=1) for direction in directions]
        return sum(adjusted_rand_score(truth, label) > 0.99 for label in nearest)

    assert successes(0.3) >= 19
    assert successes(1e-3) <= 16


def test_a_direction_that_no_row_belongs_to_stays() -> None:
    rows = np.tile(unit_rows(np.ones((1, 4))), (5, 1))
    away = -rows[:1]
    found = annealed(rows, np.vstack([rows[:1], away]), hot=1e-3, cold=1e-3, rounds=2)
    np.testing.assert_allclose(found[1], away[0], atol=1e-6)


def test_the_vote_of_several_runs_finds_groups_and_keeps_to_its_seed() -> None:
    truth = np.arange(240) % 6
    rows = unit_rows(np.eye(6, 9)[truth] + 0.2 * np.random.default_rng(0).normal(size=(240, 9)))
    direction = annealed_kmeans(rows, 6, iterations=10, seed=3)
    assert adjusted_rand_score(truth, (rows @ direction.T).argmax(axis=1)) > 0.99
    np.testing.assert_array_equal(direction, annealed_kmeans(rows, 6, iterations=10, seed=3))


def test_balanced_memberships_have_the_sizes_aimed_at() -> None:
    soft = np.random.default_rng(0).dirichlet([4, 2, 1], size=500).astype(np.float32)
    size = soft.mean(axis=0)
    assert balanced(soft, 0.0) is soft
    for power in (0.5, 1.0):
        aim = size ** (1 - power) / (size ** (1 - power)).sum()
        found = balanced(soft, power)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(found.mean(axis=0), aim, atol=0.01)

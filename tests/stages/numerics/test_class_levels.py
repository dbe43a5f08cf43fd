"""Probabilities of numbers of clusters, where the number is known."""

import numpy as np

from clusterpipe.stages.numerics.class_levels import Levels, class_levels
from clusterpipe.stages.numerics.preparation import unit_rows


def clusters(k: int, size: int, *, d: int = 64, noise: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(0)
    centre = np.repeat(unit_rows(rng.normal(size=(k, d))), size, axis=0)
    return unit_rows(centre + noise * rng.normal(size=centre.shape) / np.sqrt(d))


def test_most_probability_is_near_the_true_number() -> None:
    found = class_levels(clusters(25, 30), spectrum=25)
    near = (found.number >= 20) & (found.number <= 30)
    assert found.probability[near].sum() > 0.8
    assert 21 <= found.k <= 29


def test_equal_seeds_give_equal_probabilities() -> None:
    rows = clusters(10, 20)
    first, second = (class_levels(rows, spectrum=10, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.probability, second.probability)


def test_the_interval_holds_eight_tenths_and_k() -> None:
    number = np.array([1, 10, 12, 14, 100])
    levels = Levels(number, np.array([0.01, 0.2, 0.4, 0.2, 0.19]), number[:1], np.zeros(1))
    low, high = levels.interval()
    assert low <= 10 <= levels.k <= 14
    assert high >= 100


def test_between_two_levels_the_median_decides_which_is_meant() -> None:
    number = np.array([1, 20, 22, 90, 100, 110])
    fewer = Levels(number, np.array([0, 0.4, 0.3, 0.1, 0.1, 0.1]), number[:1], np.zeros(1))
    more = Levels(number, np.array([0, 0.2, 0.1, 0.2, 0.3, 0.2]), number[:1], np.zeros(1))
    assert 20 <= fewer.k <= 24
    assert 85 <= more.k <= 110


def test_one_normal_distribution_is_one_cluster() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 64)) + 0.2
    assert class_levels(unit_rows(rows), spectrum=1).k == 1


def test_the_finer_of_two_levels_that_stand_out_about_as_much_is_taken() -> None:
    number, level = np.array([1, 6, 45]), np.array([6, 45])
    likelier_coarse = np.array([0, 0.9, 0.1])
    assert Levels(number, likelier_coarse, level, np.array([84.0, 72.0])).k == 45
    assert Levels(number, likelier_coarse, level, np.array([84.0, 30.0])).k == 6
    assert Levels(number, likelier_coarse, level, np.array([15.0, 14.0])).k == 6

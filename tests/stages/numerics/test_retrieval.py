"""Precision and average precision against brute force."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from clusterpipe.stages.numerics.retrieval import (
    average_precision,
    chance_average_precision,
    chance_precision,
    precision,
)


def ranked(seed: int, m: int = 30, q: int = 50, share: float = 0.3) -> np.ndarray:
    relevant = np.random.default_rng(seed).random((m, q)) < share
    relevant[:, -1] = True  # each query has something to find
    return relevant


def test_average_precision_is_scikit_learn_s_when_everything_is_listed() -> None:
    relevant = ranked(0)
    scores = -np.arange(relevant.shape[1])
    expected = [average_precision_score(row, scores) for row in relevant]
    found = average_precision(relevant, relevant.sum(axis=1), relevant.shape[1])
    np.testing.assert_allclose(found, expected)


def test_average_precision_of_a_shorter_list_is_that_of_the_loop() -> None:
    relevant, depth = ranked(1), 7
    available = relevant.sum(axis=1)
    found = average_precision(relevant, available, depth)
    for row, count, value in zip(relevant, available, found, strict=True):
        terms = [row[: i + 1].mean() for i in range(depth) if row[i]]
        assert value == pytest.approx(sum(terms) / min(depth, count))


@pytest.mark.parametrize("available", [3, 20, 200])
def test_the_best_order_scores_one(available: int) -> None:
    relevant = np.arange(300)[None] < available
    assert average_precision(relevant, np.array([available]), 100) == pytest.approx([1.0])


def test_precision_counts_the_first_hits_only() -> None:
    relevant = np.array([[True, False, True, True], [False, False, False, True]])
    np.testing.assert_allclose(precision(relevant, 3), [2 / 3, 0])
    np.testing.assert_allclose(precision(relevant, 20), [3 / 4, 1 / 4])


@pytest.mark.parametrize(("rows", "available"), [(12, 1), (12, 5), (12, 12), (40, 9), (1, 1)])
def test_chance_is_the_mean_over_random_orders(rows: int, available: int) -> None:
    rng, depth = np.random.default_rng(0), 10
    orders = rng.permuted(np.tile(np.arange(rows) < available, (20_000, 1)), axis=1)
    count = np.full(len(orders), available)
    expected = precision(orders, 4).mean(), average_precision(orders, count, depth).mean()
    found = (
        chance_precision(count[:1], rows)[0],
        chance_average_precision(count[:1], rows, depth)[0],
    )
    np.testing.assert_allclose(found, expected, atol=0.006)

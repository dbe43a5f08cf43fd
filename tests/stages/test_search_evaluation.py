"""Image search against brute force by scikit-learn, and against what rows without classes give."""

import numpy as np
import pytest
from sklearn import metrics as sk

from clusterpipe.stages.search_evaluation import search_scores

K, SIZE = 4, 30
N = K * SIZE
TRUTH = np.repeat(np.arange(K), SIZE)


def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray(np.eye(K, 12)[TRUTH] + 0.2 * rng.normal(size=(N, 12)), np.float16)


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def brute_force(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """precision@20 and mAP of lists of everything, by scikit-learn, one query after the other."""
    similarity, measured = cosines(rows), []
    for query in np.flatnonzero(truth >= 0):
        others = (truth >= 0) & (np.arange(len(truth)) != query)
        right, score = truth[others] == truth[query], similarity[query, others]
        first = right[np.argsort(-score)][:20]
        if right.any():
            measured.append([first.mean(), sk.average_precision_score(right, score)])
    return np.mean(measured, axis=0)


def test_both_spaces_are_measured_as_brute_force_does() -> None:
    rng = np.random.default_rng(3)
    truth = np.where(rng.random(100) < 0.2, -1, np.arange(100) % 3)  # few enough to list all
    truth[0] = 3  # alone in its class
    rows = rng.normal(size=(100, 8)) + 2 * np.eye(8)[truth]
    refined = rows + np.eye(8)[truth]
    found = search_scores(rows, refined, truth, queries=1000)
    assert list(found["retrieval_space"]) == ["embeddings", "refined"]
    assert list(found["retrieval_metric"]) == ["precision@20", "mAP@100"]
    np.testing.assert_allclose(found["retrieval_value"][0], brute_force(rows, truth), atol=1e-6)
    np.testing.assert_allclose(found["retrieval_value"][1], brute_force(refined, truth), atol=1e-6)
    assert f"{(truth >= 0).sum() - 1} labelled images" in found["retrieval_protocol"]


def test_search_among_more_than_are_listed_is_truncated() -> None:
    found = search_scores(features(), None, TRUTH, queries=1000)
    order = np.argsort(-cosines(features()) + 9 * np.eye(N), axis=1)[:, :100]
    relevant = TRUTH[order] == TRUTH[:, None]
    at_rank = relevant.cumsum(axis=1) / np.arange(1, 101)
    expected = relevant[:, :20].mean(), ((at_rank * relevant).sum(axis=1) / (SIZE - 1)).mean()
    np.testing.assert_allclose(found["retrieval_value"][0], expected, atol=1e-4)


def test_a_sample_of_queries_searches_among_all() -> None:
    few, every = (search_scores(features(), None, TRUTH, queries=count) for count in (40, 1000))
    np.testing.assert_allclose(few["retrieval_value"], every["retrieval_value"], atol=0.05)
    assert "40 labelled images drawn at random, each among all 120" in few["retrieval_protocol"]


def test_chance_is_what_rows_without_classes_give() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 4, 600)
    found = search_scores(rng.normal(size=(600, 32)), None, truth, queries=1000)
    np.testing.assert_allclose(found["retrieval_value"][0], found["retrieval_chance"], atol=0.02)


@pytest.mark.parametrize("label", [np.full(N, -1), np.arange(N)])
def test_nothing_is_measured_without_classes_of_two(label: np.ndarray) -> None:
    assert search_scores(features(), None, label, queries=1000) == {}

"""Distinctive names against brute force, and the tests and problems they borrow."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterpipe.stages.numerics.naming import (
    Evidence,
    by_distinction,
    by_vote,
    dealt,
    fit,
    outstanding,
    retrieval_rank,
)

NEVER_DOUBT = 1.0


def random_log_probability(n: int, v: int, seed: int = 0) -> torch.Tensor:
    rows = np.random.default_rng(seed).normal(size=(n, v))
    return torch.from_numpy(rows).log_softmax(dim=1)


def evidence_of(log_probability: torch.Tensor, label: NDArray[np.integer], k: int) -> Evidence:
    evidence = Evidence(np.zeros((k, log_probability.shape[1])))
    evidence.add(log_probability, label, 5)
    return evidence


def evidence_from_means(mean: NDArray[np.floating]) -> Evidence:
    """One image per cluster."""
    return evidence_of(torch.from_numpy(mean), np.arange(len(mean)), len(mean))


# ---------------------------------------------------------------- evidence


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 8))
def test_evidence_is_that_of_a_count_by_hand(label: list[int], size: int) -> None:
    rows, owner = random_log_probability(len(label), 6), np.array(label)
    evidence = Evidence(np.zeros((5, 6)))
    for start in range(0, len(label), size):
        evidence.add(rows[start : start + size], owner[start : start + size], 2)
    for cluster in range(5):
        mine = rows.numpy()[owner == cluster]
        np.testing.assert_allclose(evidence.mean[cluster], mine.mean(axis=0) if len(mine) else 0)
        top = np.sort(np.exp(mine), axis=1)[:, -2:]
        assert evidence.votes[cluster].sum() == pytest.approx(top.sum())
    assert evidence.count.sum() == len(label)


def test_fit_is_standardised_and_knows_no_temperature() -> None:
    cosine = np.random.default_rng(0).normal(size=(3, 50))
    warm, cold = (
        fit(evidence_from_means(torch.from_numpy(cosine / t).log_softmax(dim=1).numpy()))
        for t in (1.0, 0.01)
    )
    np.testing.assert_allclose(warm, cold, atol=1e-9)
    np.testing.assert_allclose(warm.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(warm.std(axis=1), 1)


# ---------------------------------------------------------------- distinction


def test_a_word_that_fits_every_cluster_names_none() -> None:
    """Word 0 fits best everywhere; words 1, 2 and 3 fit one cluster each."""
    mean = np.full((3, 30), -10.0)
    mean[:, 0] = -1
    mean[np.arange(3), np.arange(3) + 1] = -2
    evidence = evidence_from_means(mean)
    assert by_vote(evidence, 2).word[:, 0].tolist() == [0, 0, 0]
    names = by_distinction(evidence, 2, sharing="optimal", level=NEVER_DOUBT)
    assert names.word[:, 0].tolist() == [1, 2, 3]


def test_scores_are_a_softmax_of_what_is_left_without_the_collection() -> None:
    evidence = evidence_of(random_log_probability(40, 8), np.arange(40) % 4, 4)
    names = by_distinction(evidence, 8, sharing="allowed", level=NEVER_DOUBT)
    for cluster in range(4):
        left = evidence.mean[cluster] - evidence.mean.mean(axis=0)
        share = np.exp(left) / np.exp(left).sum()
        np.testing.assert_array_equal(names.word[cluster], np.argsort(-share))
        np.testing.assert_allclose(names.score[cluster], np.sort(share)[::-1])
        np.testing.assert_allclose(names.margin[cluster], np.sort(share)[-1] - np.sort(share)[-2])


def test_a_single_cluster_is_named_by_what_fits() -> None:
    rows = random_log_probability(10, 6)
    names = by_distinction(
        evidence_of(rows, np.zeros(10, int), 1), 6, sharing="optimal", level=NEVER_DOUBT
    )
    np.testing.assert_array_equal(names.word[0], np.argsort(-rows.numpy().mean(axis=0)))


def test_empty_clusters_change_nothing_and_get_nothing() -> None:
    rows, label = random_log_probability(30, 7), np.arange(30) % 3
    plain = by_distinction(evidence_of(rows, label, 3), 4, sharing="optimal", level=NEVER_DOUBT)
    place = np.array([4, 0, 2])
    gaps = by_distinction(
        evidence_of(rows, place[label], 6), 4, sharing="optimal", level=NEVER_DOUBT
    )
    np.testing.assert_array_equal(gaps.word[place], plain.word)
    np.testing.assert_allclose(gaps.score[place], plain.score)
    assert (gaps.word[[1, 3, 5]] == -1).all()
    assert not gaps.unsure.any()


# ---------------------------------------------------------------- sharing


@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 3))
def test_an_optimal_deal_is_the_best_of_all(seed: int, k: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    word = np.stack([rng.permutation(5)[:c] for _ in range(k)])
    score = -np.sort(-rng.random((k, c)), axis=1)
    place = dealt(word, score, "optimal")
    given_out = [int(word[i, p]) for i, p in enumerate(place) if p >= 0]
    assert len(set(given_out)) == len(given_out)
    table = np.zeros((k, 5 + k))  # the words, and k times no word
    np.put_along_axis(table, word, score, axis=1)
    best = max(table[range(k), columns].sum() for columns in permutations(range(5 + k), k))
    assert sum(score[i, p] for i, p in enumerate(place) if p >= 0) == pytest.approx(best)


def test_a_greedy_deal_goes_from_the_highest_score_down() -> None:
    word = np.array([[7, 3], [7, 4], [7, 4]])
    score = np.array([[0.9, 0.8], [0.85, 0.1], [0.3, 0.05]])
    assert dealt(word, score, "greedy").tolist() == [0, 1, -1]
    assert dealt(word, score, "optimal").tolist() == [1, 0, 1]
    assert dealt(word, score, "allowed").tolist() == [0, 0, 0]


@pytest.mark.parametrize("sharing", ["optimal", "greedy", "allowed"])
def test_words_of_negative_score_are_not_dealt(sharing: str) -> None:
    word = np.array([[7, 3], [7, 4], [5, 6]])
    score = np.array([[-1, 0.2], [0.1, -1], [-1, -1]])
    assert dealt(word, score, sharing).tolist() == [1, 0, -1]


def test_a_cluster_whose_word_went_to_another_takes_its_next() -> None:
    mean = np.full((3, 20), -9.0)
    mean[0, 5], mean[1, 5], mean[1, 6], mean[2, 7] = -1.0, -1.2, -6.0, -1.0
    names = by_distinction(evidence_from_means(mean), 3, sharing="optimal", level=NEVER_DOUBT)
    assert names.word[:, 0].tolist() == [5, 6, 7]
    assert names.word[1, 1] == 5
    assert names.margin[1] < 0 < names.margin[0]
    np.testing.assert_allclose(names.margin, names.score[:, 0] - names.score[:, 1:].max(axis=1))


# ---------------------------------------------------------------- doubt


@pytest.mark.parametrize(("v", "level", "critical"), [(10, 0.05, 2.176), (30, 0.05, 2.745)])
def test_the_critical_value_is_grubbs(v: int, level: float, critical: float) -> None:
    """Grubbs' published tables use the sample deviation (n - 1), ours the population's (n)."""
    assert outstanding(v, level) * np.sqrt((v - 1) / v) == pytest.approx(critical, abs=1e-3)


def test_meaningless_words_stand_out_as_rarely_as_stated() -> None:
    scores = np.random.default_rng(0).normal(size=(4000, 200))
    highest = (scores.max(axis=1) - scores.mean(axis=1)) / scores.std(axis=1)
    assert (highest > outstanding(200, 0.1)).mean() == pytest.approx(0.1, abs=0.015)


def test_everything_stands_out_where_nothing_can_be_told() -> None:
    assert outstanding(2, 0.1) == outstanding(100, 1.0) == -np.inf


def test_a_distinctive_word_that_does_not_fit_is_passed_over() -> None:
    """Word 3 tells cluster 0 from the other best, word 17 fits it."""
    mean = np.random.default_rng(0).normal(size=(2, 100))
    mean[:, 3], mean[:, 17] = [-2, -30], [9, 2]
    names = by_distinction(evidence_from_means(mean), 3, sharing="optimal", level=0.1)
    assert names.word[0].tolist()[:2] == [17, 3]
    assert names.margin[0] < 0


def test_clusters_that_no_word_fits_are_unsure() -> None:
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(4, 300))
    mean[0, 17] += 12
    mean[1, 90] += 12
    names = by_distinction(evidence_from_means(mean), 3, sharing="optimal", level=0.01)
    assert names.unsure.tolist() == [False, False, True, True]
    assert names.word[:2, 0].tolist() == [17, 90]
    assert names.word[2:, 0].tolist() == [-1, -1]
    assert (names.score[2:, 0] == 0).all()
    left = mean - mean.mean(axis=0)
    np.testing.assert_array_equal(names.word[2:, 1:], np.argsort(-left[2:], axis=1)[:, :2])
    sure = by_distinction(evidence_from_means(mean), 3, sharing="optimal", level=NEVER_DOUBT)
    assert not sure.unsure.any()


# ---------------------------------------------------------------- retrieval, invariances


def test_a_cluster_is_found_by_a_word_that_fits_it_best() -> None:
    mean = np.array([[3.0, 1.0, 0.0], [2.0, 5.0, 0.0], [1.0, 2.0, 0.0]])
    evidence = evidence_from_means(mean)
    assert retrieval_rank(evidence, np.array([0, 1, 1])).tolist() == [1, 1, 2]
    assert retrieval_rank(evidence, np.array([1, 0, 2])).tolist() == [3, 2, 3]
    assert retrieval_rank(evidence, np.array([0, -1, 1])).tolist() == [1, 0, 2]


@given(st.permutations(range(5)), st.permutations(range(40)))
def test_clusters_and_images_have_no_order(clusters: list[int], images: list[int]) -> None:
    rows, label = random_log_probability(40, 12), np.arange(40) % 5
    plain = evidence_of(rows, label, 5)
    shuffled = evidence_of(rows[images], np.array(clusters)[label][images], 5)
    for one in ("optimal", "greedy", "allowed"):
        a, b = (by_distinction(e, 3, sharing=one, level=NEVER_DOUBT) for e in (plain, shuffled))
        np.testing.assert_array_equal(b.word[clusters], a.word)
        np.testing.assert_allclose(b.score[clusters], a.score)

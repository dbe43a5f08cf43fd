"""Votes against a brute-force count, and the invariances of an election."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterpipe.stages.numerics.voting import cast_votes, elect, word_log_probability


def random_probability(n: int, v: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.dirichlet(np.full(v, 0.3), n).astype(np.float32))


def brute_force(probability: torch.Tensor, label: list[int], votes: int) -> NDArray[np.float64]:
    tally = np.zeros((max(label) + 1, probability.shape[1]))
    for row, cluster in zip(probability.tolist(), label, strict=True):
        for word in sorted(range(len(row)), key=lambda w: -row[w])[:votes]:
            tally[cluster, word] += row[word]
    return tally


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.integers(1, 9),
    st.integers(1, 7),
    st.integers(1, 8),
)
def test_votes_are_those_of_a_count_by_hand(
    label: list[int], v: int, votes: int, size: int
) -> None:
    probability = random_probability(len(label), v)
    expected = brute_force(probability, label, votes)
    tally = np.zeros_like(expected)
    for start in range(0, len(label), size):
        part = slice(start, start + size)
        cast_votes(tally, probability[part], np.array(label[part]), votes)
    np.testing.assert_allclose(tally, expected, rtol=1e-6)


def test_probabilities_are_a_softmax_of_cosines() -> None:
    rng = np.random.default_rng(1)
    images, words = rng.standard_normal((6, 4)) * 7, rng.standard_normal((5, 4))
    cosine = np.array(
        [[x @ w / np.linalg.norm(x) / np.linalg.norm(w) for w in words] for x in images]
    )
    expected = np.exp(cosine / 0.1) / np.exp(cosine / 0.1).sum(axis=1, keepdims=True)
    found = word_log_probability(torch.from_numpy(images), torch.from_numpy(words), 0.1)
    np.testing.assert_allclose(found.exp(), expected, rtol=1e-9)


def test_lengths_of_features_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.standard_normal((6, 4)))
    words = torch.from_numpy(rng.standard_normal((5, 4)))
    scale = torch.from_numpy(rng.uniform(0.1, 100, (6, 1)))
    torch.testing.assert_close(
        word_log_probability(images * scale, words * 3, 0.01),
        word_log_probability(images, words, 0.01),
    )


def test_the_words_with_most_votes_lead() -> None:
    result = elect(np.array([[1.0, 0.0, 5.0, 2.0], [0.0, 0.0, 0.0, 0.0], [4.0, 4.0, 0.0, 0.0]]), 3)
    np.testing.assert_array_equal(result.word[0], [2, 3, 0])
    np.testing.assert_allclose(result.share, [[5 / 8, 2 / 8, 1 / 8], [0, 0, 0], [0.5, 0.5, 0]])
    np.testing.assert_allclose(result.margin, [3 / 8, 0, 0])
    np.testing.assert_array_equal(result.word[2, :2], [0, 1])


@pytest.mark.parametrize("count", [1, 4, 9])
def test_the_margin_does_not_depend_on_how_many_words_are_kept(count: int) -> None:
    tally = np.random.default_rng(3).random((5, 4))
    result = elect(tally, count)
    assert result.word.shape == result.share.shape == (5, min(count, 4))
    share = np.sort(tally / tally.sum(axis=1, keepdims=True), axis=1)
    np.testing.assert_allclose(result.margin, share[:, -1] - share[:, -2])


def test_a_single_word_wins_by_all() -> None:
    np.testing.assert_allclose(elect(np.array([[2.0], [0.0]]), 5).margin, [1, 0])


@given(st.permutations(range(5)), st.permutations(range(40)))
def test_clusters_and_images_have_no_order(clusters: list[int], images: list[int]) -> None:
    probability = random_probability(40, 12)
    label = np.random.default_rng(4).integers(0, 5, 40)
    plain, shuffled = np.zeros((5, 12)), np.zeros((5, 12))
    cast_votes(plain, probability, label, 5)
    cast_votes(shuffled, probability[images], np.array(clusters)[label][images], 5)
    np.testing.assert_allclose(shuffled[clusters], plain, rtol=1e-12)
    np.testing.assert_array_equal(elect(shuffled, 3).word[clusters], elect(plain, 3).word)

"""Votes of several labellings, and which of them vote."""

import numpy as np
from sklearn.metrics import adjusted_rand_score

from clusterpipe.stages.numerics.consensus import matched, matches, votes


def noisy(truth: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The truth with that share of labels drawn anew, its clusters renumbered."""
    rng = np.random.default_rng(seed)
    k = int(truth.max()) + 1
    label = np.where(rng.random(len(truth)) < share, rng.integers(k, size=len(truth)), truth)
    return np.asarray(rng.permutation(k)[label])


def test_votes_do_not_depend_on_how_clusters_are_numbered() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(4, size=50)
    other = np.where(rng.random(50) < 0.1, rng.integers(4, size=50), label)
    labels = [label, np.array([2, 0, 3, 1])[other]]
    expected = (np.eye(4)[label] + np.eye(4)[other]) / 2
    np.testing.assert_allclose(votes(labels, matches(labels, label, 4)), expected)
    np.testing.assert_allclose(votes(labels[::-1], matches(labels[::-1], label, 4)), expected)


def test_labellings_that_leave_clusters_empty_still_vote() -> None:
    labels = [np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0])]
    match = matches(labels, labels[0], 3)
    assert sorted(match[1]) == [0, 1, 2]
    found = votes(labels, match)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found.shape == (4, 3)


def test_what_many_poor_labellings_agree_on_is_better_than_each() -> None:
    truth = np.arange(600) % 6
    labels = [noisy(truth, 0.4, seed) for seed in range(9)]
    alike = np.ones(len(labels))
    agreed = votes(labels, matched(labels, alike, 6)).argmax(axis=1)
    best = max(adjusted_rand_score(truth, label) for label in labels)
    assert adjusted_rand_score(truth, agreed) > 0.9 > best + 0.3


def test_a_poor_labelling_to_begin_with_does_not_decide_how_the_others_are_matched() -> None:
    truth = np.arange(600) % 6
    labels = [noisy(truth, 0.97, 99)] + [noisy(truth, 0.2, seed) for seed in range(6)]
    alike = np.ones(len(labels))
    once = votes(labels, matches(labels, labels[0], 6)).argmax(axis=1)
    agreed = votes(labels, matched(labels, alike, 6)).argmax(axis=1)
    assert adjusted_rand_score(truth, agreed) > 0.95 > adjusted_rand_score(truth, once) + 0.1


def test_a_vote_counts_by_its_weight() -> None:
    labels = [np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([1, 0, 1])]
    same = np.tile(np.arange(2), (3, 1))
    found = votes(labels, same, np.array([2.0, 1.0, 0.0]))
    np.testing.assert_allclose(found, np.array([[3, 0], [1, 2], [0, 3]]) / 3)

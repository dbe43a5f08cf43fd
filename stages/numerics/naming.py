"""Names that tell clusters apart: how well words fit, what is distinctive, and who gets a word.

The likelihoods of CPP's vote (`voting`), less what every cluster has in common. Ours, but for
Grubbs' test (Grubbs 1950) and the assignment problem (scipy).
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax, stdtrit
from torch import Tensor

from clusterpipe.stages.numerics.voting import cast_votes, elect

Floats: TypeAlias = NDArray[np.float64]


@dataclass
class Evidence:
    """Evidence of n images about v words, summed over the images of each of k clusters.

    `votes` (k, v) as in `cast_votes`; `log_sum` (k, v) sums of log-probabilities, nats; `count`
    (k,) images. Memory is O(k v), however many images are added.
    """

    votes: Floats
    log_sum: Floats = field(init=False)
    count: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.log_sum = np.zeros_like(self.votes)
        self.count = np.zeros(len(self.votes), np.int64)

    def add(
        self, log_probability: Tensor, label: NDArray[np.integer[Any]], votes_per_image: int
    ) -> None:
        """Adds images with log-probabilities (b, v) and clusters (b,) 0..k-1."""
        cast_votes(self.votes, log_probability.exp(), label, votes_per_image)
        order = np.argsort(label, kind="stable")
        owner, start, count = np.unique(label[order], return_index=True, return_counts=True)
        rows = log_probability.cpu().numpy()[order]
        self.log_sum[owner] += np.add.reduceat(rows, start, axis=0, dtype=np.float64)
        self.count[owner] += count

    @property
    def mean(self) -> Floats:
        """Mean log-probability (k, v) of each word in each cluster; zero for empty clusters."""
        return self.log_sum / np.maximum(self.count, 1)[:, None]


@dataclass(frozen=True)
class Names:
    """Phrases for k clusters. `word` (k, c) indices into the vocabulary, the caption first, then
    the others from the best down; -1 is no word.

    `score` (k, c), 0..1; `margin` (k,) the caption's score less the best other's, negative where
    a better word was given to another cluster; `unsure` (k,) whether no word fits.
    """

    word: NDArray[np.int64]
    score: Floats
    margin: Floats
    unsure: NDArray[np.bool_]


def by_vote(evidence: Evidence, count: int) -> Names:
    """The words with most votes, `count` per cluster; the score is a share of the votes (CPP)."""
    election = elect(evidence.votes, count)
    word = np.where(election.share > 0, election.word, -1)
    return Names(word, election.share, election.margin, np.zeros(len(word), bool))


def by_distinction(evidence: Evidence, count: int, *, sharing: str, level: float) -> Names:
    """The words that fit a cluster better than they fit the others, `count` per cluster.

    A word's distinction is its mean log-probability in the cluster less the mean of that over all
    clusters (one cluster has nothing to be told from: nothing is subtracted); the score is its
    softmax over the vocabulary. A caption must besides stand out among the v words by
    `outstanding` at `level`, before anything is subtracted. A cluster is unsure when none of its
    words does, or all that do are captions of other clusters. `sharing` is as in `dealt`.
    """
    filled = np.flatnonzero(evidence.count)
    mean = evidence.mean[filled]
    score = softmax(mean - mean.mean(axis=0) if len(mean) > 1 else mean, axis=1)
    word = np.argsort(-score, axis=1, kind="stable")[:, :count]
    score = np.take_along_axis(score, word, axis=1)
    fits = np.take_along_axis(fit(evidence)[filled], word, axis=1)
    eligible = fits >= outstanding(evidence.votes.shape[1], level)
    place = dealt(word, np.where(eligible, score, -1), sharing)
    return _named(len(evidence.count), filled, word, score, place)


def fit(evidence: Evidence) -> Floats:
    """Fit of each word to each cluster (k, v): its mean log-probability, standardised over words.

    In standard deviations; independent of the softmax's temperature. Zero for empty clusters.
    """
    mean = evidence.mean
    spread = mean.std(axis=1, keepdims=True)
    centred: Floats = mean - mean.mean(axis=1, keepdims=True)
    return centred / np.where(spread > 0, spread, 1)


def outstanding(v: int, level: float) -> float:
    """Standard deviations by which the largest of v values must exceed their mean to stand out.

    The critical value of Grubbs' one-sided test: among v independent normal values the largest
    exceeds it with probability `level`, 0..1. With a level of 1, or fewer than 3 values, every
    largest value stands out.
    """
    if level >= 1 or v < 3:
        return -np.inf
    squared = stdtrit(v - 2, level / v) ** 2  # Student's quantile
    scale = (v - 1) / np.sqrt(v) * np.sqrt(v / (v - 1))  # population, not sample deviation
    return float(scale * np.sqrt(squared / (v - 2 + squared)))


def dealt(word: NDArray[np.int64], score: Floats, sharing: str) -> NDArray[np.int64]:
    """The place (k,) of each cluster's caption among its words (k, c); -1 where it gets none.

    Words whose score is negative are not dealt. No two clusters get the same word: "optimal" makes
    the sum of scores largest, "greedy" deals words out from the highest score down. "allowed"
    gives each cluster its best.
    """
    if sharing == "allowed" or not len(word):
        return np.where(score.max(axis=1) >= 0, score.argmax(axis=1), -1)
    return _optimal(word, score) if sharing == "optimal" else _greedy(word, score)


def _optimal(word: NDArray[np.int64], score: Floats) -> NDArray[np.int64]:
    k = len(word)
    words, column = np.unique(word, return_inverse=True)
    value = np.full((k, len(words) + k), -1.0)  # the last k columns stand for no word
    value[:, len(words) :] = 0
    np.put_along_axis(value, column.reshape(word.shape), score, axis=1)
    _, taken = linear_sum_assignment(value, maximize=True)
    matches = column.reshape(word.shape) == taken[:, None]
    return np.where(matches.any(axis=1), matches.argmax(axis=1), -1)


def _greedy(word: NDArray[np.int64], score: Floats) -> NDArray[np.int64]:
    place, taken = np.full(len(word), -1), set[int]()
    for flat in np.argsort(-score, axis=None, kind="stable").tolist():
        cluster, at = divmod(flat, word.shape[1])
        if score[cluster, at] >= 0 > place[cluster] and int(word[cluster, at]) not in taken:
            place[cluster] = at
            taken.add(int(word[cluster, at]))
    return place


def _named(
    k: int,
    filled: NDArray[np.int64],
    word: NDArray[np.int64],
    score: Floats,
    place: NDArray[np.int64],
) -> Names:
    """Captions first; an unsure cluster has no word first, and its best guesses after it."""
    c = word.shape[1]
    names = Names(np.full((k, c), -1), np.zeros((k, c)), np.zeros(k), np.zeros(k, bool))
    for row, cluster in enumerate(filled):
        others = np.flatnonzero(np.arange(c) != place[row])
        if place[row] >= 0:
            first, kept = 0, np.append(place[row], others)
        else:
            first, kept = 1, others[: c - 1]
        names.word[cluster, first:], names.score[cluster, first:] = (
            word[row, kept],
            score[row, kept],
        )
        names.margin[cluster] = names.score[cluster, 0] - score[row, others].max(initial=0.0)
        names.unsure[cluster] = place[row] < 0
    return names


def retrieval_rank(evidence: Evidence, word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of each cluster when all are searched for its caption: 1 is first, 0 no caption.

    `word` (k,) indices of captions or -1. Clusters are ordered by the word's mean log-probability;
    ties count against the cluster, empty clusters are not searched.
    """
    mean = np.where(evidence.count[:, None] > 0, evidence.mean, -np.inf)
    found = mean[:, word]
    own = np.diagonal(found)
    rank = (found >= own).sum(axis=0)
    return np.where((word >= 0) & (evidence.count > 0), rank, 0)

"""Captions by vote: images elect the words that fit them best (CPP, Chu et al., ICLR 2024)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Election:
    """The c words with most votes in each cluster, most first.

    `word` (k, c) indices into the vocabulary; `share` (k, c) of the cluster's votes, 0..1, zero
    where a cluster is empty; `margin` (k,) share of the first word less that of the second.
    """

    word: NDArray[np.int64]
    share: NDArray[np.float64]
    margin: NDArray[np.float64]


def word_log_probability(features: Tensor, words: Tensor, temperature: float) -> Tensor:
    """Logarithm of the softmax over v words of cos(image, word) / temperature.

    `features` (b, d) and `words` (v, d) of any lengths; returns (b, v), nats.
    """
    cosine = normalize(features, dim=1) @ normalize(words, dim=1).T
    return (cosine / temperature).log_softmax(dim=1)


def cast_votes(
    tally: NDArray[np.float64], probability: Tensor, label: NDArray[np.integer[Any]], votes: int
) -> None:
    """Adds each image's `votes` largest probabilities (b, v) to its cluster's row of `tally`.

    `tally` (k, v) is changed in place; `label` (b,) holds clusters 0..k-1. Sums are float64 and
    in order of rows, so that they do not depend on the device.
    """
    weight, word = probability.topk(min(votes, probability.shape[1]), dim=1)
    np.add.at(tally, (label[:, None], word.cpu().numpy()), weight.double().cpu().numpy())


def elect(tally: NDArray[np.float64], count: int) -> Election:
    """The `count` leading words of each cluster (fewer if the vocabulary is smaller).

    Of equal words the earlier one leads.
    """
    word = np.argsort(-tally, axis=1, kind="stable")[:, :count]
    total = tally.sum(axis=1, keepdims=True)
    share = tally / np.where(total > 0, total, 1)
    best = -np.sort(-share, axis=1)[:, :2]
    margin = best[:, 0] - (best[:, 1] if best.shape[1] > 1 else 0)
    return Election(word, np.take_along_axis(share, word, axis=1), margin)

"""Words as a second view of images: nouns, what they say of an image, and heads taught by both.

After TAC, text-aided clustering (Li et al., ICML 2024), section 3. Images and words are unit rows
of one space, as CLIP has it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.optim import Adam

from clusterpipe.stages.numerics.descent import descend
from clusterpipe.stages.numerics.feature_map import folded
from clusterpipe.stages.numerics.preparation import largest_first, unit_rows
from clusterpipe.stages.numerics.refinement import shuffled_batches

IMAGES_PER_CENTRE, CENTRES_PER_CLUSTER = 300, 3
WORDS = 4096
SMALLEST = 1e-8  # probability that a logarithm is taken of
INITIAL_SPREAD = 0.02  # of the weights

FloatRows: TypeAlias = NDArray[np.float32]

# ---- words --------------------------------------------------------------------------------


def centre_count(n: int, k: int) -> int:
    """Number of semantic centres of n images: one per 300, or 3 k where that is below k.

    Inferred from the numbers that TAC's authors use on eight data sets. Never more than n.
    """
    count = round(n / IMAGES_PER_CENTRE)
    return min(n, count if count >= k else CENTRES_PER_CLUSTER * k)


def select_words(
    centre: FloatRows, words: FloatRows, *, each: int = 5, at_once: int = WORDS
) -> NDArray[np.int64]:
    """The words that tell the centres apart, ascending; at most `each` per centre. TAC, eq. 2.

    centre: (q, d), words: (v, d), unit rows. A word belongs to the centre it is likeliest of, by a
    softmax over centres of its cosines (at temperature 1), and is taken if it is among the `each`
    likeliest of that centre. A centre that no word is likeliest of gets none. `at_once` words are
    scored at a time.
    """
    blocks = (words[start : start + at_once] for start in range(0, len(words), at_once))
    found = [_likeliest(block @ centre.T) for block in blocks]
    owner, likelihood = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((-likelihood, owner))
    first = np.searchsorted(owner[order], np.arange(len(centre)))
    rank = np.arange(len(order)) - first[owner[order]]
    return np.sort(order[rank < each])


def _likeliest(cosine: FloatRows) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The likeliest centre of each word, from cosines (b, q), and the log-probability of it."""
    return cosine.argmax(axis=1), cosine.max(axis=1) - logsumexp(cosine.astype(float), axis=1)


def text_counterparts(rows: FloatRows, words: FloatRows, *, temperature: float) -> FloatRows:
    """Text counterpart of each image, (b, d) unit rows: the mean of words, weighted by likeness.

    rows: (b, d), words: (m, d), unit rows; the weights are a softmax over words of cosine /
    temperature. TAC, eq. 4.
    """
    score = (rows @ words.T) / np.float32(temperature)
    score -= score.max(axis=1, keepdims=True)
    weight = np.exp(score, out=score)
    return unit_rows(weight @ words)


# ---- what two heads learn from each other -------------------------------------------------


def distillation(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Loss by which the k columns of two assignments (b, k) find each other, 0-d, in nats.

    Each cluster is a vector of b memberships; among the 2 k - 1 others, the one that is like it
    should be its counterpart: mean cross-entropy of a softmax of cosine / temperature. TAC, eq. 7.
    """
    columns = normalize(torch.cat([first.T, second.T]), dim=1)
    k = first.shape[1]
    cosine = (columns @ columns.T / temperature).fill_diagonal_(-torch.inf)
    counterpart = torch.arange(2 * k, device=first.device).roll(k)
    return cross_entropy(cosine, counterpart)


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Mean of -log of the probability that both assignments (b, k) put an image alike. TAC, eq. 9.

    Least where both are sure and agree.
    """
    return -(first * second).sum(dim=1).clamp(min=SMALLEST).log().mean()


def mean_entropy(assignment: Tensor) -> Tensor:
    """Entropy of the mean row of an assignment (b, k), nats: largest for clusters of equal size."""
    mean = assignment.mean(dim=0).clamp(min=SMALLEST)
    return -(mean * mean.log()).sum()


# ---- the heads ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Layers:
    """A hidden layer with ReLU and a softmax over k clusters, as plain arrays.

    hidden_weight: (h, d), hidden_bias: (h,), weight: (k, h), bias: (k,).
    """

    hidden_weight: FloatRows
    hidden_bias: FloatRows
    weight: FloatRows
    bias: FloatRows

    def logits(self, rows: FloatRows) -> FloatRows:
        """Logits (b, k) of rows (b, d)."""
        hidden = np.maximum(rows @ self.hidden_weight.T + self.hidden_bias, 0)
        return np.asarray(hidden @ self.weight.T + self.bias, np.float32)

    def by_size(self, label: NDArray[np.integer[Any]]) -> Self:
        """The same clusters numbered from the largest of these labels (n,) down."""
        order = largest_first(label, len(self.bias))
        return replace(self, weight=self.weight[order], bias=self.bias[order])


@dataclass(frozen=True)
class TwoHeads:
    """One network for images and one for their text counterparts, being trained."""

    image: nn.Sequential
    text: nn.Sequential

    def image_layers(self) -> Layers:
        """The image head as it is now, batch normalisation folded into its hidden layer."""
        hidden, last = folded(self.image)
        return Layers(hidden.weight, hidden.bias, last.weight, last.bias)


def two_heads(d: int, k: int, *, hidden: int = 512, seed: int = 0) -> TwoHeads:
    """Two fresh heads for rows of width d and k clusters; the global generator is left alone."""
    generator = torch.Generator().manual_seed(seed)
    return TwoHeads(_network(d, k, hidden, generator), _network(d, k, hidden, generator))


def _network(d: int, k: int, hidden: int, generator: torch.Generator) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        layers = nn.Linear(d, hidden), nn.Linear(hidden, k)
    for layer in layers:
        nn.init.trunc_normal_(layer.weight, std=INITIAL_SPREAD, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.BatchNorm1d(hidden), nn.ReLU(), layers[1])


@dataclass(frozen=True)
class Pairs:
    """n images and their text counterparts (n, d), and the nearest others of each, (n, q), in both
    views."""

    image: Tensor
    text: Tensor
    near_image: Tensor
    near_text: Tensor


@dataclass(frozen=True)
class Weights:
    """Training weights: `balance` of the two entropies, `temperature` of the distillation."""

    balance: float
    temperature: float


def objective(pairs: Pairs, to: TwoHeads, batch: Tensor, near: Tensor, weights: Weights) -> Tensor:
    """The loss of one batch of row numbers (b,), a 0-d tensor. TAC, eq. 11.

    near: (2, b) says which of the nearest others, in the image and the text view, stands beside
    each. Heads agree on an image, and on it and a neighbour, whose neighbourhood is of the other
    view.
    """
    image = to.image(pairs.image[batch]).softmax(dim=1)
    text = to.text(pairs.text[batch]).softmax(dim=1)
    beside_image = to.image(pairs.image[pairs.near_image[batch, near[0]]]).softmax(dim=1)
    beside_text = to.text(pairs.text[pairs.near_text[batch, near[1]]]).softmax(dim=1)
    taught = distillation(image, beside_text, temperature=weights.temperature)
    taught = taught + distillation(text, beside_image, temperature=weights.temperature)
    even = mean_entropy(image) + mean_entropy(text)
    return taught + disagreement(image, text) - weights.balance * even


def train(
    to: TwoHeads, pairs: Pairs, *, steps: int, batch: int, weights: Weights, seed: int
) -> Iterator[float]:
    """Trains both heads in place, and yields the loss before each step.

    Adam at 0.001 with betas 0.9 and 0.99. Batches are of min(batch, n) different images; each pass
    over the images has a new order, and what is left over at its end is dropped. Nothing is drawn
    from the global generator.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [*to.image.parameters(), *to.text.parameters()]
    optimiser = Adam(parameters, lr=1e-3, betas=(0.9, 0.99))
    n, q = pairs.near_image.shape
    for rows in islice(shuffled_batches(n, batch, generator), steps):
        near = torch.randint(q, (2, len(rows)), generator=generator)
        loss = objective(pairs, to, rows, near, weights)
        descend(optimiser, loss)
        yield loss.item()

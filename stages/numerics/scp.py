"""SCP: a perceptron learns clusters from pairs of rows that show the same thing.

The pairs are two augmented views of an image, an image and one of its nearest neighbours, or an
image with two draws of noise. Losses and schedule: SCP (Li et al., arXiv 2502.04226). The positives
other than views, the start from given labels, the weights of pairs and the prior are ours.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.optim.lr_scheduler import LambdaLR

from clusterpipe.stages.numerics.cluster_losses import (
    balance_loss,
    confidence_loss,
    consistency_loss,
)
from clusterpipe.stages.numerics.descent import descend
from clusterpipe.stages.numerics.refinement import shuffled_batches

Pairs = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""From row numbers (b,) to the two rows of a pair each, (b, d)."""


@dataclass(frozen=True)
class ScpRecipe:
    """Training recipe: weights of the three losses, and the schedule.

    start_epochs: epochs of learning given labels first, at the same rate; weighted: whether a pair
    counts as much as the network thinks that it is one thing, for pairs that may not be. It has to
    know something first: from a random start it would believe itself.
    """

    epochs: int
    start_epochs: int
    batch: int
    rate: float
    consistency: float
    confidence: float
    balance: float
    weighted: bool = False


@dataclass(frozen=True)
class Epoch:
    """Means over the steps of one epoch, in nats; `loss` is the weighted sum."""

    consistency: float
    confidence: float
    balance: float
    loss: float


def neighbour_pairs(rows: NDArray[np.float32], neighbour: NDArray[np.integer[Any]]) -> Pairs:
    """Each row (n, d) with one of its nearest, `neighbour` (n, q), drawn anew every time."""
    row, near = torch.from_numpy(rows), torch.from_numpy(neighbour)

    def pairs(index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.randint(near.shape[1], (len(index),), generator=generator)
        return row[index], row[near[index, drawn]]

    return pairs


def view_pairs(views: NDArray[np.float32]) -> Pairs:
    """Two new views of each image, drawn anew every time; unit rows.

    views: (n, v, d) augmented views, v >= 2. The few there are of an image a network learns by
    heart. So it sees the mean of an image's views, moved as a view of any other image lies off the
    mean of its own. Ours.
    """
    count = views.shape[1]
    mean = torch.from_numpy(views.mean(axis=1))
    deviation = torch.from_numpy(views) - mean[:, None]
    deviation = deviation.flatten(end_dim=1) * math.sqrt(count / (count - 1))

    def pairs(index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        other = torch.randint(len(deviation), (2, len(index)), generator=generator)
        first, second = normalize(mean[index] + deviation[other], dim=-1)
        return first, second

    return pairs


def noise_pairs(rows: NDArray[np.float32], deviation: float | NDArray[np.float32]) -> Pairs:
    """Each row (n, d) with two draws of Gaussian noise, of this deviation, for each axis or all."""
    row, scale = torch.from_numpy(rows), torch.as_tensor(deviation)

    def pairs(index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shape = (2, len(index), row.shape[1])
        first, second = row[index] + scale * torch.randn(shape, generator=generator)
        return first, second

    return pairs


def train(
    network: nn.Sequential,
    pairs: Pairs,
    prior: NDArray[np.floating[Any]],
    recipe: ScpRecipe,
    *,
    start: NDArray[np.int64] | None,
    n: int,
    seed: int,
) -> Iterator[Epoch]:
    """Trains the network on pairs of n rows, epoch by epoch; afterwards it is in evaluation.

    prior: (k,) shares that the balance loss draws the clusters towards; start: (n,) labels to learn
    first, or None. Adam, whose rate falls to 0 by a half cosine over all steps.
    """
    generator = torch.Generator().manual_seed(seed)
    steps, batches = max(1, n // recipe.batch), shuffled_batches(n, recipe.batch, generator)
    taught = 0 if start is None else recipe.start_epochs
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.rate)
    total = steps * (taught + recipe.epochs)
    schedule = LambdaLR(optimiser, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
    goal = torch.as_tensor(prior, dtype=torch.float32)
    network.train()
    for index in islice(batches, taught * steps):
        out = network(torch.cat(pairs(index, generator)))
        labels = torch.from_numpy(start)[index].repeat(2)
        _step(optimiser, schedule, cross_entropy(out, labels))
    for _ in range(recipe.epochs):
        terms = np.zeros(4)
        for index in islice(batches, steps):
            out = network(torch.cat(pairs(index, generator))).softmax(dim=1)
            first, second = out.chunk(2)
            found = _losses(first, second, goal, recipe)
            _step(optimiser, schedule, found[-1])
            terms += [float(term.detach()) for term in found]
        yield Epoch(*(terms / steps))
    network.eval()


def _step(optimiser: torch.optim.Optimizer, schedule: LambdaLR, loss: Tensor) -> None:
    descend(optimiser, loss)
    schedule.step()


def _losses(p: Tensor, q: Tensor, prior: Tensor, recipe: ScpRecipe) -> list[Tensor]:
    weight = _likelihood(p, q) if recipe.weighted else 1.0
    agreement, sureness = consistency_loss(p, q, weight), confidence_loss(p, q, weight)
    balance = balance_loss(p, prior) + balance_loss(q, prior)
    loss = recipe.consistency * agreement + recipe.confidence * sureness + recipe.balance * balance
    return [agreement, sureness, balance, loss]


def _likelihood(p: Tensor, q: Tensor) -> Tensor:
    """Likelihood that each pair is one thing, over the mean of all pairs; (b,), no gradient."""
    likely = (p * q).sum(dim=1).detach()
    return likely / likely.mean()

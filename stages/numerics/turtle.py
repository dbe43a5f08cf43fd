"""TURTLE: the labelling that linear classifiers in several spaces can learn with most margin.

A task encoder, one linear map per space, labels the rows; in every space a linear classifier learns
its labels (the inner problem); then the encoder moves towards what the classifiers find easy, while
the sizes of its clusters are held near a prior (the outer problem). Gadetsky, Jiang and Brbic 2024.
The prior is ours: a uniform one makes it the published entropy.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from clusterpipe.stages.numerics.descent import descend

SMALLEST_SHARE = 1e-9  # of a cluster in a batch, where its logarithm is taken


@dataclass(frozen=True)
class TurtleRecipe:
    """Recipe for the two problems, both solved by Adam.

    steps: of the outer problem, each after `inner_steps` of the inner one; cold: whether the
    classifiers start anew at every step; decay: whether the outer learning rate falls to zero along
    a cosine; balance: the weight of the prior; batch: rows per step.
    """

    steps: int
    inner_steps: int
    learning_rate: float
    inner_learning_rate: float
    balance: float
    batch: int
    cold: bool
    decay: bool


@dataclass(frozen=True)
class Step:
    """One outer step: `fit`, the cross-entropy of classifiers and labels summed over spaces, in
    nats per row; `loss`, that and the weighted prior."""

    fit: float
    loss: float


@dataclass(frozen=True)
class Maps:
    """A linear map per space, to k logits each: weight (k, d_r) and bias (k,)."""

    weight: Sequence[Tensor]
    bias: Sequence[Tensor]

    def logits(self, spaces: Sequence[Tensor]) -> list[Tensor]:
        """(b, k) in each space, of its rows (b, d_r)."""
        parts = zip(spaces, self.weight, self.bias, strict=True)
        return [torch.addmm(bias, rows, weight.T) for rows, weight, bias in parts]

    def learning(self) -> "Maps":
        """A copy whose weights and biases can be trained."""
        return Maps(
            [weight.detach().clone().requires_grad_() for weight in self.weight],
            [bias.detach().clone().requires_grad_() for bias in self.bias],
        )


def random_maps(widths: Sequence[int], k: int, generator: torch.Generator) -> Maps:
    """As torch.nn.Linear starts: uniform within 1 / sqrt(d_r)."""

    def drawn(*shape: int, width: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator) - 1) / math.sqrt(width)

    weight = [drawn(k, width, width=width) for width in widths]
    return Maps(weight, [drawn(k, width=width) for width in widths])


class TaskEncoder:
    """The maps whose softmax are the labels, weight-normalised: length and direction apart."""

    def __init__(self, start: Maps) -> None:
        start = start.learning()
        self._direction, self._bias = start.weight, start.bias
        self._length = [
            weight.detach().norm(dim=1, keepdim=True).requires_grad_() for weight in start.weight
        ]

    @property
    def maps(self) -> Maps:
        parts = zip(self._length, self._direction, strict=True)
        return Maps([length * normalize(one, dim=1) for length, one in parts], self._bias)

    def parameters(self) -> list[Tensor]:
        return [*self._direction, *self._length, *self._bias]


# ---- the objective ------------------------------------------------------------------------


def soft_labels(logits: Sequence[Tensor]) -> Tensor:
    """Labels (b, k) from the logits (b, k) in each space: the mean of their softmax."""
    return torch.stack([one.softmax(dim=1) for one in logits]).mean(dim=0)


def misfit(classified: Sequence[Tensor], label: Tensor) -> Tensor:
    """Cross-entropy of soft labels and classifiers' logits, (b, k) each, summed over spaces."""
    return torch.stack([cross_entropy(one, label) for one in classified]).sum()


def imbalance(logits: Sequence[Tensor], prior: Tensor) -> Tensor:
    """KL divergence of the mean prediction in each space from the `prior` (k,), summed; >= 0.

    For a uniform prior this is log k - H(mean prediction): the published entropy, but for log k.
    """
    mean = torch.stack([one.softmax(dim=1).mean(dim=0) for one in logits])
    return (mean * (mean.clamp_min(SMALLEST_SHARE) / prior).log()).sum()


# ---- training -----------------------------------------------------------------------------


def train(
    encoder: TaskEncoder,
    spaces: Sequence[Tensor],
    prior: Tensor,
    recipe: TurtleRecipe,
    batches: Iterator[Tensor],
    generator: torch.Generator,
) -> Iterator[Step]:
    """Trains `encoder` in place, one `Step` per outer step; the record is of before the step.

    spaces: rows (n, d_r) of each; prior: (k,) positive, of sum 1; batches: row numbers. Warm
    classifiers start as copies of the encoder. TURTLE, algorithm 1.
    """
    outer = Adam(encoder.parameters(), lr=recipe.learning_rate)
    schedule = CosineAnnealingLR(outer, max(recipe.steps, 1))
    inner = _Classifiers(encoder.maps, recipe.inner_learning_rate)
    for batch in islice(batches, recipe.steps):
        rows = [space[batch] for space in spaces]
        if recipe.cold:
            widths = [space.shape[1] for space in spaces]
            start = random_maps(widths, len(prior), generator)
            inner = _Classifiers(start, recipe.inner_learning_rate)
        logits = encoder.maps.logits(rows)
        label = soft_labels(logits)
        fit = misfit(inner.learned(rows, label.detach(), recipe.inner_steps), label)
        loss = fit + recipe.balance * imbalance(logits, prior)
        descend(outer, loss)
        if recipe.decay:
            schedule.step()
        yield Step(fit.item(), loss.item())


class _Classifiers:
    """One linear classifier per space, with the state of its optimiser."""

    def __init__(self, start: Maps, learning_rate: float) -> None:
        self._maps = start.learning()
        self._optimiser = Adam([*self._maps.weight, *self._maps.bias], lr=learning_rate)

    def learned(self, rows: Sequence[Tensor], label: Tensor, steps: int) -> list[Tensor]:
        """The logits (b, k) in each space after `steps` of learning these labels (b, k)."""
        for _ in range(steps):
            descend(self._optimiser, misfit(self._maps.logits(rows), label))
        with torch.no_grad():
            return self._maps.logits(rows)

"""TEMI: several small heads teach their moving averages which neighbours belong together.

Adaloglou et al., BMVC 2023. Each head is two layers, a bottleneck of unit length and
a weight-normalised linear layer to k logits; all are trained at once. Learning given labels first
is ours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, normalize

from clusterpipe.stages.numerics.cluster_losses import distillation_loss, pair_likelihood
from clusterpipe.stages.numerics.descent import descend
from clusterpipe.stages.numerics.refinement import shuffled_batches
from clusterpipe.stages.numerics.scp import Pairs

TEMPERATURE = 0.1  # of student and teacher
PRIOR_MOMENTUM = 0.9
DECAY, DEVIATION = 1e-4, 0.02
RATE_PER_256 = 1e-4  # learning rate, per 256 rows of a batch


@dataclass(frozen=True)
class TemiRecipe:
    """start_epochs: of learning given labels first; warm_up: epochs of a growing learning rate;
    rate: learning rate per 256 rows of a batch; momentum: of the teacher."""

    epochs: int
    start_epochs: int
    warm_up: int
    batch: int
    rate: float
    momentum: float
    beta: float


@dataclass(frozen=True)
class Layers:
    """One head: weight (w, d), bottleneck (e, w), biases, and last (k, e), temperature included."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    bottleneck: NDArray[np.float32]
    bottleneck_bias: NDArray[np.float32]
    last: NDArray[np.float32]


class Heads(nn.Module):
    """h heads side by side: (b, d) rows, or (h, b, d), to (h, b, k) logits."""

    def __init__(self, heads: int, d: int, k: int, *, width: int, bottleneck: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> nn.Parameter:
            weight = torch.empty(heads, *shape)
            cut = 2 * DEVIATION
            nn.init.trunc_normal_(weight, std=DEVIATION, a=-cut, b=cut, generator=generator)
            return nn.Parameter(weight)

        self.weight, self.bias = drawn(width, d), nn.Parameter(torch.zeros(heads, 1, width))
        self.bottleneck = drawn(bottleneck, width)
        self.bottleneck_bias = nn.Parameter(torch.zeros(heads, 1, bottleneck))
        self.last, self.gain = drawn(k, bottleneck), nn.Parameter(torch.ones(heads, k, 1))

    def forward(self, rows: Tensor) -> Tensor:
        hidden = gelu(rows @ self.weight.mT + self.bias)
        unit = normalize(hidden @ self.bottleneck.mT + self.bottleneck_bias, dim=2)
        return unit @ self.directions().mT

    def directions(self) -> Tensor:
        """The last layer (h, k, e), temperature included."""
        return self.gain * normalize(self.last, dim=2) / TEMPERATURE

    def layers(self, head: int) -> Layers:
        """One of the heads as plain arrays."""
        parts = (
            self.weight[head],
            self.bias[head, 0],
            self.bottleneck[head],
            self.bottleneck_bias[head, 0],
            self.directions()[head],
        )
        return Layers(*(part.detach().numpy().copy() for part in parts))


def train(
    student: Heads,
    teacher: Heads,
    pairs: Pairs,
    recipe: TemiRecipe,
    *,
    start: NDArray[np.int64] | None,
    n: int,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    """Trains all heads on pairs of n rows and yields the mean loss of each, (h,), every epoch.

    start: (h, n) labels for each head to learn first, or None. Without them the last layer rests
    in the first epoch, as published. AdamW at a constant rate after warm-up; the teacher, a moving
    average of the student from the same beginning, is what assigns rows afterwards.
    """
    generator = torch.Generator().manual_seed(seed)
    steps, batches = max(1, n // recipe.batch), shuffled_batches(n, recipe.batch, generator)
    rate = recipe.rate * min(recipe.batch, n) / 256
    optimiser = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=DECAY)
    if start is not None:
        _learn(
            student,
            optimiser,
            pairs,
            start,
            islice(batches, recipe.start_epochs * steps),
            generator,
        )
    teacher.load_state_dict(student.state_dict())
    heads, k, _ = student.last.shape
    prior = torch.full((heads, k), 1 / k)
    for epoch in range(recipe.epochs):
        student.last.requires_grad_(start is not None or epoch > 0)
        total = torch.zeros(heads)
        for step, index in enumerate(islice(batches, steps)):
            warm = (epoch * steps + step + 1) / max(1, recipe.warm_up * steps)
            optimiser.param_groups[0]["lr"] = rate * min(1.0, warm)
            loss, prior = _loss(student, teacher, pairs(index, generator), prior, recipe.beta)
            descend(optimiser, loss.sum())
            _follow(teacher, student, recipe.momentum)
            total += loss.detach()
        yield (total / steps).numpy().astype(np.float64)


def logits(rows: NDArray[np.float32], layers: Layers) -> NDArray[np.float32]:
    """Logits (b, k) of rows (b, d)."""
    from scipy.special import ndtr

    hidden = rows @ layers.weight.T + layers.bias
    code = (hidden * ndtr(hidden)) @ layers.bottleneck.T + layers.bottleneck_bias
    norm = np.maximum(np.linalg.norm(code, axis=1, keepdims=True), 1e-12)
    return np.asarray(code / norm @ layers.last.T, np.float32)


def _learn(
    student: Heads,
    optimiser: torch.optim.Optimizer,
    pairs: Pairs,
    start: NDArray[np.int64],
    batches: Iterable[Tensor],
    generator: torch.Generator,
) -> None:
    """Teaches each head its labels."""
    labels = torch.from_numpy(start)
    for index in batches:
        out = student(pairs(index, generator)[0])
        mean = cross_entropy(out.flatten(0, 1), labels[:, index].flatten())
        descend(optimiser, mean * len(labels))


def _loss(
    student: Heads, teacher: Heads, pair: tuple[Tensor, Tensor], prior: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """The loss of each head, both ways round, and the shares of the clusters as they are now."""
    rows = torch.cat(pair)
    with torch.no_grad():
        taught = teacher(rows).softmax(dim=2)
        first, second = taught.chunk(2, dim=1)
        weight = pair_likelihood(first, second)
        prior = PRIOR_MOMENTUM * prior + (1 - PRIOR_MOMENTUM) * taught.mean(dim=1)
    own, other = student(rows).softmax(dim=2).chunk(2, dim=1)
    there = distillation_loss(own, second, weight, prior, beta=beta)
    back = distillation_loss(other, first, weight, prior, beta=beta)
    return (there + back) / 2, prior


@torch.no_grad()
def _follow(teacher: Heads, student: Heads, momentum: float) -> None:
    for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        ours.lerp_(theirs, 1 - momentum)

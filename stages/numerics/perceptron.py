"""A perceptron of several layers: trained as a torch network, kept as plain arrays.

Linear, batch normalisation and ReLU, l - 1 times, then one linear layer to k logits. A trained one
has its normalisation folded into the layers, so that a row's result depends on that row alone.
"""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clusterpipe.stages.numerics.feature_map import folded


@dataclass(frozen=True)
class Layers:
    """The layers: weight (w, d), middle (l - 2, w, w), last (k, w) and their biases."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    middle: NDArray[np.float32]
    middle_bias: NDArray[np.float32]
    last: NDArray[np.float32]
    last_bias: NDArray[np.float32]

    @classmethod
    def of(cls, model: Any) -> Self:
        """The layers of whatever has fields of these names."""
        return cls(**{field.name: getattr(model, field.name) for field in fields(cls)})


def perceptron(d: int, k: int, *, layers: int, width: int, seed: int) -> nn.Sequential:
    """An untrained network with `layers` linear layers, at least 2.

    Weights from a normal distribution of deviation 0.02 cut off at two of them, biases 0 (as TAC's
    code has it), drawn from `seed` without touching the global generator.
    """
    sizes = [d, *[width] * (layers - 1)]
    parts: list[nn.Module] = []
    for before, after in pairwise(sizes):
        parts += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    network = nn.Sequential(*parts, nn.Linear(width, k))
    generator = torch.Generator().manual_seed(seed)
    for part in network:
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02, a=-0.04, b=0.04, generator=generator)
            nn.init.zeros_(part.bias)
    return network


def plain_layers(network: nn.Sequential) -> Layers:
    """The network as it is in evaluation, normalisation folded into the linear layers."""
    first, *middle, last = folded(network)
    width = len(first.weight)
    return Layers(
        weight=first.weight,
        bias=first.bias,
        middle=np.array([layer.weight for layer in middle], np.float32).reshape(-1, width, width),
        middle_bias=np.array([layer.bias for layer in middle], np.float32).reshape(-1, width),
        last=last.weight,
        last_bias=last.bias,
    )


def logits(rows: NDArray[np.float32], layers: Layers) -> NDArray[np.float32]:
    """Logits (b, k) of rows (b, d)."""
    hidden = np.maximum(rows @ layers.weight.T + layers.bias, 0)
    for weight, bias in zip(layers.middle, layers.middle_bias, strict=True):
        hidden = np.maximum(hidden @ weight.T + bias, 0)
    return np.asarray(hidden @ layers.last.T + layers.last_bias, np.float32)

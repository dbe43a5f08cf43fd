"""The map that refines features: prepared rows through fully connected layers, to unit length.

A map prepares each row (unit length, centred, unit length again), sends it through hidden layers
with ReLU between them, possibly none, and scales the result to unit length. It is trained as a
network; a trained map is plain arrays: `map_parameters` writes them and `apply_map` reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from clusterpipe.stages.numerics.preparation import prepare, unit_rows


class RefinementNetwork(nn.Module):
    """Hidden layers (possibly none) and one linear head each for features and membership."""

    def __init__(
        self, hidden: nn.Sequential, feature_head: nn.Linear, membership_head: nn.Linear
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.feature_head = feature_head
        self.membership_head = membership_head

    def features(self, hidden: Tensor) -> Tensor:
        return normalize(self.feature_head(hidden), dim=1)

    def membership_features(self, hidden: Tensor) -> Tensor:
        return normalize(self.membership_head(hidden), dim=1)

    @torch.no_grad()
    def copy_feature_head(self) -> None:
        """Makes the membership head equal to the feature head (CPP, after warm-up)."""
        self.membership_head.load_state_dict(self.feature_head.state_dict())


def linear_network(width: int, *, groups: NDArray[np.float32] | None = None) -> RefinementNetwork:
    """No hidden layer: a linear map of (n, e) rows to as many numbers, which starts as identity.

    One head serves both purposes, unless `groups` (g, e) says where the logits of g groups start.
    """
    head = _linear(np.eye(width, dtype=np.float32))
    return RefinementNetwork(nn.Sequential(), head, head if groups is None else _linear(groups))


def _linear(weight: NDArray[np.float32]) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(torch.from_numpy(weight.copy()))
    return layer


def published_network(d: int, *, hidden: int, width: int, seed: int) -> RefinementNetwork:
    """CPP's network: Linear, BatchNorm, ReLU, Linear, ReLU and two linear heads of `width`.

    PyTorch's default initialisation, drawn from `seed` without touching the global generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = nn.Sequential(
            nn.Linear(d, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        return RefinementNetwork(trunk, nn.Linear(hidden, width), nn.Linear(hidden, width))


def map_parameters(
    network: RefinementNetwork,
    center: NDArray[np.float32],
    directions: NDArray[np.float32] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """The trained map as plain float32 arrays for `apply_map`, batch normalisation folded in.

    `directions` (e, d) is what the network's input was projected on, if it was. Keys: `center`
    (d,), `hidden_<i>_weight` and `hidden_<i>_bias`, `feature_weight` (e, ...), `feature_bias`,
    `membership_weight`, `membership_bias`; weights are (out, in).
    """
    named = {f"hidden_{i}": layer for i, layer in enumerate(folded(network.hidden))}
    named["feature"] = _affine(network.feature_head)
    named["membership"] = _affine(network.membership_head)
    parameters = {"center": center}
    for name, layer in named.items():
        weight = layer.weight if directions is None else layer.weight @ directions
        parameters |= {f"{name}_weight": weight, f"{name}_bias": layer.bias}
    return parameters


def apply_map(
    parameters: Mapping[str, NDArray[Any]],
    features: NDArray[Any],
    *,
    head: Literal["feature", "membership"] = "feature",
) -> NDArray[np.float32]:
    """Refined features (n, e), unit rows in float32, of features (n, d).

    The features may be of any length and precision; each row is mapped by itself, so that new
    images are refined as the old ones were. `parameters` come from `map_parameters`.
    `head="membership"` gives the rows between whose cosines CPP's membership is computed.
    """
    z = prepare(features, parameters["center"], unit=True)
    for i in range(sum(name.startswith("hidden_") for name in parameters) // 2):
        z = z @ parameters[f"hidden_{i}_weight"].T + parameters[f"hidden_{i}_bias"]
        np.maximum(z, 0, out=z)
    return unit_rows(z @ parameters[f"{head}_weight"].T + parameters[f"{head}_bias"])


@dataclass(frozen=True)
class Affine:
    """x -> weight (out, in) x + bias (out,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def folded(hidden: nn.Sequential) -> list[Affine]:
    """The hidden layers, each with the batch normalisation that follows it in it."""
    layers: list[Affine] = []
    for layer in hidden:
        if isinstance(layer, nn.Linear):
            layers.append(_affine(layer))
        elif isinstance(layer, nn.BatchNorm1d):
            layers.append(_normalised(layers.pop(), layer))
    return layers


def _normalised(layer: Affine, norm: nn.BatchNorm1d) -> Affine:
    """The layer followed by batch normalisation at its running statistics."""
    mean, variance = _array(norm.running_mean), _array(norm.running_var)
    gain = _array(norm.weight) / np.sqrt(variance + norm.eps)
    return Affine(gain[:, None] * layer.weight, gain * (layer.bias - mean) + _array(norm.bias))


def _affine(layer: nn.Linear) -> Affine:
    weight = _array(layer.weight)
    bias = np.zeros(len(weight), np.float32) if layer.bias is None else _array(layer.bias)
    return Affine(weight, bias)


def _array(tensor: Tensor | None) -> NDArray[np.float32]:
    if tensor is None:
        raise ValueError("a batch normalisation without statistics or scale cannot be folded")
    return tensor.detach().cpu().float().numpy().copy()

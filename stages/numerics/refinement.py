"""Maps that refine features by rate reduction, and how they are trained.

A map prepares each row (unit length, centred, unit length again), sends it through fully connected
layers with ReLU between them, and scales the result to unit length. It is trained to spread all
samples apart (a high coding rate R) while keeping alike samples together (a low membership rate
R_c); how many clusters there are is never asked.

Two trainings: `train_sparse` (ours) turns a linear map that starts at the principal components, on
membership rows of a few samples each; `train_published` is CPP's network and recipe (Chu et al.
2024). Both yield one `Step` per step. A trained map is plain arrays: `map_parameters` writes them
and `apply_map` reads them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import SGD, Adam, Optimizer

from clusterpipe.stages.numerics.preparation import prepare, unit_rows
from clusterpipe.stages.numerics.rate import (
    coding_rate,
    membership_coding_rate,
    sparse_membership_coding_rate,
)
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic

MAX_TEMPERATURE = 1.0
RANK_TOLERANCE = 1e-6  # of the largest variance: what float32 input can still tell from zero
FLIPPED_ROWS = 8192  # rows whose signs are drawn at a time
COLLAPSE_MARGIN = 1.05  # a rate within 5% of that of one single direction is a collapse


@dataclass(frozen=True)
class Step:
    """One step of training, in nats; `membership_rate` is NaN while R alone is trained."""

    rate: float
    membership_rate: float
    loss: float


@dataclass(frozen=True)
class Terms:
    """The objective on one batch, as 0-d tensors in nats."""

    rate: Tensor
    membership_rate: Tensor
    loss: Tensor


# ---- where the map starts: the principal components ------------------------------------------


def principal_directions(prepared: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """(e, d) leading eigenvectors of the prepared rows (n, d), e = min(width, d, rank).

    Raises ValueError when every row is the same, so that there is no direction at all.
    """
    values, vectors = np.linalg.eigh((prepared.T @ prepared).astype(np.float64))
    rank = int((values > RANK_TOLERANCE * values[-1]).sum())
    if values[-1] <= 0 or rank == 0:
        raise ValueError("all rows are the same: there is nothing to tell apart")
    leading = vectors[:, ::-1][:, : min(width, rank)].T
    return np.ascontiguousarray(leading, np.float32)


def parallel_analysis(prepared: NDArray[np.float32], *, seed: int) -> int:
    """How many leading principal components of prepared rows (n, d) stand out from noise.

    Those before the first that varies no more than the same component of the rows with a random
    sign on every number: that keeps how much there is of everything, and undoes what goes
    together. Parallel analysis, Horn 1965, by sign flips (Hong, Sheng and Dobriban 2020).
    """
    rng = np.random.default_rng(seed)
    noise = np.zeros((prepared.shape[1],) * 2, np.float32)
    for start in range(0, len(prepared), FLIPPED_ROWS):
        rows = prepared[start : start + FLIPPED_ROWS]
        flipped = np.where(rng.random(rows.shape, np.float32) < 0.5, rows, -rows)
        noise += flipped.T @ flipped
    above = np.linalg.eigvalsh(prepared.T @ prepared) > np.linalg.eigvalsh(noise)
    return int(np.logical_and.accumulate(above[::-1]).sum())


# ---- the map ------------------------------------------------------------------------------


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


def linear_network(directions: NDArray[np.float32]) -> RefinementNetwork:
    """No hidden layer: a linear map that starts as projection on `directions` (e, d).

    It takes the projections (n, e) as its input, and has one head for both purposes.
    """
    head = nn.Linear(len(directions), len(directions), bias=False, device="meta")
    head.weight = nn.Parameter(torch.eye(len(directions)))
    return RefinementNetwork(nn.Sequential(), head, head)


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
    named = {f"hidden_{i}": layer for i, layer in enumerate(_folded(network.hidden))}
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
class _Affine:
    """x -> weight (out, in) x + bias (out,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def _folded(hidden: nn.Sequential) -> list[_Affine]:
    """The hidden layers, each with the batch normalisation that follows it in it."""
    layers: list[_Affine] = []
    for layer in hidden:
        if isinstance(layer, nn.Linear):
            layers.append(_affine(layer))
        elif isinstance(layer, nn.BatchNorm1d):
            layers.append(_normalised(layers.pop(), layer))
    return layers


def _normalised(layer: _Affine, norm: nn.BatchNorm1d) -> _Affine:
    """The layer followed by batch normalisation at its running statistics."""
    mean, variance = _array(norm.running_mean), _array(norm.running_var)
    gain = _array(norm.weight) / np.sqrt(variance + norm.eps)
    return _Affine(gain[:, None] * layer.weight, gain * (layer.bias - mean) + _array(norm.bias))


def _affine(layer: nn.Linear) -> _Affine:
    weight = _array(layer.weight)
    bias = np.zeros(len(weight), np.float32) if layer.bias is None else _array(layer.bias)
    return _Affine(weight, bias)


def _array(tensor: Tensor | None) -> NDArray[np.float32]:
    if tensor is None:
        raise ValueError("a batch normalisation without statistics or scale cannot be folded")
    return tensor.detach().cpu().float().numpy().copy()


# ---- the objective ------------------------------------------------------------------------


def is_collapsed(rate: float, *, width: int, epsilon_squared: float) -> bool:
    """Whether R says that all rows lie along one direction, or is not a number at all.

    One direction alone has R = 1/2 log(1 + e/eps^2), the least that unit rows can have.
    """
    single = math.log1p(width / epsilon_squared) / 2
    return not math.isfinite(rate) or (width > 1 and rate < COLLAPSE_MARGIN * single)


def expansion(z: Tensor, *, epsilon_squared: float) -> Terms:
    """-R(Z), CPP's warm-up: spread the samples, whatever they are."""
    rate = coding_rate(z, epsilon_squared=epsilon_squared)
    return Terms(rate, torch.full_like(rate, math.nan), -rate)


def published_objective(
    z: Tensor,
    y: Tensor,
    *,
    epsilon_squared: float,
    temperature: float,
    half_steps: int = 5,
    regularisation: float = 0.05,
) -> Terms:
    """-R(Z) + R_c(Z, Pi) + lambda/2 ||Pi||^2 with Pi from |Y Y^T|. CPP eq. 7, as its code has it.

    z: (b, e) features, y: (b, e) membership features. The groups are the columns of Pi.
    """
    pi = doubly_stochastic((y @ y.T).abs(), temperature=temperature, half_steps=half_steps)
    rate = coding_rate(z, epsilon_squared=epsilon_squared)
    membership_rate = membership_coding_rate(z, pi.T, epsilon_squared=epsilon_squared)
    loss = membership_rate - rate + regularisation / 2 * pi.square().sum()
    return Terms(rate, membership_rate, loss)


def sparse_objective(
    z: Tensor, *, epsilon_squared: float, temperature: float, neighbours: int, weight: float = 1.0
) -> Terms:
    """-R(Z) + weight R_c(Z, Pi), Pi the largest entries of each membership row, held fixed. Ours.

    z: (b, e). A group is a sample and the `neighbours` - 1 most like it within the batch.
    """
    with torch.no_grad():
        similarity = (z @ z.T).abs()
        pi = doubly_stochastic(similarity, temperature=temperature, half_steps=5)
        kept = pi.topk(min(neighbours, len(z)), dim=1)
        weights = kept.values / kept.values.sum(dim=1, keepdim=True)
    rate = coding_rate(z, epsilon_squared=epsilon_squared)
    membership_rate = sparse_membership_coding_rate(
        z, kept.indices, weights, epsilon_squared=epsilon_squared
    )
    return Terms(rate, membership_rate, weight * membership_rate - rate)


def balance(terms: Terms, parameters: Sequence[nn.Parameter]) -> float:
    """The weight of R_c at which it pulls on the parameters as hard as R pushes: |dR| / |dR_c|.

    It is near 1 when groups hold everything and grows as they get smaller (5 to 6 for 24 of 1,024
    CLIP features), which is why no fixed weight suits all collections. 1 if R_c does not pull.
    """
    push = torch.autograd.grad(terms.rate, parameters, retain_graph=True)
    pull = torch.autograd.grad(terms.membership_rate, parameters)
    strength = _length(pull)
    return _length(push) / strength if strength > 0 else 1.0


def _length(gradients: Sequence[Tensor]) -> float:
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


# ---- training -----------------------------------------------------------------------------


def shuffled_batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of `min(size, n)` different rows; each pass over the rows in a new order.

    What is left at the end of a pass is dropped, as in CPP.
    """
    size = min(size, n)
    while True:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def descend(
    objective: Callable[[Tensor], Terms],
    batches: Iterable[Tensor],
    optimisers: Sequence[Optimizer],
) -> Iterator[Step]:
    """One gradient step per batch of row numbers; the record is of before the step."""
    for batch in batches:
        terms = objective(batch)
        for optimiser in optimisers:
            optimiser.zero_grad()
        terms.loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in optimisers:
            optimiser.step()
        yield Step(terms.rate.item(), terms.membership_rate.item(), terms.loss.item())


@torch.no_grad()
def alignment(first: Tensor, second: Tensor) -> float:
    """Alignment (0 to 1) of the centred cosine matrices of the same rows, z (m, e) and (m, e').

    1 when one is the other turned. Linear CKA, Kornblith et al. 2019, eq. 3.
    """
    first, second = first - first.mean(dim=0), second - second.mean(dim=0)
    own = (first.T @ first).norm() * (second.T @ second).norm()
    return float((first.T @ second).square().sum() / own) if own > 0 else 1.0


def while_aligned(
    steps: Iterable[Step], features: Callable[[], Tensor], *, retain: float
) -> Iterator[Step]:
    """The steps, up to the one that takes the `alignment` with the start below `retain`.

    `features()` are (m, e), of the same rows each time.
    """
    start = features()
    for step in steps:
        yield step
        if alignment(start, features()) < retain:
            return


def train_sparse(
    network: RefinementNetwork,
    sample: Tensor,
    batches: Iterator[Tensor],
    *,
    max_steps: int,
    retain: float,
    epsilon_squared: float,
    temperature: float,
    neighbours: int,
    compression: float,
    learning_rate: float,
) -> Iterator[Step]:
    """Trains `network` in place on rows of `sample` (n, d) by Adam on `sparse_objective`. Ours.

    `compression` is the pull of R_c relative to the push of R at the start, 1 when they balance.
    Ends after `max_steps`, or as soon as the `alignment` of a probe (the first batch) with its
    start falls below `retain`: the objective goes on falling long after it has begun to undo what
    the features knew. Nearest neighbours would not tell: they stay while tight clusters split.
    """

    def features(batch: Tensor) -> Tensor:
        return network.features(network.hidden(sample[batch]))

    objective = partial(
        sparse_objective,
        epsilon_squared=epsilon_squared,
        temperature=temperature,
        neighbours=neighbours,
    )
    network.train()
    probe = next(batches)
    weight = compression * balance(objective(features(probe)), list(network.parameters()))
    steps = descend(
        lambda batch: objective(features(batch), weight=weight),
        islice(batches, max_steps),
        [Adam(network.parameters(), lr=learning_rate)],
    )
    yield from while_aligned(steps, lambda: features(probe), retain=retain)


@dataclass(frozen=True)
class PublishedSettings:
    """CPP's settings for one collection; batches of 1024 and a learning rate of 1e-4 for all."""

    hidden: int
    width: int
    epochs: int
    temperature: float
    warmup_steps: int


def published_settings(n: int) -> PublishedSettings:
    """The settings of the published data set nearest in size to `n` images, whatever is in them.

    ImageNet's from 500,000 images, CIFAR-10's (as in its README) from 20,000; below, those that
    VLM4Cluster runs CPP with on Pets, DTD, Food and UCF-101.
    """
    if n >= 500_000:
        return PublishedSettings(2048, 1024, 20, 0.12, 2000)
    if n >= 20_000:
        return PublishedSettings(4096, 128, 15, 0.175, 50)
    return PublishedSettings(4096, 128, 30, 0.10, 50)


def train_published(
    network: RefinementNetwork,
    sample: Tensor,
    batches: Iterator[Tensor],
    *,
    warmup_steps: int,
    steps: int,
    epsilon_squared: float,
    temperature: float,
    learning_rate: float,
) -> Iterator[Step]:
    """CPP's recipe on rows of `sample` (n, d): warm-up, head copy, joint training.

    `warmup_steps` of R alone come before the `steps` of the whole objective. Two SGD optimisers
    with momentum 0.9, weight decay 1e-4 for trunk and feature head and 5e-3 for the membership
    head, constant learning rate. CPP section 4 and appendix.
    """

    def warm_up(batch: Tensor) -> Terms:
        z = network.features(network.hidden(sample[batch]))
        return expansion(z, epsilon_squared=epsilon_squared)

    def joint(batch: Tensor) -> Terms:
        hidden = network.hidden(sample[batch])
        return published_objective(
            network.features(hidden),
            network.membership_features(hidden),
            epsilon_squared=epsilon_squared,
            temperature=temperature,
        )

    network.train()
    optimisers = _published_optimisers(network, learning_rate)
    yield from descend(warm_up, islice(batches, warmup_steps), optimisers)
    network.copy_feature_head()
    yield from descend(joint, islice(batches, steps), optimisers)


def _published_optimisers(network: RefinementNetwork, learning_rate: float) -> list[Optimizer]:
    body = [*network.hidden.parameters(), *network.feature_head.parameters()]
    head = network.membership_head.parameters()
    return [
        SGD(body, lr=learning_rate, momentum=0.9, weight_decay=1e-4),
        SGD(head, lr=learning_rate, momentum=0.9, weight_decay=5e-3),
    ]


@torch.no_grad()
def temperature_for(z: Tensor, *, diagonal_share: float, half_steps: int = 5) -> float:
    """The temperature at which a sample keeps `diagonal_share` of its own membership (median).

    z: (b, e) unit rows. Smaller shares come with higher temperatures; found by bisection up to
    `MAX_TEMPERATURE`. Too low a temperature leaves every sample alone, so that nothing is learnt
    about clusters. Ours, after the observation that CPP's value does not transfer across backbones.
    """
    similarity = (z @ z.T).abs()
    low, high = 0.01, MAX_TEMPERATURE
    for _ in range(12):
        middle = math.sqrt(low * high)
        pi = doubly_stochastic(similarity, temperature=middle, half_steps=half_steps)
        if pi.diagonal().median() > diagonal_share:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)

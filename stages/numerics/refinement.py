"""Training of maps that refine features, by the objective of rate reduction.

A map is to spread all samples apart (a high coding rate R) while keeping alike samples together (a
low membership rate R_c); how many clusters there are is never asked.

Two trainings: `train_balanced` (ours) goes on from a linear map at which the objective already
stands still (see `whitening`), on groups of a few neighbours each; `train_published` is CPP's
network and recipe (Chu et al. 2024). Both are a `TrainingRun`, which can be broken off and resumed.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from clusterpipe.stages.numerics.feature_map import RefinementNetwork
from clusterpipe.stages.numerics.rate import (
    coding_rate,
    membership_coding_rate,
    sparse_membership_coding_rate,
)
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic

NETWORK = "network"  # what the names of its arrays begin with in `TrainingRun.state`
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


# ---- the objective ------------------------------------------------------------------------


def is_collapsed(rate: float, *, width: int, epsilon_squared: float) -> bool:
    """True if R says that all rows lie along one direction, or is not a number at all.

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


@dataclass(frozen=True)
class Neighbourhoods:
    """The groups of a batch of seeds, and the samples that they are made of.

    rows: (b,) different row numbers of the sample; support: (g, s) the members of each group, as
    places within `rows`; weight: (g, s) their membership. g seeds bring b >= g samples along.
    """

    rows: Tensor
    support: Tensor
    weight: Tensor


def neighbourhoods(support: Tensor, weight: Tensor, seeds: Tensor) -> Neighbourhoods:
    """The groups of `seeds` (g,) out of a membership of the whole sample, (n, s) each.

    Every seed has its neighbours in the batch, however many clusters there are; drawn at random, a
    batch of 1,024 holds one image per class of 1,000.
    """
    members = support[seeds]
    rows, place = torch.unique(members, return_inverse=True)
    return Neighbourhoods(rows, place, weight[seeds])


def neighbourhood_objective(
    z: Tensor, groups: Neighbourhoods, *, epsilon_squared: float, weight: float = 1.0
) -> Terms:
    """-R(Z) + weight R_c(Z, Pi), Pi sparse and held fixed; both of the whole sample, estimated.

    z: (b, e), the features of `groups.rows`. Every row of Pi is a group (CPP eq. 7 without the
    regulariser, which is constant here), and those of the seeds stand for all. Ours.
    """
    rate = coding_rate(z, epsilon_squared=epsilon_squared)
    of_seeds = sparse_membership_coding_rate(
        z, groups.support, groups.weight, epsilon_squared=epsilon_squared
    )
    membership_rate = of_seeds * (len(z) / len(groups.support))
    return Terms(rate, membership_rate, weight * membership_rate - rate)


def grouped_objective(
    z: Tensor, logits: Tensor, *, epsilon_squared: float, weight: float = 1.0
) -> Terms:
    """-R(Z) + weight R_c(Z, Pi) for as many groups as there are `logits`, Pi being their softmax.

    z: (b, e), logits: (b, g). Linear in b, where a group per sample is quadratic; the logits learn
    along. After CgMCR2 (2412.18930), without its guide.
    """
    rate = coding_rate(z, epsilon_squared=epsilon_squared)
    membership = logits.softmax(dim=1).T
    membership_rate = membership_coding_rate(z, membership, epsilon_squared=epsilon_squared)
    return Terms(rate, membership_rate, weight * membership_rate - rate)


def balance(terms: Terms, parameters: Sequence[Tensor]) -> float:
    """The weight of R_c at which it pulls on the parameters as hard as R pushes: |dR| / |dR_c|.

    It is near 1 when groups hold everything and grows as they get smaller (about 10 for 9 CLIP
    features each), which is why no fixed weight suits all collections. 1 if R_c does not pull.
    """
    push = torch.autograd.grad(terms.rate, parameters, retain_graph=True)
    pull = torch.autograd.grad(terms.membership_rate, parameters, retain_graph=True)
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


@dataclass
class TrainingRun:
    """Steps that train a network in place; iterating takes those that are left.

    `objective` is given a batch and the number of the step. What the next step depends on is
    `state` and how many were `done`: a new training that resumes from both goes on as this one.
    """

    network: RefinementNetwork
    objective: Callable[[Tensor, int], Terms]
    batches: Iterator[Tensor]
    optimisers: Sequence[Optimizer]
    steps: int
    learning_rate: Callable[[int], float]
    done: int = 0

    def __iter__(self) -> Iterator[Step]:
        while self.done < self.steps:
            yield self.step()

    def step(self) -> Step:
        """One step of gradient descent on the next batch; the record is of before it."""
        terms = self.objective(next(self.batches), self.done)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate(self.done)
            optimiser.zero_grad()
        torch.autograd.backward(terms.loss)
        for optimiser in self.optimisers:
            optimiser.step()
        self.done += 1
        return Step(terms.rate.item(), terms.membership_rate.item(), terms.loss.item())

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of the weights, running statistics and momenta, by names without a slash."""
        tensors = {f"{NETWORK}.{name}": t for name, t in self.network.state_dict().items()}
        for name, optimiser in self._named_optimisers():
            for parameter, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{parameter}.{moment}": t for moment, t in moments.items()}
        return {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()}

    def resume(self, state: Mapping[str, NDArray[Any]], *, done: int) -> None:
        """Goes on where `done` steps had left `state`; to be called before the first step.

        Raises RuntimeError if the state is that of another network.
        """
        self.network.load_state_dict(_under(NETWORK, state))
        for name, optimiser in self._named_optimisers():
            moments: dict[int, dict[str, Tensor]] = {}
            for place, tensor in _under(name, state).items():
                parameter, moment = place.split(".")
                moments.setdefault(int(parameter), {})[moment] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
        for _ in islice(self.batches, done):
            pass
        self.done = done

    def _named_optimisers(self) -> Iterator[tuple[str, Optimizer]]:
        return ((f"optimiser_{i}", optimiser) for i, optimiser in enumerate(self.optimisers))


def _under(prefix: str, state: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The arrays under a name, as tensors of their own."""
    start = f"{prefix}."
    return {n.removeprefix(start): torch.tensor(a) for n, a in state.items() if n.startswith(start)}


Objective: TypeAlias = Callable[[Tensor, float], Terms]  # of a batch, at a weight of R_c


def on_neighbourhoods(
    network: RefinementNetwork,
    sample: Tensor,
    support: Tensor,
    weight: Tensor,
    *,
    epsilon_squared: float,
) -> Objective:
    """`neighbourhood_objective` of `network` on batches of seeds, row numbers of `sample` (n, d).

    support, weight: (n, s), the group of every row.
    """

    def objective(seeds: Tensor, pull: float) -> Terms:
        groups = neighbourhoods(support, weight, seeds)
        z = network.features(network.hidden(sample[groups.rows]))
        return neighbourhood_objective(z, groups, epsilon_squared=epsilon_squared, weight=pull)

    return objective


def on_groups(network: RefinementNetwork, sample: Tensor, *, epsilon_squared: float) -> Objective:
    """`grouped_objective` of `network` on batches of `sample` (n, d); its membership head votes."""

    def objective(batch: Tensor, pull: float) -> Terms:
        hidden = network.hidden(sample[batch])
        z, logits = network.features(hidden), network.membership_head(hidden)
        return grouped_objective(z, logits, epsilon_squared=epsilon_squared, weight=pull)

    return objective


def train_balanced(
    network: RefinementNetwork,
    objective: Objective,
    batches: Iterator[Tensor],
    *,
    steps: int,
    compression: float,
    learning_rate: float,
) -> TrainingRun:
    """Trains `network` in place by Adam, the learning rate falling to zero along a cosine. Ours.

    `compression` is the pull of R_c relative to the push of R at the start, 1 when they balance.
    """
    network.train()
    start = objective(next(batches), 1.0)
    pull = compression * balance(start, [network.feature_head.weight])
    return TrainingRun(
        network,
        lambda batch, number: objective(batch, pull),
        batches,
        [Adam(network.parameters())],
        steps,
        lambda number: learning_rate * (1 + math.cos(math.pi * number / steps)) / 2,
    )


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
) -> TrainingRun:
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

    def objective(batch: Tensor, number: int) -> Terms:
        if number < warmup_steps:
            return warm_up(batch)
        if number == warmup_steps:
            network.copy_feature_head()
        return joint(batch)

    network.train()
    return TrainingRun(
        network,
        objective,
        batches,
        _published_optimisers(network),
        warmup_steps + steps,
        lambda number: learning_rate,
    )


def _published_optimisers(network: RefinementNetwork) -> list[Optimizer]:
    body = [*network.hidden.parameters(), *network.feature_head.parameters()]
    head = network.membership_head.parameters()
    return [
        SGD(body, momentum=0.9, weight_decay=1e-4),
        SGD(head, momentum=0.9, weight_decay=5e-3),
    ]

"""A step of 'scalable' against the published step, in its own map and in the published network.

Run: python tests/benchmarks/bench_refine.py
"""

import math
import time
from collections.abc import Callable

import torch
from torch.nn.functional import normalize

from clusterpipe.stages.numerics.feature_map import (
    RefinementNetwork,
    linear_network,
    published_network,
)
from clusterpipe.stages.numerics.membership import neighbour_membership
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.refinement import (
    Neighbourhoods,
    neighbourhood_objective,
    neighbourhoods,
    published_objective,
)

B, D, P, NEIGHBOURS = 1024, 768, 128, 8
WIDTHS = (1024, 4096)
EPSILON_SQUARED, TEMPERATURE = 0.1, 0.15


def seconds(step: Callable[[], torch.Tensor], repeats: int) -> float:
    step().backward()
    began = time.perf_counter()
    for _ in range(repeats):
        step().backward()
    return (time.perf_counter() - began) / repeats


def main() -> None:
    torch.manual_seed(0)
    rows = normalize(torch.randn(B, D), dim=1)
    nearest = neighbours(rows.numpy(), NEIGHBOURS)
    membership = neighbour_membership(nearest.index, nearest.cosine)
    support, weight = torch.from_numpy(membership.support), torch.from_numpy(membership.weight)
    groups = neighbourhoods(support, weight, torch.arange(B))
    own = seconds(scalable(groups), 5)
    print(f"'scalable', its step     {own:7.3f} s")
    for hidden in WIDTHS:
        compare(published_network(D, hidden=hidden, width=P, seed=0), rows, groups, own)


def scalable(groups: Neighbourhoods) -> Callable[[], torch.Tensor]:
    """What the preset does: a linear map of its principal components."""
    network, projected = linear_network(P), normalize(torch.randn(B, P), dim=1)

    def loss() -> torch.Tensor:
        z = network.features(network.hidden(projected))
        return neighbourhood_objective(z, groups, epsilon_squared=EPSILON_SQUARED).loss

    return loss


def plain_loss(z: torch.Tensor) -> torch.Tensor:
    """The published objective written down as it stands: a p x p matrix per sample, no shortcut."""
    log_pi, uniform = (z @ z.T).abs() / TEMPERATURE, -math.log(B)
    for half_step in range(5):
        log_pi = log_pi + uniform - log_pi.logsumexp(dim=1 - half_step % 2, keepdim=True)
    pi = B * log_pi.exp()
    identity, total = torch.eye(P), pi.sum(dim=0)
    grams = torch.bmm(z.T * pi.T[:, None, :], z.expand(B, B, P))
    groups = torch.logdet(identity + (P / (total * EPSILON_SQUARED))[:, None, None] * grams)
    whole = torch.logdet(identity + P / (B * EPSILON_SQUARED) * z.T @ z)
    return (total * groups).sum() / (2 * B) - whole / 2 + 0.025 * pi.square().sum()


def compare(
    network: RefinementNetwork, rows: torch.Tensor, groups: Neighbourhoods, own: float
) -> None:
    """Every row is a seed: as many groups as the published objective has."""

    def outputs() -> torch.Tensor:
        return network.features(network.hidden(rows))

    def sparse() -> torch.Tensor:
        return neighbourhood_objective(outputs(), groups, epsilon_squared=EPSILON_SQUARED).loss

    def published() -> torch.Tensor:
        z = outputs()
        return published_objective(
            z, z, epsilon_squared=EPSILON_SQUARED, temperature=TEMPERATURE
        ).loss

    torch.testing.assert_close(plain_loss(outputs()), published(), rtol=1e-3, atol=1e-3)
    alone = seconds(lambda: outputs().square().sum(), 5)
    ours = seconds(sparse, 5)
    theirs = seconds(published, 1)
    plain = seconds(lambda: plain_loss(outputs()), 1)
    print(f"network alone (h={network.hidden[0].out_features})  {alone:7.3f} s")
    print(f"neighbourhoods, step    {ours:7.3f} s   {(ours - alone) / alone:5.2f} x the network")
    print(f"published, our step     {theirs:7.3f} s   {theirs / ours:5.1f} x that step")
    print(f"published, plain step   {plain:7.3f} s   {plain / ours:5.1f} x that step")
    print(f"                                      {plain / own:5.1f} x that of 'scalable'")


if __name__ == "__main__":
    main()

"""One step on neighbourhoods against one of the published objective, and the network alone.

Run: python tests/benchmarks/bench_refine.py
"""

import time
from collections.abc import Callable

import torch
from torch.nn.functional import normalize

from clusterpipe.stages.numerics.feature_map import RefinementNetwork, published_network
from clusterpipe.stages.numerics.membership import neighbour_membership
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.refinement import (
    neighbourhood_objective,
    neighbourhoods,
    published_objective,
)

B, D, P, NEIGHBOURS = 1024, 768, 128, 8
WIDTHS = (1024, 4096)


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
    for hidden in WIDTHS:
        compare(published_network(D, hidden=hidden, width=P, seed=0), rows, support, weight)


def compare(
    network: RefinementNetwork, rows: torch.Tensor, support: torch.Tensor, weight: torch.Tensor
) -> None:
    """Every row is a seed: as many groups as the published objective has."""

    def outputs() -> torch.Tensor:
        return network.features(network.hidden(rows))

    def sparse() -> torch.Tensor:
        groups = neighbourhoods(support, weight, torch.arange(B))
        return neighbourhood_objective(outputs(), groups, epsilon_squared=0.1).loss

    def published() -> torch.Tensor:
        z = outputs()
        return published_objective(z, z, epsilon_squared=0.1, temperature=0.15).loss

    alone = seconds(lambda: outputs().square().sum(), 5)
    ours = seconds(sparse, 5)
    theirs = seconds(published, 1)
    print(f"network alone (h={network.hidden[0].out_features})  {alone:7.3f} s")
    print(f"neighbourhoods, step    {ours:7.3f} s   {(ours - alone) / alone:5.2f} x the network")
    print(f"published, step         {theirs:7.3f} s   {theirs / ours:5.1f} x that step")


if __name__ == "__main__":
    main()

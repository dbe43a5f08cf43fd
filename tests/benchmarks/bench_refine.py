"""One step of the scalable objective against one of the published one, and the network alone.

Run: python tests/benchmarks/bench_refine.py
"""

import time
from collections.abc import Callable

import torch
from torch.nn.functional import normalize

from clusterpipe.stages.numerics.refinement import (
    published_network,
    published_objective,
    sparse_objective,
)

B, D, P, HIDDEN = 1024, 768, 128, 1024


def seconds(step: Callable[[], torch.Tensor], repeats: int) -> float:
    step().backward()
    began = time.perf_counter()
    for _ in range(repeats):
        step().backward()
    return (time.perf_counter() - began) / repeats


def main() -> None:
    torch.manual_seed(0)
    rows = normalize(torch.randn(B, D), dim=1)
    network = published_network(D, hidden=HIDDEN, width=P, seed=0)

    def outputs() -> torch.Tensor:
        return network.features(network.hidden(rows))

    def sparse() -> torch.Tensor:
        terms = sparse_objective(
            outputs(), epsilon_squared=0.1, temperature=0.15, neighbours=24, weight=1.0
        )
        return terms.loss

    def published() -> torch.Tensor:
        z = outputs()
        return published_objective(z, z, epsilon_squared=0.1, temperature=0.15).loss

    alone = seconds(lambda: outputs().square().sum(), 5)
    ours = seconds(sparse, 5)
    theirs = seconds(published, 1)
    print(f"network alone (h={HIDDEN})   {alone:7.3f} s")
    print(f"sparse objective, step   {ours:7.3f} s   {(ours - alone) / alone:5.2f} x the network")
    print(f"published objective, step{theirs:7.3f} s   {theirs / ours:5.1f} x the sparse step")


if __name__ == "__main__":
    main()

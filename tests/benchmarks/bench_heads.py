"""Images a head learns from per second, against the bare cost of its matrix products.

Run: python tests/benchmarks/bench_heads.py
"""

import time
from collections.abc import Callable

import torch

from clusterpipe.stages.numerics.refinement import shuffled_batches
from clusterpipe.stages.numerics.turtle import Recipe, TaskEncoder, random_maps, train

N, D, K, STEPS = 20_000, 128, 10, 20
TURTLE = Recipe(
    steps=STEPS,
    inner_steps=5,
    learning_rate=3e-3,
    inner_learning_rate=1e-2,
    balance=10.0,
    batch=1024,
    cold=False,
    decay=True,
)


def seconds(work: Callable[[], object]) -> float:
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def turtle(rows: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    encoder = TaskEncoder(random_maps([D], K, generator))
    batches = shuffled_batches(N, TURTLE.batch, generator)
    prior = torch.full((K,), 1 / K)
    for _ in train(encoder, [rows], prior, TURTLE, batches, generator):
        pass


def products_of_turtle(rows: torch.Tensor) -> None:
    """Forward and backward of every inner and outer step, and the classifiers' last forward."""
    batch, weight = rows[: TURTLE.batch], torch.zeros(K, D)
    logits = batch @ weight.T
    for _ in range(STEPS * (2 * TURTLE.inner_steps + 3) // 2):
        batch @ weight.T
        logits.T @ batch


def main() -> None:
    rows = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    whole, bare = seconds(lambda: turtle(rows)), seconds(lambda: products_of_turtle(rows))
    rate = STEPS * TURTLE.batch / whole
    print(f"turtle  {rate:9,.0f} images/s  {whole / bare:5.1f} x its matrix products")


if __name__ == "__main__":
    main()

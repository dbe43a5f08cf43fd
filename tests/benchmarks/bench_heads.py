"""Images that heads learn from per second, against the bare cost of their matrix products.

Run: python tests/benchmarks/bench_heads.py [HEAD ...]

Each head trains as by default, but for less long, on 20,000 random rows of width 128, 10 clusters.
The matrix products that torch computes, forward and backward, are noted by their shapes in a first
run; then the training is timed, and then the same products alone. An image counts each time that it
is in a batch. What comes before training (k-means, neighbours, words) is random and not timed.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clusterpipe.stages.numerics import scp, self_labelling, tac, temi, turtle
from clusterpipe.stages.numerics.perceptron import perceptron
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.refinement import shuffled_batches

N, D, K, EPOCHS, STEPS, BATCH = 20_000, 128, 10, 3, 100, 512
RNG = np.random.default_rng(0)
ROWS, LABEL = unit_rows(RNG.normal(size=(N, D))), RNG.integers(K, size=N)
NEAR, EVEN = RNG.integers(N, size=(N, 10)), np.full(K, 1 / K)
EVERY_EPOCH = N // BATCH * BATCH
PRODUCTS = [getattr(torch.ops.aten, name) for name in ("mm", "addmm", "bmm", "baddbmm")]


@dataclass(frozen=True)
class Training:
    """`begin` gives a training, which runs as it is iterated; images: in all of its batches."""

    begin: Callable[[], Iterable[object]]
    images: int


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def turtle_training() -> Iterable[object]:
    recipe = turtle.TurtleRecipe(STEPS, 5, 3e-3, 1e-2, 10.0, 1024, cold=False, decay=True)
    encoder = turtle.TaskEncoder(turtle.random_maps([D], K, generator()))
    rows, prior = [torch.from_numpy(ROWS)], torch.from_numpy(EVEN).float()
    batches = shuffled_batches(N, recipe.batch, generator())
    return turtle.train(encoder, rows, prior, recipe, batches, generator())


def scp_training() -> Iterable[object]:
    recipe = scp.ScpRecipe(EPOCHS, 0, BATCH, 1e-3, 1.0, 1.0, 1.0)
    network = perceptron(D, K, layers=5, width=128, seed=0)
    pairs = scp.neighbour_pairs(ROWS, NEAR)
    return scp.train(network, pairs, EVEN, recipe, start=None, n=N, seed=0)


def temi_training() -> Iterable[object]:
    recipe = temi.TemiRecipe(EPOCHS, 0, 0, BATCH, 10 * temi.RATE_PER_256, 0.98, 0.6)
    student, teacher = (temi.Heads(4, D, K, width=128, bottleneck=64, seed=0) for _ in range(2))
    pairs = scp.neighbour_pairs(ROWS, NEAR)
    return temi.train(student, teacher, pairs, recipe, start=np.stack([LABEL] * 4), n=N, seed=0)


def tac_training() -> Iterable[object]:
    rows, near = torch.from_numpy(ROWS), torch.from_numpy(NEAR)
    pairs = tac.Pairs(rows, rows.flip(0), near, near)
    weights = tac.Weights(balance=5.0, temperature=0.5)
    heads = tac.two_heads(D, K)
    return tac.train(heads, pairs, steps=STEPS, batch=BATCH, weights=weights, seed=0)


def self_label_training() -> Iterable[object]:
    recipe = self_labelling.SelfLabellingRecipe(epochs=EPOCHS)
    network = perceptron(D, K, layers=2, width=256, seed=0)
    looks = scp.noise_pairs(ROWS, 0.18)
    return self_labelling.learn(network, looks, LABEL, np.arange(N), generator(), recipe=recipe)


HEADS: Mapping[str, Training] = {
    "turtle": Training(turtle_training, STEPS * 1024),
    "scp": Training(scp_training, EPOCHS * EVERY_EPOCH),
    "temi": Training(temi_training, EPOCHS * EVERY_EPOCH),
    "tac-trained": Training(tac_training, STEPS * BATCH),
    "self-label": Training(self_label_training, EPOCHS * N),
}


class Noted(TorchDispatchMode):
    """Notes each matrix product that is computed within: which, and the layout of its operands."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[Any, list[tuple[Any, Any]]]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function.overloadpacket in PRODUCTS:
            self.products.append((function, [(one.shape, one.stride()) for one in args]))
        return function(*args, **kwargs or {})


def bare_products(training: Training) -> Callable[[], None]:
    """The products of a training, on operands like its own."""
    with Noted() as noted:
        finish(training)
    layouts = {layout for _, operands in noted.products for layout in operands}
    stand_in = {layout: torch.empty_strided(*layout).fill_(0.5) for layout in layouts}

    def repeat() -> None:
        for function, operands in noted.products:
            function(*(stand_in[layout] for layout in operands))

    return repeat


def finish(training: Training) -> None:
    for _ in training.begin():
        pass


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    for name in sys.argv[1:] or HEADS:
        training = HEADS[name]
        bare = bare_products(training)
        rounds = [(seconds(partial(finish, training)), seconds(bare)) for _ in range(3)]
        whole, products = np.min(rounds, axis=0)
        rate = training.images / whole
        print(f"{name:12} {rate:9,.0f} images/s  {whole / products:5.1f} x its matrix products")


if __name__ == "__main__":
    main()

"""What cluster heads are worth, and what `auto` makes of them, as Markdown.

Run: python tests/benchmarks/table_heads.py [--methods=A,B,...] NAME=FILE ...

FILE, splits and scoring are those of table_refine.py; with `zipf:FILE` the r-th class, in an order
drawn once, keeps r^-0.7 of its images and at least 5. Everything is done anew for each of 5 seeds,
with the default settings: refinement, and of each head five fits, of which the one that the run
would stand by is scored. The first two columns are k-means in the features as embedded, as they are
and less their mean direction. `auto` is the consensus of the heads before it, which are chosen from
without labels; `scp` and `temi` after it are no candidates. With --methods there are those only.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from table_refine import SEEDS, Labelled, cell, read

from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.numerics.feature_map import apply_map
from clusterpipe.stages.numerics.metrics import agreement
from clusterpipe.stages.refine import refine

ZIPF_POWER, LEAST = 0.7, 5
RAW, CENTRED, AUTO, CHANCE = "raw k-means", "centred k-means", "auto", "chance"
KMEANS = "spherical-kmeans"
AGAIN = f"{KMEANS}:embeddings"  # a candidate, and what the second column is
NO_CANDIDATES = ("scp", "temi")


def zipf(data: Labelled) -> Labelled:
    """A sample of all rows, fitted and scored whole, whose class sizes fall by a power law."""
    rng, kept = np.random.default_rng(0), []
    for rank, label in enumerate(rng.permutation(data.label.max() + 1), 1):
        rows = np.flatnonzero(data.label == label)
        kept.append(rng.permutation(rows)[: max(LEAST, round(len(rows) * rank**-ZIPF_POWER))])
    index = np.sort(np.concatenate(kept))
    everything = np.full(len(index), True)
    return Labelled(data.features[index], data.label[index], everything, everything)


def clusters(
    data: Labelled,
    rows: NDArray[np.float32],
    methods: Sequence[str],
    seed: int,
    *,
    center: bool = True,
    embedded: NDArray[np.float32] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """The labels (n,) by every method."""
    config = AssignConfig(methods=tuple(methods), center=center, fit_split="fit")
    split = np.where(data.fitted, "fit", "").astype(object)
    k = len(np.unique(data.label))
    found = assign(rows, k, config, split=split, embedded=embedded, seed=seed)
    return {name: np.asarray(method.label) for name, method in found.methods.items()}


def columns(
    data: Labelled, runs: Sequence[Sequence[str]], seed: int
) -> dict[str, NDArray[np.int64]]:
    """The labels (n,) of every column for one seed; each of the runs has methods of its own."""
    refined = apply_map(refine(data.features[data.fitted], seed=seed).parameters, data.features)
    labels: dict[str, NDArray[np.int64]] = {}
    for methods in runs:
        labels |= clusters(data, refined, methods, seed, embedded=data.features)
    labels.pop(AGAIN, None)
    plain = {
        name: clusters(data, data.features, [KMEANS], seed, center=name == CENTRED)[KMEANS]
        for name in (RAW, CENTRED)
    }
    last = list(labels.values())[-1]
    chance = np.random.default_rng(seed).permutation(last)
    return {**plain, **labels, CHANCE: chance}


def scores(data: Labelled, label: NDArray[np.int64]) -> list[float]:
    """Accuracy, NMI and ARI."""
    agreed = agreement(data.label[data.scored], label[data.scored])
    return [agreed.accuracy, agreed.nmi, agreed.ari]


def main() -> None:
    given = [argument for argument in sys.argv[1:] if argument.startswith("--methods=")]
    runs = [given[0].partition("=")[2].split(",")] if given else [[AUTO], NO_CANDIDATES]
    titles: list[str] = []
    for argument in sys.argv[1 + len(given) :]:
        name, _, file = argument.partition("=")
        data = read(Path(file.removeprefix("zipf:")))
        data = zipf(data) if file.startswith("zipf:") else data
        by_seed = [columns(data, runs, seed) for seed in SEEDS]
        if not titles:
            titles = list(by_seed[0])
            shown = [AUTO if t == "consensus" and not given else t for t in titles]
            print("| set | " + " | ".join(shown) + " |\n|---|" + "---|" * len(shown), flush=True)
        cells = (cell(np.array([scores(data, one[c]) for one in by_seed])) for c in titles)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

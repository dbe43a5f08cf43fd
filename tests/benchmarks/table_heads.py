"""What cluster heads are worth, and which one `auto` takes, as Markdown.

Run: python tests/benchmarks/table_heads.py [--methods=A,B,...] NAME=FILE ...

FILE, splits and scoring are those of table_refine.py; with `zipf:FILE` the r-th class, in an order
drawn once, keeps r^-0.7 of its images and at least 5. Refinement and heads are drawn anew for each
of 5 seeds, one fit each; k-means has 10 restarts. Heads cluster the refined features; the first two
columns are k-means in the features as embedded, as they are and less their mean direction. `auto`
chooses among assign.candidates anew for each seed, without labels.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from table_refine import SEEDS, Labelled, cell, read

from clusterpipe.cache.schema import Assignments
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.numerics.feature_map import apply_map
from clusterpipe.stages.numerics.metrics import agreement
from clusterpipe.stages.refine import refine

ZIPF_POWER, LEAST = 0.7, 5
METHODS = ("spherical-kmeans", "spectral", "coding-length", "turtle", "consensus")
RAW, CENTRED, AUTO, CHANCE = "raw k-means", "centred k-means", "auto", "chance"
KMEANS = "spherical-kmeans"


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
    data: Labelled, rows: NDArray[np.float32], methods: Sequence[str], seed: int, center: bool
) -> Assignments:
    config = AssignConfig(
        methods=tuple(methods), seeds=1, restarts=10, center=center, fit_split="fit"
    )
    split = np.where(data.fitted, "fit", "").astype(object)
    return assign(rows, len(np.unique(data.label)), config, split=split, seed=seed)


def columns(data: Labelled, methods: Sequence[str], seed: int) -> dict[str, NDArray[np.int64]]:
    """The labels (n,) of every column for one seed."""
    refined = apply_map(refine(data.features[data.fitted], seed=seed).parameters, data.features)
    found = clusters(data, refined, methods, seed, True)
    labels = {name: np.asarray(method.label) for name, method in found.methods.items()}
    best = _choice(found)
    print(f"seed {seed}: auto takes {best}", file=sys.stderr, flush=True)
    plain = {
        name: clusters(data, data.features, [KMEANS], seed, name == CENTRED).methods[KMEANS].label
        for name in (RAW, CENTRED)
    }
    chance = np.random.default_rng(seed).permutation(labels[best])
    return {**plain, **labels, AUTO: labels[best], CHANCE: chance}


def _choice(found: Assignments) -> str:
    """What `auto` would take of the methods that ran."""
    scores = dict(zip(found.selection_method, found.selection_score, strict=True))  # type: ignore[arg-type]
    return max((n for n in AssignConfig().candidates if n in scores), key=lambda n: scores[n])


def scores(data: Labelled, label: NDArray[np.int64]) -> list[float]:
    """Accuracy, NMI and ARI."""
    agreed = agreement(data.label[data.scored], label[data.scored])
    return [agreed.accuracy, agreed.nmi, agreed.ari]


def main() -> None:
    given = [argument for argument in sys.argv[1:] if argument.startswith("--methods=")]
    methods = given[0].partition("=")[2].split(",") if given else METHODS
    names = [RAW, CENTRED, *methods, AUTO, CHANCE]
    print("| set | " + " | ".join(names) + " |\n|---|" + "---|" * len(names), flush=True)
    for argument in sys.argv[1 + len(given) :]:
        name, _, file = argument.partition("=")
        data = read(Path(file.removeprefix("zipf:")))
        data = zipf(data) if file.startswith("zipf:") else data
        by_seed = [columns(data, methods, seed) for seed in SEEDS]
        cells = (cell(np.array([scores(data, one[c]) for one in by_seed])) for c in names)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

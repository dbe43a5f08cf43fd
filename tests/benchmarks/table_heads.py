"""What cluster heads are worth on features as embedded and refined, as Markdown.

Run: python tests/benchmarks/table_heads.py METHOD[,METHOD...] NAME=FILE ...

FILE, splits and scoring are those of table_refine.py; with `zipf:FILE` the r-th class, in an order
drawn once, keeps r^-0.7 of its images and at least 5. Refinement and heads are drawn anew for each
of 5 seeds, one fit each; k-means has 10 restarts.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from table_refine import SEEDS, Labelled, cell, read

from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.numerics.feature_map import apply_map
from clusterpipe.stages.numerics.metrics import agreement
from clusterpipe.stages.refine import refine

ZIPF_POWER, LEAST = 0.7, 5


def zipf(data: Labelled) -> Labelled:
    """A sample of all rows, fitted and scored whole, whose class sizes fall by a power law."""
    rng, kept = np.random.default_rng(0), []
    for rank, label in enumerate(rng.permutation(data.label.max() + 1), 1):
        rows = np.flatnonzero(data.label == label)
        kept.append(rng.permutation(rows)[: max(LEAST, round(len(rows) * rank**-ZIPF_POWER))])
    index = np.sort(np.concatenate(kept))
    everything = np.full(len(index), True)
    return Labelled(data.features[index], data.label[index], everything, everything)


def features(data: Labelled, kind: str, seed: int) -> NDArray[np.float32]:
    if kind == "embedded":
        return data.features
    return apply_map(refine(data.features[data.fitted], seed=seed).parameters, data.features)


def scores(data: Labelled, rows: NDArray[np.float32], method: str, seed: int) -> list[float]:
    """Accuracy, NMI and ARI."""
    config = AssignConfig(methods=(method,), seeds=1, restarts=10, fit_split="fit")
    split = np.where(data.fitted, "fit", "").astype(object)
    k = len(np.unique(data.label))
    found = assign(rows, k, config, split=split, seed=seed).methods[method].label
    agreed = agreement(data.label[data.scored], found[data.scored])
    return [agreed.accuracy, agreed.nmi, agreed.ari]


def main() -> None:
    methods = sys.argv[1].split(",")
    columns = [(kind, method) for kind in ("embedded", "refined") for method in methods]
    print("| set | " + " | ".join(" ".join(column) for column in columns) + " |")
    print("|---|" + "---|" * len(columns), flush=True)
    for argument in sys.argv[2:]:
        name, _, file = argument.partition("=")
        data = read(Path(file.removeprefix("zipf:")))
        data = zipf(data) if file.startswith("zipf:") else data
        found: dict[tuple[str, str], list[list[float]]] = {column: [] for column in columns}
        for seed in SEEDS:
            for kind in ("embedded", "refined"):
                rows = features(data, kind, seed)
                for method in methods:
                    found[kind, method].append(scores(data, rows, method, seed))
        cells = (cell(np.array(values)) for values in found.values())
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

"""What assign.finish = self-label does to the labels of other methods, as Markdown.

Run: python tests/benchmarks/table_finish.py NAME=FILE ...

FILE, splits and scoring are those of table_refine.py. For each of 5 seeds the features are refined
and every method is fitted once (k-means with 10 restarts), and scored before and after a student
has learnt its labels.
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

METHODS = ("spherical-kmeans", "spectral", "turtle")
FINISHES = ("none", "self-label")


def scores(data: Labelled, seed: int) -> NDArray[np.float64]:
    """Accuracy, NMI and ARI of each method, before and after: (methods, 2, 3)."""
    refined = apply_map(refine(data.features[data.fitted], seed=seed).parameters, data.features)
    split, k = np.where(data.fitted, "fit", "").astype(object), len(np.unique(data.label))
    found = np.empty((len(METHODS), len(FINISHES), 3))
    for after, finish in enumerate(FINISHES):
        config = AssignConfig(methods=METHODS, seeds=1, restarts=10, fit_split="fit", finish=finish)
        methods = assign(refined, k, config, split=split, seed=seed).methods
        for at, name in enumerate(METHODS):
            agreed = agreement(data.label[data.scored], methods[name].label[data.scored])
            found[at, after] = agreed.accuracy, agreed.nmi, agreed.ari
    return found


def main() -> None:
    columns = [f"{method}{', finished' * after}" for method in METHODS for after in range(2)]
    print("| set | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns), flush=True)
    for argument in sys.argv[1:]:
        name, _, file = argument.partition("=")
        data = read(Path(file))
        table = np.stack([scores(data, seed) for seed in SEEDS], axis=2)
        cells = (cell(by_seed) for method in table for by_seed in method)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
        gain = (table[:, 1] - table[:, 0])[..., 0]
        error = gain.std(axis=1, ddof=1) / np.sqrt(gain.shape[1])
        for method, mean, e in zip(METHODS, gain.mean(axis=1), error, strict=True):
            print(f"{name}: {method} finished {mean:+.3f} ± {e:.3f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

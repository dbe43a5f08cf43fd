"""What refine is worth: the same clusterers on features as embedded and refined, as Markdown.

Run: python tests/benchmarks/table_refine.py NAME=FILE ...

FILE is an .npz with `features`, `labels` and perhaps `split`, or an embeddings.h5. The number of
clusters is that of the classes; labels score, and do nothing else. Where there are rows of both
splits, `train` and `test`, everything is fitted on the former and scored on the latter, else fitted
and scored on all. Refinement and clustering are drawn anew for each of 5 seeds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.schema import Embeddings
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.numerics.feature_map import apply_map
from clusterpipe.stages.numerics.metrics import agreement
from clusterpipe.stages.refine import refine

SEEDS = range(5)
COLUMNS = {
    "raw k-means": ("embeddings", "spherical-kmeans", False),
    "centred k-means": ("embeddings", "spherical-kmeans", True),
    "centred spectral": ("embeddings", "spectral", True),
    "refined k-means": ("refined", "spherical-kmeans", True),
    "refined spectral": ("refined", "spectral", True),
}


@dataclass(frozen=True)
class Labelled:
    """features: (n, d); label: (n,); fitted, scored: (n,) which rows are."""

    features: NDArray[np.float32]
    label: NDArray[np.int64]
    fitted: NDArray[np.bool_]
    scored: NDArray[np.bool_]


def read(file: Path) -> Labelled:
    if file.suffix == ".h5":
        index = artifact.read(file, Embeddings)
        features = index.spaces[index.default_space].features[:]
        label, split = index.label, index.split
    else:
        arrays = np.load(file)
        features, label, split = arrays["features"], arrays["labels"], arrays.get("split")
    _, label = np.unique(label, return_inverse=True)
    everything = np.full(len(label), True)
    if split is None or not {"train", "test"} <= set(split):
        return Labelled(features.astype(np.float32), label, everything, everything)
    return Labelled(features.astype(np.float32), label, split == "train", split == "test")


def scores(data: Labelled, column: str, seed: int) -> list[float]:
    """Accuracy, NMI and ARI."""
    kind, method, center = COLUMNS[column]
    rows = data.features
    if kind == "refined":
        rows = apply_map(refine(rows[data.fitted], seed=seed).parameters, rows)
    config = AssignConfig(methods=(method,), seeds=1, restarts=10, center=center, fit_split="fit")
    split = np.where(data.fitted, "fit", "").astype(object)
    k = len(np.unique(data.label))
    found = assign(rows, k, config, split=split, seed=seed).methods[method].label
    agreed = agreement(data.label[data.scored], found[data.scored])
    return [agreed.accuracy, agreed.nmi, agreed.ari]


def main() -> None:
    print("| set | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
    for argument in sys.argv[1:]:
        name, _, file = argument.partition("=")
        data = read(Path(file))
        table = {c: np.array([scores(data, c, seed) for seed in SEEDS]) for c in COLUMNS}
        print(f"| {name} | " + " | ".join(cell(values) for values in table.values()) + " |")
        gain = (table["refined k-means"] - table["centred k-means"])[:, 0]
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        print(
            f"{name}: refined - centred k-means {gain.mean():+.3f} ± {error:.3f}", file=sys.stderr
        )


def cell(values: NDArray[np.float64]) -> str:
    """Accuracy with its deviation over seeds, NMI, ARI."""
    accuracy, nmi, ari = values.mean(axis=0)
    return f"{accuracy:.3f} ± {values[:, 0].std():.3f} / {nmi:.3f} / {ari:.3f}"


if __name__ == "__main__":
    main()

"""What refine is worth: the same clusterers on features as embedded and refined, as Markdown.

Run: python tests/benchmarks/table_refine.py NAME=FILE ...

FILE is an .npz with `features`, `labels` and perhaps `split`, or an embeddings.h5. The number of
clusters is that of the classes; labels score, and do nothing else. Where there are rows of both
splits, `train` and `test`, everything is fitted on the former and scored on the latter, else fitted
and scored on all. Refinement and clustering are drawn anew for each of 5 seeds.

With --splits=N before the sets, it says instead what k-means gains by refinement over N random
splits of all images: fitted on four fifths of each class, scored on the rest.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
COMPARED = ("refined", "centred")


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


def redrawn(data: Labelled, seed: int) -> Labelled:
    """The same images, of which four fifths of each class are fitted and the rest is scored."""
    order = np.random.default_rng(seed).permutation(len(data.label))
    order = order[np.argsort(data.label[order], kind="stable")]
    size = np.bincount(data.label)
    place = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    fitted = np.empty(len(order), np.bool_)
    fitted[order] = place < np.repeat(np.maximum(1, np.round(0.8 * size)), size)
    return replace(data, fitted=fitted, scored=~fitted)


def gains_over_splits(data: Labelled, count: int) -> NDArray[np.float64]:
    """(count,) accuracy of refined less that of centred k-means, each on a split of its own."""
    gains = []
    for seed in range(count):
        split = redrawn(data, seed)
        refined, centred = (scores(split, f"{name} k-means", seed) for name in COMPARED)
        gains.append(refined[0] - centred[0])
    return np.array(gains)


def told(name: str, gain: NDArray[np.float64]) -> str:
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    better, worse = (gain > 0).sum(), (gain < 0).sum()
    what = f"{name}: refined - centred k-means {gain.mean():+.3f} ± {error:.3f}"
    return f"{what}, better in {better} of {len(gain)}, worse in {worse}"


def main() -> None:
    if sys.argv[1].startswith("--splits="):
        count = int(sys.argv.pop(1).removeprefix("--splits="))
        for name, data in named_sets():
            print(told(name, gains_over_splits(data, count)), flush=True)
        return
    print("| set | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
    for name, data in named_sets():
        table = {c: np.array([scores(data, c, seed) for seed in SEEDS]) for c in COLUMNS}
        print(f"| {name} | " + " | ".join(cell(values) for values in table.values()) + " |")
        refined, centred = (table[f"{which} k-means"][:, 0] for which in COMPARED)
        print(told(name, refined - centred), file=sys.stderr)


def named_sets() -> Iterator[tuple[str, Labelled]]:
    for argument in sys.argv[1:]:
        name, _, file = argument.partition("=")
        yield name, read(Path(file))


def cell(values: NDArray[np.float64]) -> str:
    """Accuracy with its deviation over seeds, NMI, ARI."""
    accuracy, nmi, ari = values.mean(axis=0)
    return f"{accuracy:.3f} ± {values[:, 0].std():.3f} / {nmi:.3f} / {ari:.3f}"


if __name__ == "__main__":
    main()

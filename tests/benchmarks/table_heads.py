"""What cluster heads are worth, what `auto` makes of them, and how sure they are, as Markdown.

Run: python tests/benchmarks/table_heads.py [--methods=A,B,...] [--seeds=N] NAME=FILE ...

FILE, splits and scoring are those of table_refine.py; with `zipf:FILE` the r-th class, in an order
drawn once, keeps r^-0.7 of its images and at least 5. Everything is done anew for each of 5 seeds
(or N), with the default settings: refinement, and of each head the fits, of which the one that the
run would stand by is scored. The first two columns are k-means in the features as embedded, as they
are and less their mean direction. `auto` is what it stands by, one of those before it. With
--methods there are those only, each for itself.

Three tables: accuracy with its deviation over seeds, NMI and ARI; the expected calibration error of
each method; and how well `curate` tells images of the other sets given, of the same width, a tenth
as many, from those of a set (area under the curve of its isolation).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from table_refine import SEEDS, Labelled, cell, read

from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.curate import curate
from clusterpipe.stages.numerics.feature_map import apply_map
from clusterpipe.stages.numerics.metrics import agreement, contingency, one_to_one
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.refine import refine

ZIPF_POWER, LEAST = 0.7, 5
RAW, CENTRED, AUTO, CHANCE = "raw k-means", "centred k-means", "auto", "chance"
KMEANS = "spherical-kmeans"
BINS = 15  # of the calibration error
FOREIGN = 0.1  # as many foreign images as images, times this


@dataclass(frozen=True)
class Found:
    """label, probability: (n,) by one method."""

    label: NDArray[np.int64]
    probability: NDArray[np.float32]


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
) -> dict[str, Found]:
    """What every method makes of all rows."""
    config = AssignConfig(methods=tuple(methods), center=center, fit_split="fit")
    split = np.where(data.fitted, "fit", "").astype(object)
    k = len(np.unique(data.label))
    found = assign(rows, k, config, split=split, embedded=embedded, seed=seed)
    stood_by = {AUTO: found.methods[found.chosen]} if tuple(methods) == (AUTO,) else {}
    return {
        name: Found(np.asarray(one.label, np.int64), np.asarray(one.probability))
        for name, one in {**found.methods, **stood_by}.items()
    }


def columns(data: Labelled, methods: Sequence[str], seed: int) -> dict[str, Found]:
    """What stands in every column for one seed."""
    refined = apply_map(refine(data.features[data.fitted], seed=seed).parameters, data.features)
    found = clusters(data, refined, methods, seed, embedded=data.features)
    plain = {
        name: clusters(data, data.features, [KMEANS], seed, center=name == CENTRED)[KMEANS]
        for name in (RAW, CENTRED)
    }
    last = list(found.values())[-1]
    chance = Found(np.random.default_rng(seed).permutation(last.label), last.probability)
    return {**plain, **found, CHANCE: chance}


def scores(data: Labelled, found: Found) -> list[float]:
    """Accuracy, NMI and ARI."""
    agreed = agreement(data.label[data.scored], found.label[data.scored])
    return [agreed.accuracy, agreed.nmi, agreed.ari]


def calibration_error(data: Labelled, found: Found) -> float:
    """Expected calibration error: mean gap, over bins, of probability and accuracy."""
    truth, label = data.label[data.scored], found.label[data.scored]
    sure = found.probability[data.scored]
    right = one_to_one(contingency(label, truth))[label] == truth
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, right - sure.astype(float), minlength=BINS)
    return float(np.abs(gaps).sum() / len(sure))


def foreign_told(data: Labelled, others: Sequence[Labelled], seed: int) -> float:
    """Area under the curve of curate's isolation, for images of other sets mixed in; NaN alone."""
    width, rng = data.features.shape[1], np.random.default_rng(seed)
    rows = [unit_rows(other.features) for other in others if other.features.shape[1] == width]
    if not rows:
        return float("nan")
    count = max(1, round(FOREIGN * len(data.label) / len(rows)))
    parts = [own[rng.permutation(len(own))[:count]] for own in rows]
    mixed = np.concatenate([unit_rows(data.features), *parts])
    return float(
        roc_auc_score(np.arange(len(mixed)) >= len(data.label), curate(mixed, seed=seed).isolation)
    )


def sets(arguments: Sequence[str]) -> Iterator[tuple[str, Labelled]]:
    for argument in arguments:
        name, _, file = argument.partition("=")
        data = read(Path(file.removeprefix("zipf:")))
        yield name, zipf(data) if file.startswith("zipf:") else data


def row(name: str, cells: Sequence[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def heading(titles: Sequence[str]) -> None:
    row("set", titles)
    print("|---|" + "---|" * len(titles), flush=True)


def main() -> None:
    options = dict(a.removeprefix("--").split("=", 1) for a in sys.argv[1:] if a[:2] == "--")
    methods = options.get("methods", AUTO).split(",")
    seeds = SEEDS[: int(options.get("seeds", len(SEEDS)))]
    given = dict(sets([a for a in sys.argv[1:] if a[:2] != "--"]))
    errors: dict[str, list[str]] = {}
    for name, data in given.items():
        by_seed = [columns(data, methods, seed) for seed in seeds]
        titles = list(by_seed[0])
        if not errors:
            heading(titles)
        row(name, [cell(np.array([scores(data, one[t]) for one in by_seed])) for t in titles])
        means = {t: np.mean([calibration_error(data, one[t]) for one in by_seed]) for t in titles}
        told = [foreign_told(data, [d for d in given.values() if d is not data], s) for s in seeds]
        shown = [f"{means[t]:.3f}" for t in titles if t != CHANCE]
        errors[name] = [*shown, f"{np.mean(told):.3f} ± {np.std(told):.3f}"]
    print()
    heading([f"ECE, {t}" for t in titles if t != CHANCE] + ["foreign images told"])
    for name, cells in errors.items():
        row(name, cells)


if __name__ == "__main__":
    main()

"""Text of the page: overview, curve, confusion, skipped files, provenance."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.schema import ARTIFACTS, Curation, KEstimate, Metrics
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.pipeline.engine.units import duration
from clusterpipe.pipeline.report.curve import curve
from clusterpipe.pipeline.results.correcting import logged
from clusterpipe.pipeline.results.outcome import outcome as outcome_of
from clusterpipe.pipeline.results.reading import Results, out_of_date

HEADLINE = ("accuracy", "nmi", "silhouette")
SKIPPED = 1000
CELLS = 20_000  # of a confusion matrix; beyond, nobody reads it

MAP_NOTES = {
    "umap": "Laid out by UMAP.",
    "tsne": "Laid out by t-SNE: neighbours are close, but distances between groups and their sizes "
    "mean nothing.",
    "pca": "The two leading principal components of the features.",
}


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix; `share` is the percentage of the true class."""

    cluster: int
    count: int
    share: int


@dataclass(frozen=True)
class Row:
    """One true class."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Confusion:
    """Classes by clusters, ordered so that what belongs together lies on the diagonal."""

    clusters: tuple[int, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class StageRecord:
    """Record of one stage: how its artifact came to be."""

    name: str
    time: str
    device: str
    created: str
    seed: int
    settings: dict[str, str]


def page_context(
    results: Results, config: Config, kind: NDArray[np.str_], shown: int, map_method: str, gone: int
) -> dict[str, Any]:
    """The variables of the template; of the `shown` images, the originals of `gone` are missing."""
    outcome = outcome_of(results.run, config)
    index = results.index
    remarks = [*out_of_date(results.run), *outcome.remarks]
    if shown < len(index.id):
        remarks.append(f"{shown:,} of the {len(index.id):,} images are shown here.")
    if gone:
        remarks.append(f"{gone:,} originals are no longer where the run found them.")
    chosen = [row for row in outcome.metrics if row["method"] == results.method]
    return {
        "title": Path(config.source.path).name or str(config.source.path),
        "version": version("clusterpipe"),
        "outcome": outcome,
        "headline": [row for row in chosen if row["metric"] in HEADLINE],
        "doubtful": int((kind == "doubtful").sum()),
        "outliers": int((kind == "outlier").sum()),
        "remarks": remarks,
        "captions": results.captions,
        "classes": results.class_names,
        "dated": index.taken is not None and any(index.taken),
        "map_note": MAP_NOTES[map_method],
        "curve": _curve(results, outcome.k_estimated is not None),
        "confusion": _confusion(results),
        "curation": _curation_settings(results),
        "log": list(logged(results.run)),
        "skipped": list(zip(index.skipped_path, index.skipped_reason, strict=True))[:SKIPPED],
        "stages": list(_stages(results)),
        "source": config.source.path,
        "run": results.run.folder.absolute(),
        "spaces": [
            {"name": name, "backbone": space.backbone, "weights": space.weights}
            for name, space in index.spaces.items()
        ],
        "packages": _packages(results),
    }


def percent(share: float) -> str:
    """A share in whole percent; never 0 or 100 for what is not. As `percent` in basics.js."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{100 * share:.0f}%"


def _curve(results: Results, estimated: bool) -> Any:
    if not estimated or not describes(KEstimate, results.run):
        return None
    estimate = artifact.read(results.run.artifact(KEstimate), KEstimate)
    return curve(estimate, len(results.index.id))


def _curation_settings(results: Results) -> dict[str, Any] | None:
    if results.curation is None:
        return None
    header = artifact.header(results.run.artifact(Curation), Curation)
    return dict(header.identity.config)


def _confusion(results: Results) -> Confusion | None:
    names = results.index.class_name
    if names is None or not describes(Metrics, results.run):
        return None
    counts = artifact.read(results.run.artifact(Metrics), Metrics).confusion
    if counts is None or counts.size > CELLS:
        return None
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = np.flatnonzero(counts.sum(axis=1))
    main = counts.argmax(axis=0)
    held = [k for k in range(counts.shape[1]) if len(results.members(k)) or not results.corrections]
    clusters = sorted(held, key=lambda k: (main[k], -counts[main[k], k]))
    return Confusion(
        clusters=tuple(clusters),
        rows=tuple(
            Row(
                str(names[c]),
                tuple(Cell(k, int(counts[c, k]), round(100 * share[c, k])) for k in clusters),
            )
            for c in classes
        ),
    )


def _stages(results: Results) -> Any:
    for kind in ARTIFACTS:
        path = results.run.artifact(kind)
        if not path.exists():
            continue
        found = artifact.header(path).attributes
        config = {**json.loads(found["config"]), **json.loads(found["how"])}
        yield StageRecord(
            name=str(found["stage"]) + ("" if describes(kind, results.run) else " (out of date)"),
            time=duration(float(found["seconds"])),
            device=str(found["device"]),
            created=str(found["created"]).replace("T", " ").replace("+00:00", " UTC"),
            seed=int(found["seed"]),
            settings={
                name: json.dumps(value, ensure_ascii=False) for name, value in config.items()
            },
        )


def _packages(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind in ARTIFACTS:
        if (path := results.run.artifact(kind)).exists():
            found |= json.loads(artifact.header(path).attributes["packages"])
    return found

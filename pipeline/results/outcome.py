"""The outcome of a run: what its artifacts say, as plain values."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from clusterpipe.cache import artifact
from clusterpipe.cache.inventory import images
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import (
    Captions,
    Corrections,
    Curation,
    Embeddings,
    KEstimate,
    Metrics,
)
from clusterpipe.cache.sources import SourceConfig, account
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.pipeline.results.reading import outdated
from clusterpipe.pipeline.results.standing import (
    Standing,
    cluster_captions,
    standing_if_current,
)

DEMONSTRATION = (
    "This is a demonstration, not a benchmark: crops of one photograph are easy to group. "
    "Give a folder of your own: clusterpipe run-all FOLDER"
)
SUPERVISED = (
    "The packaged backbone is supervised on ImageNet labels and knows only their 1,000 words; its "
    "captions often miss. For real work take DINOv2 and CLIP: clusterpipe models fetch fast, then "
    "run-all FOLDER --backbone fast"
)
GIVEN = "captions: the names that zero-shot was given (assign.zero_shot.class_names)"


@dataclass(frozen=True)
class Cluster:
    """One cluster in the summary."""

    cluster: int
    images: int
    caption: str
    true_class: str
    share: float


@dataclass(frozen=True)
class Curated:
    """Groups of near-duplicates, the images that repeat another of their group, those of them that
    are exact copies, and the outliers."""

    groups: int
    repeated: int
    copies: int
    outliers: int


@dataclass(frozen=True)
class Corrected:
    """Corrections in force, the images that they placed, those of them that do not apply any more,
    as a whole or in part, and the method whose clusters they correct."""

    corrections: int
    placed: int
    open: int
    method: str


@dataclass(frozen=True)
class Outcome:
    """Outcome of `run-all`.

    `k` counts the clusters, `filled` those that hold an image; `k_given` is what was asked for,
    None where it was estimated or each cluster stands for a name; `unassigned` images are in no
    cluster; `outdated` names the artifacts that speak of other clusters or images, and are left
    out.
    """

    run_dir: str
    images: int
    skipped: int
    k: int | None
    filled: int
    k_given: int | None
    k_estimated: int | None
    k_interval: tuple[int, int] | None
    k_reason: str
    classes: int | None
    clusters: tuple[Cluster, ...]
    unassigned: int
    method: str
    metrics: tuple[dict[str, Any], ...]
    protocol: str
    retrieval: tuple[dict[str, Any], ...]
    retrieval_protocol: str
    captions: tuple[dict[str, Any], ...]
    caption_protocol: str
    captioned: str
    curation: Curated | None
    corrections: Corrected | None
    pictures: str | None
    plots: str | None
    outdated: tuple[str, ...]
    remarks: tuple[str, ...]


def outcome(
    run: RunDirectory, config: Config, sheets: Sequence[Path] = (), plots: Sequence[Path] = ()
) -> Outcome:
    """Reads the outcome of a run from whatever artifacts are there."""
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    metrics = _if_current(run, Metrics)
    captions = _if_current(run, Captions)
    curation = _if_current(run, Curation)
    found = standing_if_current(run)
    chosen = found.clusters if found else None
    named = chosen is not None and chosen.name is not None
    clusters = _clusters(run, index, found) if found else ()
    estimate = None if config.of("assign").k or named else _if_current(run, KEstimate)
    return Outcome(
        run_dir=str(run.folder),
        images=len(index.id),
        skipped=int(images(index).sum()),
        k=len(clusters) or None,
        filled=sum(cluster.images > 0 for cluster in clusters),
        k_given=None if named else config.of("assign").k or None,
        k_estimated=estimate.k if estimate else None,
        k_interval=(int(estimate.interval[0]), int(estimate.interval[1])) if estimate else None,
        k_reason=estimate.reason if estimate else "",
        classes=len(np.unique(index.label[index.label >= 0])) if index.label is not None else None,
        clusters=clusters,
        unassigned=int((chosen.label < 0).sum()) if chosen else 0,
        method=found.name if found else "",
        corrections=_corrected(found.corrections) if found and found.corrections else None,
        metrics=tuple(_metric_rows(metrics)) if metrics else (),
        protocol=metrics.protocol if metrics else "",
        retrieval=tuple(_retrieval_rows(metrics)) if metrics else (),
        retrieval_protocol=(metrics.retrieval_protocol or "") if metrics else "",
        captions=tuple(_caption_rows(metrics)) if metrics else (),
        caption_protocol=(metrics.caption_protocol or "") if metrics else "",
        captioned=GIVEN if named else _captioned(captions) if captions else "",
        curation=_curated(curation) if curation else None,
        pictures=str(sheets[0].parent) if sheets else None,
        plots=str(plots[0].parent) if plots else None,
        outdated=tuple(outdated(run)),
        remarks=tuple(_remarks(config, index)),
    )


def _remarks(config: Config, index: Embeddings) -> Iterator[str]:
    is_image = images(index)
    if is_image.any():
        yield account.skipped(index.skipped_reason[is_image])
    if not is_image.all():
        yield account.not_read(index.skipped_path[~is_image])
    if config.source.path == SourceConfig().path:
        yield DEMONSTRATION
    if any(space.backbone.startswith("packaged:") for space in index.spaces.values()):
        yield SUPERVISED


def _curated(curation: Curation) -> Curated:
    in_groups = int((curation.group >= 0).sum())
    return Curated(
        groups=len(curation.representative),
        repeated=in_groups - len(curation.representative),
        copies=int((curation.copy_of != np.arange(len(curation.copy_of))).sum()),
        outliers=int(curation.outlier.sum()),
    )


def _corrected(corrections: Corrections) -> Corrected:
    return Corrected(
        corrections=len(corrections.line),
        placed=int((corrections.placed > 0).sum()),
        open=sum(bool(reason) for reason in corrections.outcome),
        method=corrections.method,
    )


def _clusters(run: RunDirectory, index: Embeddings, found: Standing) -> tuple[Cluster, ...]:
    """The clusters; of corrected ones those that hold an image, under their numbers."""
    captions, label = cluster_captions(run, found), found.clusters.label
    clusters = (
        _cluster(number, np.flatnonzero(label == number), caption, index)
        for number, caption in enumerate(captions)
    )
    return tuple(c for c in clusters if c.images or not found.corrections)


def _cluster(number: int, members: Any, caption: str, index: Embeddings) -> Cluster:
    if index.label is None or index.class_name is None:
        return Cluster(number, len(members), caption, "", math.nan)
    labels = index.label[members]
    counts = np.bincount(labels[labels >= 0], minlength=len(index.class_name))
    if not counts.sum():
        return Cluster(number, len(members), caption, "", math.nan)
    top = int(counts.argmax())
    return Cluster(
        number, len(members), caption, index.class_name[top], float(counts[top] / counts.sum())
    )


def _metric_rows(metrics: Metrics) -> list[dict[str, Any]]:
    rows = []
    for a, method in enumerate(metrics.method):
        for b, metric in enumerate(metrics.metric):
            if not math.isnan(metrics.value[a, b]):
                rows.append(
                    {
                        "method": str(method),
                        "metric": str(metric),
                        "chosen": float(metrics.chosen_value[a, b]),
                        "mean": float(metrics.value[a, b]),
                        "spread": float(metrics.spread[a, b]),
                        "chance": _number(metrics.chance[a, b]),
                        "unit": str(metrics.unit[b]),
                    }
                )
    return rows


def _retrieval_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    spaces, measures = metrics.retrieval_space, metrics.retrieval_metric
    value, chance = metrics.retrieval_value, metrics.retrieval_chance
    if spaces is None or measures is None or value is None or chance is None:
        return
    for (r, space), (v, metric) in product(enumerate(spaces), enumerate(measures)):
        yield {
            "space": str(space),
            "metric": str(metric),
            "value": float(value[r, v]),
            "chance": float(chance[v]),
        }


def _captioned(captions: Captions) -> str:
    """Account of the captions: the captioner, the clusters, their features, the words."""
    naming = captions.methods[captions.chosen]
    leak = ", the class names of the source, which leak the answer" if captions.leaks else ""
    return (
        f"captions: {captions.chosen}, of the clusters of {naming.assignment} in "
        f"{naming.clustered}, by the features of {naming.space} and the "
        f"{len(captions.word):,} words of {naming.vocabulary}{leak}"
    )


def _caption_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    methods, measures = metrics.caption_method, metrics.caption_metric
    value, chance = metrics.caption_value, metrics.caption_chance
    if methods is None or measures is None or value is None or chance is None:
        return
    for (h, method), (o, metric) in product(enumerate(methods), enumerate(measures)):
        if not math.isnan(value[h, o]):
            yield {
                "method": str(method),
                "metric": str(metric),
                "value": float(value[h, o]),
                "chance": _number(chance[h, o]),
            }


def _if_current(run: RunDirectory, kind: Any) -> Any:
    return artifact.read(run.artifact(kind), kind) if describes(kind, run) else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

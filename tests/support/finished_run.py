"""A small run as the stages would leave it, written in a moment: for tests of what shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from program import draw
from records import provenance, sample

from clusterpipe.cache import artifact
from clusterpipe.cache.provenance import file_digest
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import (
    Artifact,
    Assignment,
    Assignments,
    Captions,
    Curation,
    Embeddings,
    KEstimate,
    Levels,
    Metrics,
    Naming,
    Space,
)
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.execute import remember

K, D = 3, 8
NAMES = [f"kind{i % K}/{i // K:03d}.png" for i in range(24)]
CURATED = {"duplicates_above": 0.9, "neighbours": 20, "outliers": 0.04}
CAPTIONS = ["red bicycle", "grey cat", "blue boat"]


@dataclass(frozen=True)
class FinishedRun:
    """The run and the settings it keeps; image i is in cluster and class i % 3."""

    run: RunDirectory
    config: Config


def finished_run(
    home: Path,
    *,
    names: Sequence[str] = NAMES,
    captions: Sequence[str] = CAPTIONS,
    classes: Sequence[str] = CAPTIONS,
    skipped: Sequence[str] = ("broken.jpg",),
    levels: bool = False,
) -> FinishedRun:
    """Paints the images into home/photos and writes the artifacts of home/run.

    levels: also groups, of which the first holds clusters 0 and 1, and two parts of cluster 0.
    """
    photos = home / "photos"
    for number, name in enumerate(names):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        draw(number % K, number).save(photos / name, "PNG")
    run = RunDirectory(home / "run")
    config = Config().set("source.path", str(photos), "test")
    remember(config, run)
    label = np.arange(len(names)) % K
    index = _index(photos, names, classes, skipped, label)
    artifact.write(run.artifact(Embeddings), index, provenance(schema=Embeddings.schema))
    place = "toy/features"
    inputs = {
        f"embeddings.h5 /{place}": artifact.content_id(run.artifact(Embeddings), Embeddings, place)
    }
    _write(run, _assignments(label), "assign", inputs)
    _write(run, _estimate(), "estimate-k", inputs)
    _write(run, _captions(captions), "caption", {})
    _write(run, _metrics(label), "evaluate", {})
    _write(run, _curation(len(names)), "curate", {}, CURATED)
    if levels:
        _write(run, _levels(label), "levels", {})
    return FinishedRun(run, config)


def _write(
    run: RunDirectory,
    record: Artifact,
    stage: str,
    inputs: dict[str, str],
    config: Mapping[str, float] | None = None,
) -> None:
    kind = type(record)
    stamp = provenance(
        stage=stage, schema=kind.schema, inputs=inputs, config=config or {"seeds": 5}
    )
    artifact.write(run.artifact(kind), record, stamp)


def _index(
    photos: Path,
    names: Sequence[str],
    classes: Sequence[str],
    skipped: Sequence[str],
    label: object,
) -> Embeddings:
    rng = np.random.default_rng(0)
    n = len(names)
    features = np.eye(K, D)[np.arange(n) % K] + 0.2 * rng.normal(size=(n, D))
    column = np.array(list(names), object)
    index: Embeddings = sample(Embeddings, n=n, x=len(skipped), c=len(classes), d=D)
    return replace(
        index,
        id=column,
        path=column,
        width=np.full(n, 64),
        height=np.full(n, 64),
        digest=np.array([file_digest(photos / name) for name in names], object),
        label=label,
        taken=np.array(
            [f"20{99 - row:02}-06-03T12:30:01" if row else "" for row in range(n)], object
        ),
        camera=np.array(["Canon EOS 5D"] * n, object),
        class_name=np.array(list(classes), object),
        skipped_path=np.array(list(skipped), object),
        skipped_reason=np.array(["truncated"] * len(skipped), object),
        default_space="toy",
        spaces={"toy": Space(features=features.astype(np.float32), backbone="toy", weights="ab")},
    )


def _assignments(label: np.ndarray) -> Assignments:
    n = len(label)
    probability = np.linspace(0.99, 0.4, n).astype(np.float32)
    found: Assignment = replace(
        sample(Assignment, n=n, k=K, m=2, d=D, q=2, s=2),
        label=label,
        probability=probability,
        top_label=np.stack([label, (label + 1) % K], axis=1),
        top_probability=np.stack([probability, 1 - probability], axis=1),
        center=np.zeros(D, np.float32),
        exemplar=np.array([[k, k + K] for k in range(K)]),
        outlier_score=np.where(np.arange(n) == K + 3, 3.0, 1.0).astype(np.float32),
        width=np.array([D]),
        space="embeddings/toy",
        normalised=True,
        name=None,
    )
    seeds = len(found.label_per_seed)
    rest = sample(Assignments, n=n, k=K, s=seeds)
    return replace(rest, chosen="kmeans", methods={"kmeans": found})


def _estimate() -> KEstimate:
    length = np.array([900.0, 700, 600, 650, 720])
    found: KEstimate = sample(KEstimate, m=5)
    return replace(
        found,
        k=3,
        interval=np.array([2, 4]),
        candidate=np.arange(1, 6),
        length=length,
        reason="shortest",
    )


def _captions(captions: Sequence[str]) -> Captions:
    text = np.array([[caption, "thing"] for caption in captions], object)
    naming: Naming = replace(
        sample(Naming, k=K, c=2), text=text, score=np.tile([0.7, 0.2], (K, 1)), margin=np.ones(K)
    )
    return replace(sample(Captions, k=K, c=2), chosen="vote", methods={"vote": naming})


def _metrics(label: np.ndarray) -> Metrics:
    names = np.array(["accuracy", "nmi", "silhouette"], object)
    metrics: Metrics = replace(
        sample(Metrics, a=1, b=3, s=2, u=1, c=K, k=K),
        method=np.array(["kmeans"], object),
        metric=names,
        confusion=np.diag(np.bincount(label)),
        chosen_value=np.array([[1.0, 0.9, 0.5]]),
        chance=np.array([[0.4, 0.1, np.nan]]),
    )
    return metrics


def _levels(label: np.ndarray) -> Levels:
    part = np.where((label == 0) & (np.arange(len(label)) >= 15), K, label)
    return Levels(coarse=np.array([0, 0, 1]), fine=part, number=np.array([2, K, K + 1]))


def _curation(n: int) -> Curation:
    """Images 0 and 3 are alike, of which 3 is to be kept; 1, 2 and 4 are, and 2 copies 1; 5 is
    like no other."""
    group = np.full(n, -1)
    group[[1, 2, 4]], group[[0, 3]] = 0, 1
    copy_of = np.arange(n)
    copy_of[2] = 1
    return replace(
        sample(Curation, n=n, g=2),
        group=group,
        representative=np.array([4, 3]),
        copy_of=copy_of,
        similarity=np.where(copy_of == 1, 1, 0.95 + 0.001 * np.arange(n)),
        isolation=np.linspace(0.3, 0.2, n),
        outlier=(np.arange(n) == K + 3).astype(np.int8),
    )

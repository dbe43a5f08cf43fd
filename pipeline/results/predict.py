"""`clusterpipe predict`: the clusters of images that the run has never seen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import SourceError, UsageError
from clusterpipe.cache.images import IMAGE_SUFFIXES
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.signatures import kind_of
from clusterpipe.cache.sources import FeatureSource, ImageSource, Source, SourceConfig, open_source
from clusterpipe.cache.sources.reading import first_bytes
from clusterpipe.pipeline.engine.inputs import side_by_side
from clusterpipe.pipeline.results.query_rows import (
    Asked,
    Collection,
    backbone_of,
    both_of,
    files_of,
    open_collection,
)
from clusterpipe.pipeline.results.reading import Results
from clusterpipe.stages.assign import SIDE_BY_SIDE
from clusterpipe.stages.backbones import Backbone

CHUNK = 8192  # images whose features are held at a time


@dataclass(frozen=True)
class Predictions:
    """One row per image that could be read, and the reasons for the others.

    probability: (n, k) float32 of each cluster, rows sum to 1; label: (n,) its argmax.
    """

    id: list[str]
    label: NDArray[np.intp]
    probability: NDArray[np.float32]
    skipped: Mapping[str, str]


def predict(
    results: Results,
    source: Path | Sequence[Path],
    *,
    device: str = "auto",
    download: bool = False,
    progress: Progress = silent,
) -> Predictions:
    """The clusters of what is in `source`: an image or several, or any images or features.

    Images go through the run's backbone, with the run's preprocessing and precision, in batches of
    one size, and then through its head: an image's row does not depend on the others. Raises
    UsageError when the backbone is another one now, or the features are of another width;
    SourceError when no image can be read; WeightsMissing.
    """
    soft = soft_clusters(results)
    collection = clustered(results)
    given = opened(source, progress)
    skipped: dict[str, str] = {}
    names: list[str] = []
    parts = []
    for chunk in _features(given, collection, device, download, progress):
        names += chunk.id
        skipped |= chunk.skipped
        if chunk.id:
            parts.append(soft(collection.mapped(chunk.features)))
    if not names:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
        raise SourceError(
            f"{_called(source)} holds no readable image{f' ({reasons})' if reasons else ''}"
        )
    probability = np.concatenate(parts)
    return Predictions(names, probability.argmax(axis=1), probability, skipped)


def soft_clusters(results: Results) -> Callable[[Rows], NDArray[np.float32]]:
    """Probabilities (m, k) of features (m, d) for the clusters the run stands by."""
    from clusterpipe.stages import heads
    from clusterpipe.stages.standing import soft_corrected

    head = heads.load(results.fitted)
    if results.corrections is None:
        return head.soft
    return soft_corrected(head, results.fitted, results.corrections, clustered(results).rows)


def _called(source: Path | Sequence[Path]) -> str:
    return str(source) if isinstance(source, Path) else f"the list of {len(source)} files"


@dataclass(frozen=True)
class _Chunk:
    """Some images: features (m, d) of those that could be read, as they would be stored."""

    id: list[str]
    features: NDArray[np.float32]
    skipped: dict[str, str]


def clustered(results: Results) -> Collection:
    """Source of the features that a run clustered."""
    features, _, space = results.fitted.space.partition("/")
    if features == SIDE_BY_SIDE:
        return both_of(results.run)
    return open_collection(results.run, features=features, space=space)


def opened(path: Path | Sequence[Path], progress: Progress) -> Source:
    """Source given to predict: one image, several, or any that run-all takes."""
    if not isinstance(path, Path):
        return files_of([Asked(str(one), None, one) for one in path])
    if path.is_file() and _is_image(path):
        return files_of([Asked(path.name, None, path)])
    return open_source(SourceConfig(path=str(path)), progress=progress)


def _features(
    source: Source,
    collection: Collection,
    device: str,
    download: bool,
    progress: Progress,
) -> Iterator[_Chunk]:
    n = len(source.manifest)
    if isinstance(source, FeatureSource):
        yield from _given(source, collection)
        return
    backbones = [
        backbone_of(name, collection, device=device, download=download)
        for name in collection.spaces
    ]
    with progress("predicting", total=n, unit="images") as advance:
        for start in range(0, n, CHUNK):
            rows = range(start, min(start + CHUNK, n))
            yield _encoded(source, rows, backbones, collection)
            advance(len(rows))


def _given(source: FeatureSource, collection: Collection) -> Iterator[_Chunk]:
    missing = [name for name in collection.spaces if name not in source.spaces]
    if missing:
        raise UsageError(
            f"the run clusters {' and '.join(collection.spaces)}, but {source.name} holds "
            f"{', '.join(source.spaces)}"
        )
    for name in collection.spaces:
        width, known = source.spaces[name].shape[1], collection.index.spaces[name].features.shape[1]
        if width != known:
            raise UsageError(f"{name} of the run has width {known}, not {width}")
    rows = side_by_side([source.spaces[name] for name in collection.spaces])
    for start in range(0, len(source.manifest), CHUNK):
        names = [str(name) for name in source.manifest.id[start : start + CHUNK]]
        yield _Chunk(names, np.asarray(rows[start : start + CHUNK], np.float32), {})


def _encoded(
    source: ImageSource, rows: Sequence[int], backbones: Sequence[Backbone], collection: Collection
) -> _Chunk:
    """Features rounded to the precision of the run's, so that a known image gets its own again."""
    from clusterpipe.stages.backbones.extraction import extract

    parts: list[NDArray[np.float32]] = []
    for backbone, space in zip(backbones, collection.spaces, strict=True):
        seen, found, features = [], dict[str, str](), []
        for batch in extract(source, rows, backbone, known=lambda _: False):
            seen += [str(source.manifest.id[image.row]) for image in batch.encoded]
            bad = [image for image in batch.looked_at if image.reason]
            found |= {str(source.manifest.id[image.row]): image.reason for image in bad}
            features.append(batch.features)
        stored = collection.index.spaces[space].features.dtype
        parts.append(np.concatenate(features).astype(stored).astype(np.float32))
    return _Chunk(seen, np.asarray(side_by_side(parts)[: len(seen)]), found)


def columns(found: Predictions, captions: Sequence[str]) -> dict[str, list[Any]]:
    """The predictions under the names that an export has for them."""
    label, n = found.label, len(found.id)
    probability = found.probability.astype(np.float64).round(6)
    table: dict[str, list[Any]] = {
        "id": found.id,
        "cluster": label.tolist(),
        "caption": [captions[k] for k in label],
        "probability": probability[np.arange(n), label].tolist(),
    }
    if probability.shape[1] > 1:
        second = np.argsort(-found.probability, axis=1, kind="stable")[:, 1]
        table["second_cluster"] = second.tolist()
        table["second_probability"] = probability[np.arange(n), second].tolist()
    return table


def _is_image(path: Path) -> bool:
    """By its name, or by what it begins with."""
    return path.suffix.lower() in IMAGE_SUFFIXES or kind_of(first_bytes(path), path.name).image

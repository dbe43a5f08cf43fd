"""Queries and collections of a search: whatever becomes a row of a run's features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import MissingArtifact, UsageError
from clusterpipe.cache.provenance import canonical, file_digest
from clusterpipe.cache.rows import ConcatenatedRows, Rows
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings, Refined, Space
from clusterpipe.cache.sources import Manifest, stored_path
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.pipeline.engine.inputs import describes, refined_spaces, side_by_side, spaces
from clusterpipe.stages.assign import SIDE_BY_SIDE
from clusterpipe.stages.backbones import Backbone, parse
from clusterpipe.stages.embed import preprocessing_of
from clusterpipe.stages.sampling import finite

EMBEDDINGS, REFINED = FEATURES = ("embeddings", "refined")
SUGGESTED_FROM = 20_000  # ids among which a misspelt one is looked for

FloatRows: TypeAlias = NDArray[np.float32]

# ---------------------------------------------------------------- where is searched


@dataclass(frozen=True)
class Collection:
    """Rows (n, e) of one space of a run, which is searched in.

    spaces: the feature spaces they come from; mapped: from features as embedded (m, d) to such
    rows; name: what they are called.
    """

    run: RunDirectory
    index: Embeddings
    rows: Rows
    spaces: Sequence[str]
    mapped: Callable[[FloatRows], FloatRows]
    name: str


def open_collection(run: RunDirectory, *, features: str, space: str) -> Collection:
    """The embeddings of a run in `space`, or its refined features.

    Raises MissingArtifact naming the stage to run first, UsageError for an unknown space.
    """
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    if features == REFINED:
        return _refined(run, index)
    names = spaces(space, run, asked_by="--space")
    rows = side_by_side([index.spaces[name].features for name in names])
    return Collection(run, index, rows, names, lambda rows: rows, f"embeddings/{'+'.join(names)}")


def _refined(run: RunDirectory, index: Embeddings) -> Collection:
    from clusterpipe.stages.numerics.feature_map import apply_map

    path = run.artifact(Refined)
    refined = artifact.read(path, Refined)
    if not describes(Refined, run):
        raise MissingArtifact(
            f"{path} speaks of embeddings before these: run `clusterpipe refine --run-dir "
            f"{run.folder}`"
        )
    mapped = partial(apply_map, refined.parameters)
    return Collection(run, index, refined.features, refined_spaces(run), mapped, REFINED)


def both_of(run: RunDirectory) -> Collection:
    """The refined features of a run beside those they were made from, as `turtle:both` reads them.

    Raises like `open_collection`.
    """
    refined = open_collection(run, features=REFINED, space="")
    embedded = side_by_side([refined.index.spaces[name].features for name in refined.spaces])

    def mapped(rows: FloatRows) -> FloatRows:
        return ConcatenatedRows([rows, refined.mapped(rows)])[:]

    return replace(
        refined, rows=ConcatenatedRows([embedded, refined.rows]), mapped=mapped, name=SIDE_BY_SIDE
    )


# ---------------------------------------------------------------- what is looked for


@dataclass(frozen=True)
class Asked:
    """An image that is looked for: a row of the run, or else a file."""

    name: str
    row: int | None
    file: Path | None = None


@dataclass(frozen=True)
class Query:
    """Query as a row (e,) of the space that is searched in.

    row: its place in the run, if it has one; read_as: what a text was taken for.
    """

    name: str
    vector: FloatRows
    row: int | None = None
    read_as: str = ""


def named(text: str, index: Embeddings, run: RunDirectory) -> Asked:
    """The image that `text` names: a file, else an id, a path or a row of the run."""
    file = Path(text).expanduser()
    if file.is_file():
        try:
            row = _first(index.digest == file_digest(file))
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from error
        return Asked(text, row, None if row is not None else file)
    row = _first(index.id == text)
    row = _first(index.path == text) if row is None else row
    if row is None and text.isdecimal() and int(text) < len(index.id):
        row = int(text)
    if row is None:
        raise UsageError(_unknown(text, file, index, run))
    return Asked(text, row)


def _first(found: NDArray[np.bool_]) -> int | None:
    places = np.flatnonzero(found)
    return int(places[0]) if len(places) else None


def _unknown(text: str, file: Path, index: Embeddings, run: RunDirectory) -> str:
    if file.is_dir():
        return f"{text} is a folder: name an image in it"
    near = get_close_matches(text, list(index.id[:SUGGESTED_FROM]), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; its ids look like {index.id[0]}"
    return (
        f"there is no file {text}, and {run.folder} has no image of that id or path, nor a row of "
        f"that number (0 to {len(index.id) - 1:,}){hint}"
    )


def queries_of(
    asked: Sequence[Asked], collection: Collection, *, device: str, download: bool
) -> list[Query]:
    """Each image as a row of the collection; those from elsewhere go through its backbones.

    Raises UsageError for what is no image, or when the backbone is another one now, and
    WeightsMissing when it is not on disk.
    """
    outside = [image for image in asked if image.file is not None]
    embedded = iter(_embedded(outside, collection, device, download) if outside else ())
    rows = finite(collection.rows)
    vectors = [
        next(embedded) if image.row is None else rows[image.row : image.row + 1][0]
        for image in asked
    ]
    return [Query(i.name, vector, i.row) for i, vector in zip(asked, vectors, strict=True)]


def _embedded(
    asked: Sequence[Asked], collection: Collection, device: str, download: bool
) -> FloatRows:
    """Rows (m, e) for images from elsewhere, made exactly as those of the collection were."""
    source, parts = files_of(asked), list[Rows]()
    for name in collection.spaces:
        backbone = backbone_of(name, collection, device=device, download=download)
        parts.append(_encoded(source, backbone, collection.index.spaces[name]))
    return collection.mapped(side_by_side(parts)[: len(asked)])


def files_of(asked: Sequence[Asked]) -> FileImages:
    """The images from elsewhere as a source."""
    names = strings(stored_path(str(image.file.absolute())) for image in asked if image.file)
    nothing = np.zeros(len(names), np.int64)
    manifest = Manifest(id=names, path=names, size=nothing, mtime=nothing)
    return FileImages("queries", Path(), manifest)


def backbone_of(name: str, collection: Collection, *, device: str, download: bool) -> Backbone:
    """The backbone of a space of the run. Raises UsageError if it is no longer the same."""
    from clusterpipe.stages.backbones import open_backbone

    space, run = collection.index.spaces[name], collection.run
    if not space.backbone:
        raise UsageError(
            f"the features of {run.folder} were given, so that a new image has none: name an image "
            "of the run by its id or row"
        )
    settings = artifact.header(run.artifact(Embeddings)).identity.config
    backbone = open_backbone(
        replace(parse(space.backbone), name=name),
        device=device,
        precision=settings["precision"],
        download=download,
    )
    made_by = space.weights, space.preprocessing
    if (backbone.weights_digest, canonical(preprocessing_of(backbone))) != made_by:
        raise UsageError(
            f"{space.backbone} has other weights or preprocessing than when {run.folder} was "
            f"embedded: bring those back, or run `clusterpipe embed --run-dir {run.folder}`"
        )
    return backbone


def _encoded(source: FileImages, backbone: Backbone, space: Space) -> FloatRows:
    from clusterpipe.stages.backbones.extraction import extract

    m = len(source.manifest)
    batch = next(extract(source, range(m), backbone, known=lambda _: False, batch_size=m))
    for loaded in batch.looked_at:
        if loaded.reason:
            raise UsageError(f"{source.manifest.path[loaded.row]} is no image: {loaded.reason}")
    return batch.features.astype(space.features.dtype).astype(np.float32)

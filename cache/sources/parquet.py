"""Parquet, and Hugging Face data sets on disk: images as bytes or paths, features, or both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.sources.arrow import (
    Cells,
    Table,
    matrix,
    open_dataset_table,
    open_parquet_table,
    readable,
    texts,
    told,
)
from clusterpipe.cache.sources.entries import Entry, images_of
from clusterpipe.cache.sources.features import FileFeatures, FiniteRows
from clusterpipe.cache.sources.files import FileImages, mtime_of, stamp_of
from clusterpipe.cache.sources.listing import Line, labels_of, open_lines, path_of, split_of
from clusterpipe.cache.sources.manifest import Manifest, strings
from clusterpipe.cache.sources.pictured import PicturedFeatures
from clusterpipe.cache.sources.reading import read_file
from clusterpipe.cache.sources.several import joined

_IMAGES = ("image", "images", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
_FEATURES = ("features", "embedding", "embeddings", "vector", "feature")
_PATHS = ("path", "paths", "file", "file_name", "filename", "image_path")
_IDS, _LABELS, _SPLITS = ("id", "ids", "__key__"), ("label", "labels", "cls"), ("split",)
_ROWS = 8_192
_DATASET, _DATASETS = "state.json", "dataset_dict.json"

Given = FileImages | FileFeatures | PicturedFeatures


def is_dataset(folder: Path) -> bool:
    """True for a folder that `save_to_disk` of `datasets` wrote."""
    return any((folder / name).is_file() for name in (_DATASET, _DATASETS))


def open_parquet(path: Path, *, limits: Limits = USUAL, progress: Progress = silent) -> Given:
    """The images or features in a parquet file, with the columns that stand beside them.

    Images are a column of bytes, or of objects with `bytes` or `path` as `datasets` has them, or
    of paths, relative to the file's folder; features a column of lists of floats, called
    `features`, `embedding` or like. With features, images are only shown. Ids are the column `id`,
    else the paths, else row numbers. What `export` wrote is read back to the same ids. Raises
    UsageError for columns that are none of these, and for a damaged file.
    """
    return _opened(open_parquet_table(path), safe_name(path.stem), "", limits, progress)


def open_dataset(folder: Path, *, limits: Limits = USUAL, progress: Progress = silent) -> Given:
    """A data set on disk, like `open_parquet`; of several splits, each image has its own."""
    if (folder / _DATASET).is_file():
        return _opened(open_dataset_table(folder), safe_name(folder.name), "", limits, progress)
    names = [str(name) for name in told(folder / _DATASETS).get("splits") or ()]
    if not names or any(Path(name).name != name for name in names):
        raise UsageError(f"{folder}/{_DATASETS} names no splits of the folder")
    parts = []
    for name in names:
        table = open_dataset_table(folder / name)
        part = _opened(table, safe_name(folder.name), name, limits, progress)
        if not isinstance(part, FileImages):
            raise UsageError(f"{folder} holds features: name one split of it, {folder / name}")
        parts.append((name, part))
    whole = joined(dict(parts), folder)
    return FileImages(safe_name(folder.name), folder, whole.manifest, limits, whole.readers)


@dataclass(frozen=True)
class _Columns:
    """The columns that a table is read by; empty for those that it lacks."""

    image: str
    features: tuple[str, ...]
    path: str
    id: str
    label: str
    split: str


def _opened(table: Table, name: str, split: str, limits: Limits, progress: Progress) -> Given:
    columns = _found(table)
    if columns.features:
        return _features(table, name, columns, limits)
    if columns.image:
        return _images(table, columns, split, limits)
    if columns.path:
        lines = [
            Line(n, *line) for n, line in enumerate(_listed(table, columns, split), 1) if line[0]
        ]
        return open_lines(table.path, lines, limits=limits, progress=progress)
    raise UsageError(
        f"{table.path} holds {', '.join(table.schema.names[:12]) or 'no columns'}. Expected a "
        "column `image` of bytes, `path`, or `features` of lists of floats"
    )


# ---------------------------------------------------------------- columns


def _found(table: Table) -> _Columns:
    schema = table.schema
    texts = [f.name for f in schema if _is_text(f.type)]
    return _Columns(
        image=_named([f.name for f in schema if _is_image(f.type)], _IMAGES, alone=True),
        features=tuple(_feature_columns(schema)),
        path=_named([f.name for f in schema if f.name in texts], _PATHS),
        id=_named([f.name for f in schema if f.name in texts or _is_whole(f.type)], _IDS),
        label=_named([f.name for f in schema if f.name in texts or _is_whole(f.type)], _LABELS),
        split=_named(texts, _SPLITS),
    )


def _named(columns: Sequence[str], known: Sequence[str], *, alone: bool = False) -> str:
    first = next((name for name in known if name in columns), "")
    return first or (columns[0] if alone and len(columns) == 1 else "")


def _feature_columns(schema: Any) -> Iterator[str]:
    fits = [f.name for f in schema if _is_matrix(f.type)]
    several = [name for name in fits if name.startswith("features_")]
    yield from several or [name for name in _FEATURES if name in fits][:1] or fits[:1]


def _is_text(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(kind) or t.is_large_string(kind))


def _is_whole(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_integer(kind))


def _is_image(kind: Any) -> bool:
    import pyarrow.types as t

    if t.is_struct(kind):
        names = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        return "bytes" in names and _is_image(names["bytes"])
    return bool(t.is_binary(kind) or t.is_large_binary(kind))


def _is_matrix(kind: Any) -> bool:
    import pyarrow.types as t

    lists = t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind)
    return bool(lists and t.is_floating(kind.value_type))


def _class_names(table: Table, column: str) -> list[str]:
    """The names of classes that `datasets` keeps beside a column of integers; none without."""
    try:
        kept = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        names = kept["info"]["features"][column]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def _labels(table: Table, column: str) -> list[str]:
    if not column:
        return [""] * len(table)
    names = _class_names(table, column)
    found = texts(table, column)
    if not names:
        return found
    known = {str(number): name for number, name in enumerate(names)}
    return [known.get(text, "") for text in found]


def _ids(table: Table, columns: _Columns, fallback: list[str]) -> list[str]:
    """The id of each row, unique: the column's, else of a path, else its number."""
    for found in (texts(table, columns.id) if columns.id else [], fallback):
        if found and all(found) and len(set(found)) == len(found):
            return found
    return [str(row) for row in range(len(table))]


def _splits(table: Table, columns: _Columns, split: str) -> list[str]:
    return texts(table, columns.split) if columns.split else [split] * len(table)


def _listed(table: Table, columns: _Columns, split: str) -> Iterator[tuple[str, str, str, str]]:
    with readable(table.path):
        paths = [text and path_of(text, table.path.parent) for text in texts(table, columns.path)]
        ids = _ids(table, columns, paths)
        labels, splits = _labels(table, columns.label), _splits(table, columns, split)
    yield from zip(paths, ids, labels, splits, strict=True)


# ---------------------------------------------------------------- images


@dataclass(frozen=True)
class _Cell:
    """Reader of one image: bytes of the column, or the file that it names instead."""

    cells: Cells
    row: int
    folder: Path

    def __call__(self, limits: Limits, /) -> bytes:
        try:
            found = self.cells[self.row]
        except UsageError as error:
            raise UnreadableImage(str(error)) from error
        whole = found if isinstance(found, dict) else {"bytes": found}
        data, path = whole.get("bytes"), whole.get("path")
        if data:
            limits.refuse_bytes(len(data))
            return bytes(data)
        if path:
            return read_file(self.folder / path, limits)
        raise UnreadableImage("no image in the row")


def _images(table: Table, columns: _Columns, split: str, limits: Limits) -> FileImages:
    with readable(table.path):
        names = _paths_within(table, columns.image)
        ids = _ids(table, columns, names)
        labels, splits = _labels(table, columns.label), _splits(table, columns, split)
    cells = Cells(table, columns.image)
    status = table.path.stat()
    entries = [
        Entry(
            id=ids[row],
            size=0,
            mtime=mtime_of(status),
            stamp=stamp_of(status),
            read=_Cell(cells, row, table.path.parent),
            label=labels[row],
            split=splits[row],
        )
        for row in range(len(table))
    ]
    return images_of(table.path, entries, limits=limits)


def _paths_within(table: Table, column: str) -> list[str]:
    """The names that the images of a column of objects have; empty for bytes alone."""
    import pyarrow

    kind = table.schema.field(column).type
    if not pyarrow.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return []
    found: list[str] = []
    for batch in table.batches([f"{column}.path"], 0, _ROWS):
        found += ["" if v is None else str(v) for v in batch.column(0).field("path").to_pylist()]
    return found


# ---------------------------------------------------------------- features


def _features(
    table: Table, name: str, columns: _Columns, limits: Limits
) -> FileFeatures | PicturedFeatures:
    with readable(table.path):
        spaces = {
            safe_name(column.removeprefix("features_"))
            if column not in _FEATURES
            else "features": FiniteRows(matrix(table, column), f"{table.path}: {column}")
            for column in columns.features
        }
        paths = texts(table, columns.path) if columns.path else []
        ids = _ids(table, columns, paths)
        labels = labels_of(_labels(table, columns.label), where=str(table.path))
        split = split_of(_splits(table, columns, ""))
    n, status = len(table), table.path.stat()
    manifest = Manifest(
        id=strings(ids),
        path=strings(path and path_of(path, table.path.parent) for path in paths or [""] * n),
        size=np.zeros(n, np.int64),
        mtime=np.full(n, mtime_of(status), np.int64),
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        split=split,
    )
    features = FileFeatures(name, manifest, spaces, table.path)
    if columns.image:
        return PicturedFeatures(features, _images(table, columns, "", limits))
    if paths:
        return PicturedFeatures(features, FileImages(name, table.path.parent, manifest, limits))
    return features

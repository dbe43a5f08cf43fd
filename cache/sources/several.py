"""Several sources in one: folders, files and archives; and patterns such as `2024-*/*.jpg`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.schema import IntArray, StringArray
from clusterpipe.cache.sources.files import FileImages, file_path, stored_path
from clusterpipe.cache.sources.listing import split_of
from clusterpipe.cache.sources.manifest import Labels, Manifest, encode_labels, strings
from clusterpipe.cache.sources.protocols import FeatureSource, ImageSource

_COLUMNS = ("id", "path", "size", "mtime", "skipped_path", "skipped_reason")
_OTHERS = ("other_path", "other_reason")


def is_pattern(source: str) -> bool:
    """True if a source is a pattern and not a path that there is."""
    return has_magic(source) and not Path(source).expanduser().exists()


def common_folder(sources: Sequence[str]) -> Path:
    """The folder that ids are relative to when there are several sources."""
    return Path(os.path.commonpath([_fixed(source) for source in sources]))


def matching(source: str) -> list[Path]:
    """The paths that a source means, in order: itself, or what fits its pattern.

    Raises `UsageError` for a pattern that fits nothing.
    """
    path = Path(source).expanduser().absolute()
    if not is_pattern(source):
        return [path]
    found = sorted(glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise UsageError(f"no file fits the pattern {source}")
    return [Path(name) for name in found]


def joined(parts: Mapping[str, FileImages], root: Path) -> FileImages:
    """The images of all parts in their order, each once, by ids and paths that hold from `root`.

    The key of a part stands before its ids: that of an archive or a list is its path, so that
    those of several shards differ, that of folders and files is empty.
    """
    placed = [_placed(part, root, name) for name, part in parts.items()]
    known = [part.manifest for part in placed]
    columns = {name: _column(known, name) for name in (*_COLUMNS, *_OTHERS)}
    labels = _labels(known)
    manifest = Manifest(
        **columns,
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        split=split_of(text for part in known for text in _splits(part)),
        stamp=np.concatenate([_stamps(part) for part in known]),
        remarks=tuple(remark for part in known for remark in part.remarks),
    )
    _, first = np.unique(manifest.id.astype(str), return_index=True)
    readers = {name: read for part in reversed(placed) for name, read in part.readers.items()}
    kept = manifest.take(np.sort(first))
    return FileImages(safe_name(root.name), root, kept, placed[0].limits, readers)


def image_files(source: ImageSource | FeatureSource, path: Path) -> FileImages:
    """The source, if it can be one of several. Raises `UsageError` otherwise."""
    if isinstance(source, FileImages):
        return source
    what = "features" if isinstance(source, FeatureSource) else "an array of images"
    raise UsageError(f"{path} holds {what}, of which a run takes one file and nothing else")


def _fixed(source: str) -> Path:
    """The folder of a source, of a pattern the part before its first wildcard."""
    path = Path(source).expanduser().absolute()
    while has_magic(str(path)) and not path.exists():
        path = path.parent
        if not has_magic(str(path)):
            return path
    return path if path.is_dir() else path.parent


def _placed(part: FileImages, root: Path, name: str) -> FileImages:
    """The part with ids and paths as they are from `root`; of a list `name` stands before ids."""
    known = part.manifest
    ids = {old: f"{name}/{old}" if name else old for old in known.id}
    above = os.path.relpath(part.root, root)
    moved = replace(
        known,
        id=strings(ids.values()),
        path=strings(_moved(path, above) for path in known.path),
        skipped_path=strings(_behind(name, path) for path in known.skipped_path),
        other_path=strings(_behind(name, path) for path in known.other_path),
    )
    readers = {ids[old]: read for old, read in part.readers.items() if old in ids}
    return FileImages(part.name, root, moved, part.limits, readers)


def _moved(path: str, above: str) -> str:
    """A stored path as it is from the folder that `above` leads from; empty stays empty."""
    if not path or above == os.curdir or Path(path).is_absolute():
        return path
    return stored_path(os.path.normpath(f"{above}/{file_path(path)}"))


def _behind(name: str, path: str) -> str:
    return f"{name}/{path}" if name else path


def _labels(known: Sequence[Manifest]) -> Labels | None:
    if all(part.label is None for part in known):
        return None
    return encode_labels(strings(name for part in known for name in _classes(part)), where="labels")


def _classes(part: Manifest) -> Iterator[str]:
    """The class of each image by name; empty where it is unknown."""
    if part.label is None or part.class_name is None:
        return iter([""] * len(part))
    names = [*part.class_name.tolist(), ""]  # -1, unknown, is the last
    return (names[label] for label in part.label.tolist())


def _splits(part: Manifest) -> StringArray:
    return strings([""] * len(part)) if part.split is None else part.split


def _stamps(part: Manifest) -> IntArray:
    return np.zeros(len(part), np.int64) if part.stamp is None else part.stamp


def _column(known: Sequence[Manifest], name: str) -> Any:
    return np.concatenate([getattr(part, name) for part in known])

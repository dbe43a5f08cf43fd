"""One image of a source that is part of a file: what it is called, and how to get at its bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.sources.account import not_read
from clusterpipe.cache.sources.classes import classes_of
from clusterpipe.cache.sources.files import FileImages, Reader
from clusterpipe.cache.sources.listing import labels_of, split_of
from clusterpipe.cache.sources.manifest import Labels, Manifest, strings


class Entry(NamedTuple):
    """An image before it is read; `mtime` and `stamp` differ when its bytes may have changed."""

    id: str
    size: int
    mtime: int
    stamp: int
    read: Reader
    label: str = ""
    split: str = ""


class Unread(NamedTuple):
    """A file or member that is not embedded, and the reason."""

    path: str
    reason: str


def images_of(
    path: Path,
    entries: Sequence[Entry],
    *,
    skipped: Sequence[Unread] = (),
    others: Sequence[Unread] = (),
    labels: Labels | None = None,
    labels_from_folders: bool = False,
    remarks: Sequence[str] = (),
    limits: Limits = USUAL,
) -> FileImages:
    """An image source of the entries of `path`, which have no files of their own.

    `labels` stand in the place of those of the entries, and with `labels_from_folders` do folders
    in the ids.
    """
    split = split_of(entry.split for entry in entries)
    if labels_from_folders:
        labels, folders = classes_of([entry.id for entry in entries])
        split = folders if split is None else split
    elif labels is None:
        labels = labels_of([entry.label for entry in entries], where=str(path))
    counted = [not_read(item.path for item in others)] if others else []
    manifest = Manifest(
        id=strings(entry.id for entry in entries),
        path=strings([""] * len(entries)),
        size=np.array([entry.size for entry in entries], np.int64),
        mtime=np.array([entry.mtime for entry in entries], np.int64),
        stamp=np.array([entry.stamp for entry in entries], np.int64),
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        split=split,
        skipped_path=strings(item.path for item in skipped),
        skipped_reason=strings(item.reason for item in skipped),
        other_path=strings(item.path for item in others),
        other_reason=strings(item.reason for item in others),
        remarks=(*counted, *remarks),
    )
    readers = {entry.id: entry.read for entry in entries}
    return FileImages(safe_name(path.stem), path.parent, manifest, limits, readers)

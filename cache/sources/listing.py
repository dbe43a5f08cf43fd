"""Lists of image files, whatever wrote them: a table, a text, COCO's annotations, parquet."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.signatures import RAW, is_raw_name
from clusterpipe.cache.sources.cells import is_marked, text_of
from clusterpipe.cache.sources.files import ESCAPED, FileImages, file_path, mtime_of, stamp_of
from clusterpipe.cache.sources.manifest import Labels, Manifest, encode_labels, strings
from clusterpipe.cache.sources.pages import RawPreview


class Line(NamedTuple):
    """One image as listed; `number` is its line, for messages."""

    number: int
    path: str
    id: str
    label: str = ""
    split: str = ""


class _Status(NamedTuple):
    """Of a listed file; `trouble` says why it cannot be read and is empty otherwise."""

    size: int
    mtime: int
    stamp: int
    trouble: str = ""


def open_lines(
    listed_in: Path,
    lines: list[Line],
    *,
    root: Path | None = None,
    limits: Limits = USUAL,
    progress: Progress = silent,
    remarks: tuple[str, ...] = (),
) -> FileImages:
    """The images of a list, in its order; their paths are relative to `root`, by default the folder
    of `listed_in`, or absolute.

    Labels that are all integers are ordered as numbers; an empty label is unknown. Files that are
    missing or cannot be read become skipped rows. Raises `UsageError`, naming the line, for a path
    and an id that come twice.
    """
    root = root or listed_in.parent
    refuse_repeats(listed_in, root, lines)
    status = list(_inspect(root, lines, progress))
    usable = [row for row, item in enumerate(status) if not item.trouble]
    unusable = [row for row, item in enumerate(status) if item.trouble]
    labels = labels_of([line.label for line in lines], where=str(listed_in))
    listed = Manifest(
        id=strings(line.id for line in lines),
        path=strings(line.path for line in lines),
        size=np.array([item.size for item in status], np.int64),
        mtime=np.array([item.mtime for item in status], np.int64),
        stamp=np.array([item.stamp for item in status], np.int64),
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        split=split_of(line.split for line in lines),
        skipped_path=strings(lines[row].path for row in unusable),
        skipped_reason=strings(status[row].trouble for row in unusable),
        remarks=remarks,
    )
    manifest = listed.take(np.array(usable, np.intp))
    readers = {
        line.id: RawPreview(root / file_path(line.path))
        for line in lines
        if is_raw_name(line.path) and RAW.readable
    }
    return FileImages(safe_name(listed_in.stem), root, manifest, limits, readers)


def path_of(cell: str, folder: Path) -> str:
    """The stored path that a cell means: of its readings the first that there is a file for."""
    plain = str(PurePosixPath(cell))
    if cell == plain and cell == cell.strip() and not is_marked(cell):
        return plain
    stored = [cell] if cell.startswith(ESCAPED) else []
    readings = [plain, *stored, str(PurePosixPath(text_of(cell))), plain.strip()]
    there = (path for path in readings if os.path.lexists(folder / file_path(path)))
    return next(there, plain.strip() or plain)


def refuse_repeats(listed_in: Path, root: Path, lines: list[Line]) -> None:
    """Raises `UsageError` for a path or an id that comes twice."""
    first: dict[tuple[str, str], int] = {}
    for line in lines:
        for what, value in (("path", str(root / line.path)), ("id", line.id)):
            earlier = first.setdefault((what, value), line.number)
            if earlier != line.number:
                raise UsageError(
                    f"{listed_in}, line {line.number}: the {what} stands in line {earlier} already"
                )


def labels_of(texts: list[str], *, where: str) -> Labels | None:
    """Ground truth from texts; None if all are empty."""
    if not any(texts):
        return None
    if all(text == "" or _is_integer(text) for text in texts):
        return encode_labels(np.array([int(text or -1) for text in texts]), where=where)
    return encode_labels(strings(texts), where=where)


def split_of(texts: Iterable[str]) -> StringArray | None:
    """Splits from texts; None if all are empty."""
    split = strings(texts)
    return split if any(split) else None


def _inspect(root: Path, lines: list[Line], progress: Progress) -> Iterator[_Status]:
    with progress("looking up", total=len(lines), unit="files") as advance:
        for line in lines:
            yield _status(root / file_path(line.path))
            advance(1)


def _status(path: Path) -> _Status:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or str(error) or type(error).__name__
        return _Status(0, 0, 0, reason.lower())
    if not stat.S_ISREG(status.st_mode):
        return _Status(0, 0, 0, "not a regular file")
    if not os.access(path, os.R_OK):
        return _Status(0, 0, 0, "permission denied")
    return _Status(status.st_size, mtime_of(status), stamp_of(status))


def _is_integer(text: str) -> bool:
    """True if `text` is an integer in plain form; 007 is a name, and so is a bar code."""
    return re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) is not None

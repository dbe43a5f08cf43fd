"""A CSV or TSV file that lists images: path, and optionally id, label and split."""

import csv
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TextIO

import numpy as np

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.sources.cells import OURS, is_marked, text_of
from clusterpipe.cache.sources.files import ESCAPED, FileImages, file_path, stamp_of
from clusterpipe.cache.sources.manifest import Labels, Manifest, encode_labels, strings


class _Line(NamedTuple):
    """One image as listed; `number` is its line in the table."""

    number: int
    path: str
    id: str
    label: str
    split: str


class _Status(NamedTuple):
    """Of a listed file; `trouble` says why it cannot be read and is empty otherwise."""

    size: int
    mtime: int
    stamp: int
    trouble: str = ""


def open_table(table: Path, *, limits: Limits = USUAL, progress: Progress = silent) -> FileImages:
    """The images listed in `table`, in its order.

    UTF-8 with a header line. Column `path` is relative to the table's folder, or absolute, and as
    the name is or as `stored_path` has it; `id` (unique; the path if not given), `label` and
    `split` are optional, other columns are ignored. Blanks around a path count if there is such a
    file. What `export` or an appended run wrote is read back to the same ids.
    Labels that are all integers are ordered as numbers; an empty label is unknown. Files that are
    missing or cannot be read become skipped rows. Raises `UsageError`, naming the line, for a
    malformed table, a line without a path, and a path or an id that comes twice.
    """
    lines = list(_lines(table))
    _refuse_repeats(table, lines)
    status = list(_inspect(table.parent, lines, progress))
    usable = [row for row, item in enumerate(status) if not item.trouble]
    unusable = [row for row, item in enumerate(status) if item.trouble]
    labels = _labels(table, lines)
    listed = Manifest(
        id=strings(line.id for line in lines),
        path=strings(line.path for line in lines),
        size=np.array([item.size for item in status], np.int64),
        mtime=np.array([item.mtime for item in status], np.int64),
        stamp=np.array([item.stamp for item in status], np.int64),
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        split=_split(lines),
        skipped_path=strings(lines[row].path for row in unusable),
        skipped_reason=strings(status[row].trouble for row in unusable),
    )
    manifest = listed.take(np.array(usable, np.intp))
    return FileImages(
        name=safe_name(table.stem), root=table.parent, manifest=manifest, limits=limits
    )


def _lines(table: Path) -> Iterator[_Line]:
    delimiter = "\t" if table.suffix.lower() == ".tsv" else ","
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(
                stream,
                delimiter=delimiter,
                skipinitialspace=_is_padded(stream, delimiter),
                strict=True,
                restval="",
            )
            reader.fieldnames = columns = _columns(table, reader.fieldnames or ())
            read = text_of if OURS.issubset(columns) else str
            for cells in reader:
                yield _line(cells, reader.line_num, table, read)
    except csv.Error as error:
        raise UsageError(f"{table}, line {reader.reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{table} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise UsageError(f"{table} cannot be read: {error.strerror}") from error


def _columns(table: Path, header: Iterable[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    if columns.count("path") != 1:
        found = ", ".join(columns) or "nothing"
        raise UsageError(
            f"{table} needs a first line that names its columns, one of them `path` "
            f"(others: id, label, split); found: {found}"
        )
    return columns


def _is_padded(stream: TextIO, delimiter: str) -> bool:
    """True if there are blanks between delimiters and quotes, as people write them."""
    padded = re.compile(rf'(^|{delimiter}) +"', re.MULTILINE)
    found = any(padded.search(line) for line in stream)
    stream.seek(0)
    return found


def _line(cells: dict[str, str], number: int, table: Path, read: Callable[[str], str]) -> _Line:
    if None in cells:
        raise UsageError(f"{table}, line {number}: more cells than columns; is a comma unquoted?")
    if any("\0" in cell for cell in cells.values()):
        raise UsageError(f"{table}, line {number}: holds a null character")
    if not cells["path"]:
        raise UsageError(f"{table}, line {number}: the path is empty")
    path = _path(cells["path"], table.parent)
    label, split = read(cells.get("label", "")).strip(), read(cells.get("split", "")).strip()
    return _Line(number, path, read(cells.get("id", "")) or path, label, split)


def _path(cell: str, folder: Path) -> str:
    """The stored path that a cell means: of its readings the first that there is a file for."""
    plain = str(PurePosixPath(cell))
    if cell == plain and cell == cell.strip() and not is_marked(cell):
        return plain
    stored = [cell] if cell.startswith(ESCAPED) else []
    readings = [plain, *stored, str(PurePosixPath(text_of(cell))), plain.strip()]
    there = (path for path in readings if os.path.lexists(folder / file_path(path)))
    return next(there, plain.strip() or plain)


def _refuse_repeats(table: Path, lines: list[_Line]) -> None:
    first: dict[tuple[str, str], int] = {}
    for line in lines:
        for what, value in (("path", str(table.parent / line.path)), ("id", line.id)):
            earlier = first.setdefault((what, value), line.number)
            if earlier != line.number:
                raise UsageError(
                    f"{table}, line {line.number}: the {what} stands in line {earlier} already"
                )


def _inspect(root: Path, lines: list[_Line], progress: Progress) -> Iterator[_Status]:
    with progress("looking up", total=len(lines), unit="files") as advance:
        for line in lines:
            yield _status(root / file_path(line.path))
            advance(1)


def _status(path: Path) -> _Status:
    try:
        status = path.stat()
    except OSError as error:
        return _Status(0, 0, 0, (error.strerror or type(error).__name__).lower())
    if not stat.S_ISREG(status.st_mode):
        return _Status(0, 0, 0, "not a regular file")
    if not os.access(path, os.R_OK):
        return _Status(0, 0, 0, "permission denied")
    return _Status(status.st_size, status.st_mtime_ns, stamp_of(status))


def _labels(table: Path, lines: list[_Line]) -> Labels | None:
    texts = [line.label for line in lines]
    if not any(texts):
        return None
    if all(text == "" or _is_integer(text) for text in texts):
        return encode_labels(np.array([int(text or -1) for text in texts]), where=str(table))
    return encode_labels(strings(texts), where=str(table))


def _is_integer(text: str) -> bool:
    """True if `text` is an integer in plain form; 007 is a name, and so is a bar code."""
    return re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) is not None


def _split(lines: list[_Line]) -> StringArray | None:
    split = strings(line.split for line in lines)
    return split if any(split) else None

"""A CSV or TSV file that lists images: path, and optionally id, label and split."""

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.sources.cells import OURS, text_of
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.cache.sources.listing import Line, open_lines, path_of

_MEANT = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")


def open_table(table: Path, *, limits: Limits = USUAL, progress: Progress = silent) -> FileImages:
    """The images listed in `table`, in its order.

    UTF-8, or UTF-16 with its mark, and a header line; what stands between columns is a comma, a
    semicolon or a tab, whichever makes one of them `path`, or as a first line `sep=;` says. Column
    `path` is relative to the table's folder, or absolute, and as
    the name is or as `stored_path` has it; `id` (unique; the path if not given), `label` and
    `split` are optional, other columns are ignored. Blanks around a path count if there is such a
    file. What `export` or an appended run wrote is read back to the same ids.
    Raises `UsageError`, naming the line, for a malformed table and a line without a path, and like
    `open_lines`.
    """
    return open_lines(table, list(_lines(table)), limits=limits, progress=progress)


class _Dialect(NamedTuple):
    """Writing of a table: `start` is where its header begins, after `skipped` lines."""

    delimiter: str
    start: int = 0
    skipped: int = 0


def _lines(table: Path) -> Iterator[Line]:
    try:
        with table.open(encoding=_encoding(table), newline="") as stream:
            dialect = _dialect(table, stream)
            padded = _is_padded(stream, dialect)
            yield from _rows(table, stream, dialect, padded)
    except UnicodeError as error:
        raise UsageError(
            f"{table} is not UTF-8 text: {error}. In a spreadsheet, save it as CSV UTF-8"
        ) from error
    except OSError as error:
        raise UsageError(f"{table} cannot be read: {error.strerror}") from error


def _rows(table: Path, stream: TextIO, dialect: _Dialect, padded: bool) -> Iterator[Line]:
    reader = csv.DictReader(
        stream, delimiter=dialect.delimiter, skipinitialspace=padded, strict=True, restval=""
    )
    try:
        reader.fieldnames = columns = _columns(table, reader.fieldnames or ())
        read = text_of if OURS.issubset(columns) else str
        for cells in reader:
            yield _line(cells, reader.line_num + dialect.skipped, table, read)
    except csv.Error as error:
        number = reader.reader.line_num + dialect.skipped
        raise UsageError(f"{table}, line {number}: {error}") from error


def _encoding(table: Path) -> str:
    with table.open("rb") as file:
        head = file.read(2)
    return "utf-16" if head in (BOM_UTF16_BE, BOM_UTF16_LE) else "utf-8-sig"


def _dialect(table: Path, stream: TextIO) -> _Dialect:
    """The dialect of a table, whose stream is left where its header begins."""
    first = stream.readline()
    if told := re.fullmatch(r"\"?sep=(.)\"?\s*", first, re.IGNORECASE | re.DOTALL):
        return _Dialect(told[1], stream.tell(), 1)
    stream.seek(0)
    usual = "\t" if table.suffix.lower() == ".tsv" else ","
    fits = (mark for mark in (usual, ";", "\t") if "path" in _names(first, mark))
    return _Dialect(next(fits, usual))


def _names(header: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    return [cell.strip().lower() for cell in cells]


def _columns(table: Path, header: Iterable[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    if columns.count("path") != 1:
        found = ", ".join(islice(columns, 12)) or "nothing"
        raise UsageError(
            f"{table} needs a first line that names its columns, one of them `path` "
            f"(others: id, label, split); found: {found}{_meant(table, columns)}"
        )
    return columns


def _meant(table: Path, columns: list[str]) -> str:
    """A hint of what to do with a table that is no list of paths."""
    if columns and all(map(_is_number, columns)):
        return (
            ". If these are features, save them as an array: np.save('features.npy', "
            f"np.loadtxt({table.name!r}, delimiter=','))"
        )
    near = [name for name in columns if get_close_matches(name, _MEANT, n=1, cutoff=0.8)]
    return f". If {near[0]} holds the paths, call it path" if near and "path" not in near else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_padded(stream: TextIO, dialect: _Dialect) -> bool:
    """True if there are blanks between delimiters and quotes, as people write them."""
    padded = re.compile(rf'(^|{re.escape(dialect.delimiter)}) +"', re.MULTILINE)
    found = any(padded.search(line) for line in stream)
    stream.seek(dialect.start)
    return found


def _line(cells: dict[str, str], number: int, table: Path, read: Callable[[str], str]) -> Line:
    if None in cells:
        raise UsageError(f"{table}, line {number}: more cells than columns; is a comma unquoted?")
    if any("\0" in cell for cell in cells.values()):
        raise UsageError(f"{table}, line {number}: holds a null character")
    if not cells["path"]:
        raise UsageError(f"{table}, line {number}: the path is empty")
    path = path_of(cells["path"], table.parent)
    label, split = read(cells.get("label", "")).strip(), read(cells.get("split", "")).strip()
    return Line(number, path, read(cells.get("id", "")) or path, label, split)

"""Columns that may stand beside arrays in a file: `ids`, `labels`, `class_names` and `split`."""

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import TEXT, StringArray
from clusterpipe.cache.sources.containers import ArrayFile, describe
from clusterpipe.cache.sources.files import mtime_of
from clusterpipe.cache.sources.manifest import Labels, Manifest, encode_labels, strings

_ROW_BYTES = 120  # of an id in memory, its place in lists and its time and size


def array_manifest(file: ArrayFile, *, n: int, bytes_per_row: int) -> Manifest:
    """The manifest of the `n` rows in `file`; without `ids`, the row numbers are the ids.

    Each row bears the file's modification time. Raises `UsageError` for a column whose length is
    not `n`, for ids that are empty or come twice, for labels without a name, and for more rows than
    there is memory for their names.
    """
    _refuse_too_many(file.path, n)
    labels = _labels(file, n)
    return Manifest(
        id=_ids(file, n),
        path=np.zeros(n, TEXT),
        size=np.full(n, bytes_per_row, np.int64),
        mtime=np.full(n, mtime_of(file.path.stat()), np.int64),
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        split=None if "split" not in file.arrays else texts(file, "split", n),
    )


def _refuse_too_many(path: Path, n: int) -> None:
    needed, there = n * _ROW_BYTES, _memory()
    if needed > there:
        raise UsageError(
            f"{path} claims {n:,} rows: their ids alone take {needed >> 20:,} MiB of memory, and "
            f"there are {there >> 20:,}"
        )


def _memory() -> int:
    """Bytes of memory that this process may have at the most."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS))
    return min([most, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])


def _ids(file: ArrayFile, n: int) -> StringArray:
    if "ids" not in file.arrays:
        return np.arange(n).astype(TEXT)
    ids = texts(file, "ids", n)
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if not name:
            raise UsageError(f"{file.path}: ids holds an empty id in row {row}")
        if first.setdefault(name, row) != row:
            raise UsageError(f"{file.path}: ids holds {name!r} in rows {first[name]} and {row}")
    return ids


def _labels(file: ArrayFile, n: int) -> Labels | None:
    if "labels" not in file.arrays:
        return None
    values = _column(file, "labels", n)
    if values.dtype.kind not in "biu":
        values = texts(file, "labels", n)
    names = None if "class_names" not in file.arrays else texts(file, "class_names")
    return encode_labels(values, names, where=str(file.path))


def _column(file: ArrayFile, name: str, n: int | None = None) -> NDArray[Any]:
    """The array called `name`, of one dimension, and of length `n` unless that is None."""
    rows = file.arrays[name]
    if len(rows.shape) != 1 or n not in (None, rows.shape[0]):
        expected = "one dimension" if n is None else f"({n})"
        raise UsageError(f"{file.path}: {name} is {describe(rows)}, expected {expected}")
    return rows[0 : rows.shape[0]]


def texts(file: ArrayFile, name: str, n: int | None = None) -> StringArray:
    """A column of strings, UTF-8 bytes or integers, as strings."""
    values = _column(file, name, n)
    if values.dtype.kind not in "OSUiu":
        raise UsageError(f"{file.path}: {name} holds {values.dtype}, expected strings or integers")
    try:
        found = strings(_text(value) for value in values.tolist())
        "".join(found).encode()
    except UnicodeError as error:
        raise UsageError(f"{file.path}: {name} holds text that is not Unicode: {error}") from error
    if any("\0" in text for text in found):  # HDF5 keeps none
        row = next(row for row, text in enumerate(found) if "\0" in text)
        raise UsageError(f"{file.path}: {name} holds a null character in row {row}")
    return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

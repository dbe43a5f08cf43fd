"""Tables of Arrow: a parquet file, or the files of a Hugging Face data set on disk, by batches."""

from __future__ import annotations

import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import IntArray

_BATCH = 64  # rows of images that are in memory together
_KEPT = 6  # batches
_ROWS = 8_192  # of features and of texts
_NOWHERE: tuple[int, Iterator[Any]] = (sys.maxsize, iter(()))


class Table(Protocol):
    """A table whose columns are read by batches."""

    @property
    def path(self) -> Path: ...

    @property
    def schema(self) -> Any:
        """The schema, of `pyarrow`."""

    def batches(self, columns: Sequence[str], start: int, size: int) -> Iterator[Any]:
        """Record batches of some columns from row `start` on."""

    def __len__(self) -> int: ...


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what pyarrow raises for a damaged file, and for its own absence, into UsageError."""
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(f"{path} needs pyarrow: pip install pyarrow") from error
    try:
        yield
    except (pyarrow.ArrowException, OSError, MemoryError, OverflowError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


@dataclass(frozen=True)
class ParquetTable:
    """One parquet file. Its schema is read when it is opened."""

    path: Path

    @cached_property
    def file(self) -> Any:
        with readable(self.path):
            from pyarrow import parquet

            return parquet.ParquetFile(self.path)

    @property
    def schema(self) -> Any:
        return self.file.schema_arrow

    def __len__(self) -> int:
        return int(self.file.metadata.num_rows)

    @cached_property
    def _starts(self) -> IntArray:
        """First row of each row group, and the number of all rows."""
        meta = self.file.metadata
        counts = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        return np.cumsum([0, *counts])

    def batches(self, columns: Sequence[str], start: int, size: int) -> Iterator[Any]:
        """Record batches from row `start` on; of its row group what stands before is skipped."""
        from pyarrow import parquet

        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        skip = start - int(self._starts[first])
        groups = range(first, len(self._starts) - 1)
        with readable(self.path), parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(size, row_groups=groups, columns=list(columns)):
                if skip < len(batch):
                    yield batch.slice(skip)
                skip = max(0, skip - len(batch))


@dataclass(frozen=True)
class IpcTable:
    """The files of a data set that `datasets` saved, mapped into memory."""

    path: Path
    files: tuple[Path, ...]

    @cached_property
    def _batches(self) -> list[Any]:
        found: list[Any] = []
        for file in self.files:
            with readable(file):
                found += _mapped(file)
        return found

    @property
    def schema(self) -> Any:
        if not self._batches:
            raise UsageError(f"{self.path} holds no row")
        return self._batches[0].schema

    def __len__(self) -> int:
        return sum(map(len, self._batches))

    def batches(self, columns: Sequence[str], start: int, size: int) -> Iterator[Any]:
        """Record batches from row `start` on."""
        names = [column.partition(".")[0] for column in columns]
        for batch in self._batches:
            for first in range(min(start, len(batch)), len(batch), size):
                yield batch.select(names).slice(first, size)
            start = max(0, start - len(batch))


def _mapped(file: Path) -> list[Any]:
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        reader = pyarrow.ipc.open_stream(source)
        found = list(reader)
    for batch in found:
        batch.validate(full=True)  # offsets of a damaged file lead anywhere
    return found


def open_parquet_table(path: Path) -> ParquetTable:
    """A parquet file. Raises UsageError when it is damaged or pyarrow is missing."""
    table = ParquetTable(path)
    len(table)
    return table


def open_dataset_table(folder: Path) -> IpcTable:
    """A data set that `datasets.save_to_disk` wrote. Raises UsageError like `readable`."""
    state = told(folder / "state.json")
    names = [str(item.get("filename", "")) for item in state.get("_data_files") or ()]
    if any(Path(name).name != name for name in names):
        raise UsageError(f"{folder}/state.json names files outside of the folder")
    return IpcTable(folder, tuple(folder / name for name in names))


def told(path: Path) -> Mapping[str, Any]:
    """The object in a small JSON file. Raises UsageError when it is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no object")
    return found


@dataclass
class Cells:
    """Single cells of a column, read by batches of which the last are kept; for any thread."""

    table: Table
    column: str
    _kept: OrderedDict[int, Any] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: tuple[int, Iterator[Any]] = _NOWHERE  # row that the batches go on with

    def __getitem__(self, row: int) -> Any:
        """The cell of a row as a Python value. Raises UsageError when the file is damaged."""
        with self._lock:
            for start, kept in self._kept.items():
                if start <= row < start + len(kept):
                    return kept[row - start].as_py()
            return self._read(row)

    def _read(self, row: int) -> Any:
        (at, batches), self._next = self._next, _NOWHERE
        if not at <= row < at + 4 * _BATCH:
            at, batches = row, self.table.batches([self.column], row, _BATCH)
        start = at
        while row >= at:
            batch = next(batches, None)
            if batch is None:
                raise UsageError(f"{self.table.path} cannot be read: it ends before row {row}")
            start, at = at, at + len(batch)
            self._kept[start] = batch.column(0)
        self._next = (at, batches)
        found = self._kept[start][row - start].as_py()
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found


def texts(table: Table, column: str) -> list[str]:
    """A column of strings or integers as strings; what is missing is empty."""
    found: list[str] = []
    for batch in table.batches([column], 0, _ROWS):
        found += ["" if v is None else str(v) for v in batch.column(0).to_pylist()]
    return found


@dataclass(frozen=True)
class ColumnRows:
    """A column of lists of floats as a matrix (n, d), read by slices."""

    table: Table
    column: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice, /) -> np.ndarray[Any, Any]:
        start, stop, step = rows.indices(self.shape[0])
        out = np.empty((max(0, stop - start), self.shape[1]), self.dtype)
        done = 0
        if len(out):
            for batch in self.table.batches([self.column], start, _ROWS):
                block = self._matrix(batch.column(0), start + done)[: len(out) - done]
                out[done : done + len(block)] = block
                done += len(block)
                if done == len(out):
                    break
        return out[::step]

    def _matrix(self, lists: Any, first: int) -> np.ndarray[Any, Any]:
        width = self.shape[1]
        values = lists.flatten()
        if lists.null_count or values.null_count or len(values) != len(lists) * width:
            lengths = [-1 if v is None or None in v else len(v) for v in lists.to_pylist()]
            row = next((i for i, n in enumerate(lengths) if n != width), 0)
            raise UsageError(
                f"{self.table.path}: {self.column} holds no {width} numbers in row {first + row}"
            )
        block: np.ndarray[Any, Any] = values.to_numpy(zero_copy_only=False)
        return block.reshape(len(lists), width)


def matrix(table: Table, column: str) -> ColumnRows:
    """A column of lists as a matrix; the first row tells its width."""
    import pyarrow

    kind = table.schema.field(column).type
    if pyarrow.types.is_fixed_size_list(kind):
        width = kind.list_size
    else:
        first = next(table.batches([column], 0, 1), None)
        width = len(first.column(0)[0].as_py() or ()) if first is not None else 0
    if not width:
        raise UsageError(f"{table.path}: {column} holds no numbers in its first row")
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    return ColumnRows(table, column, (len(table), width), dtype)

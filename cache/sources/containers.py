"""The arrays in a `.npy`, `.npz`, HDF5 or safetensors file, read by slices of rows."""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from clusterpipe.cache import foreign
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import Rows

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".safetensors")

_BLOCK_BYTES = 64 << 20  # what is asked of another process at a time
_DEFLATED = 1032  # how much shorter deflate makes anything, at the most

_SAFETENSORS_DTYPES = {
    **{f"F{8 * size}": np.dtype(f"f{size}") for size in (2, 4, 8)},
    **{f"I{8 * size}": np.dtype(f"i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"u{size}") for size in (1, 2, 4, 8)},
    "BOOL": np.dtype(bool),
}


class Arrays(Mapping[str, Rows]):
    """Arrays by name; those that are not to be read say why when they are asked for."""

    def __init__(self, path: Path, rows: Mapping[str, Rows | str]) -> None:
        self._path, self._rows = path, rows

    def __getitem__(self, name: str) -> Rows:
        found = self._rows[name]
        if isinstance(found, str):
            raise UsageError(f"{self._path}: {name} {found}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def called(self, names: Mapping[str, str]) -> "Arrays":
        """Some of the arrays by other names: the new name of each maps to the one it has here."""
        return Arrays(self._path, {new: self._rows[name] for new, name in names.items()})


@dataclass(frozen=True)
class ArrayFile:
    """The arrays of a file by name; those within groups of HDF5 as `group/name`."""

    path: Path
    arrays: Arrays


def open_arrays(path: Path) -> ArrayFile:
    """The arrays in `path`; nothing but their names, shapes and dtypes is read yet.

    Whatever shape a file claims costs nothing until rows are read, and more than it holds is
    refused. HDF5 is opened by a process apart, which refuses data that lie outside of the file or,
    for virtual datasets, of its folder.

    The one array of a `.npy` file is called "features" if it has two dimensions, "images" if it
    has three or four, else "array". The rows are picklable: they hold the path and open the file
    for each slice, apart from those of `.npz`, which are read whole on first use. Each slice is an
    array of its own. Raises `UsageError`, here or when rows are read, for a file that is damaged
    or holds pickled objects.
    """
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}
    with readable(path):
        return ArrayFile(path, Arrays(path, readers.get(path.suffix.lower(), _hdf5)(path)))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what the libraries raise for a damaged file into `UsageError`."""
    from safetensors import SafetensorError

    damage = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, foreign.Refused)
    try:
        yield
    except (*damage, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def listed(file: ArrayFile, most: int = 12) -> str:
    """The arrays with their shapes, for messages; of many the first."""
    first = [f"{name} {describe(file.arrays[name])}" for name in list(file.arrays)[:most]]
    left = len(file.arrays) - len(first)
    return ", ".join([*first, *([f"and {left:,} more"] if left else [])]) or "no arrays"


def describe(rows: Rows) -> str:
    """Shape and dtype, for messages: `(10, 32, 32, 3) uint8`."""
    return f"({', '.join(map(str, rows.shape))}) {rows.dtype}"


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def claim(self, held: int) -> None:
        """Raises ValueError when the shape claims more than the `held` bytes that are there."""
        if not self.dtype.itemsize:
            raise ValueError(f"it holds values of no size {self.shape}")
        if min(self.shape, default=0) < 0 or self.size > held - self.start:
            raise ValueError(
                f"it claims {self.size:,} bytes {self.shape}, and holds {held - self.start:,}"
            )


def _read_header(stream: IO[bytes]) -> _Header:
    """The header of a `.npy` file; those of version 3 differ only for named fields.

    Raises ValueError. numpy has Python parse it, which fails in ways of its own.
    """
    version = npy_format.read_magic(stream)
    read = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    try:
        shape, fortran, dtype = read(stream)
    except (SyntaxError, TokenError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("its header describes no array") from error
    if any(type(length) is not int for length in shape):
        raise ValueError(f"its header gives it the shape {shape}")
    return _Header(shape, dtype, fortran, stream.tell())


def _refuse_pickles(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise UsageError(
            f"{path}: {name} holds pickled Python objects, which are never loaded; "
            f"save strings as np.array(values, dtype=str)"
        )


@dataclass(frozen=True)
class NpyRows:
    """The array of a `.npy` file."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        _refuse_pickles(self.path, "the array", self.dtype)
        with readable(self.path):
            if self.fortran or not self.shape:
                return np.array(self._mapped()[rows])
            start, stop, step = rows.indices(self.shape[0])
            return self._read(min(start, stop), max(start, stop))[:: max(step, 1)]

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        """Read and not mapped: a file that shrinks meanwhile is then an error and no crash."""
        row = math.prod(self.shape[1:])
        with self.path.open("rb") as file:
            file.seek(self.offset + start * row * self.dtype.itemsize)
            found = np.fromfile(file, self.dtype, (stop - start) * row)
        return found.reshape(stop - start, *self.shape[1:])

    def _mapped(self) -> NDArray[Any]:
        empty = 0 in self.shape  # nothing to map
        array: NDArray[Any] = np.load(
            self.path, mmap_mode=None if empty else "r", allow_pickle=False
        )
        return array


@dataclass(frozen=True)
class NpzRows:
    """One array of a `.npz` file."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        _refuse_pickles(self.path, self.name, self.dtype)
        return self._array[rows].copy()

    @cached_property
    def _array(self) -> NDArray[Any]:
        with readable(self.path), np.load(self.path, allow_pickle=False) as archive:
            array: NDArray[Any] = archive[self.name]
        return array


@dataclass(frozen=True)
class Hdf5Rows:
    """One dataset of an HDF5 file, read by a process apart; strings come as Python strings."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        row = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        start, stop, step = rows.indices(self.shape[0])
        size = max(1, _BLOCK_BYTES // row)
        with readable(self.path):
            parts = [
                self._read(first, min(first + size, stop), row)
                for first in range(start, max(stop, start + 1), size)
            ]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts))[::step]

    def _read(self, start: int, stop: int, row: int) -> NDArray[Any]:
        asked: dict[str, Any] = {"name": self.name, "start": start, "stop": max(start, stop)}
        size = max(0, stop - start) * row
        answer = foreign.ask("read", self.path, size=size, **asked)
        if answer.told["text"]:
            return np.array(json.loads(answer.data), dtype=object)
        array: NDArray[Any] = np.load(io.BytesIO(answer.data), allow_pickle=False)
        return array


@dataclass(frozen=True)
class SafetensorsRows:
    """One tensor of a safetensors file."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        from safetensors import safe_open

        start, stop, step = rows.indices(self.shape[0])  # safetensors knows no slice past the end
        if start >= stop:
            return np.empty((0, *self.shape[1:]), self.dtype)
        with readable(self.path), safe_open(self.path, framework="numpy") as file:
            return np.asarray(file.get_slice(self.name)[start:stop:step])


def _npy(path: Path) -> dict[str, Rows]:
    with path.open("rb") as stream:
        header = _read_header(stream)
    header.claim(path.stat().st_size)
    name = {2: "features", 3: "images", 4: "images"}.get(len(header.shape), "array")
    return {name: NpyRows(path, header.shape, header.dtype, header.fortran, header.start)}


def _npz(path: Path) -> dict[str, Rows]:
    arrays: dict[str, Rows] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"it holds {member.filename!r} twice")
                with archive.open(member) as stream:
                    header = _read_header(stream)
                header.claim(min(member.file_size, member.compress_size * _DEFLATED))
                arrays[name] = NpzRows(path, name, header.shape, header.dtype)
    return arrays


def _hdf5(path: Path) -> dict[str, Rows | str]:
    found = foreign.ask("list", path, size=0).told["arrays"]
    return {name: _hdf5_rows(path, name, **described) for name, described in found.items()}


def _hdf5_rows(
    path: Path, name: str, *, shape: Sequence[int] = (), dtype: str = "", refused: str = ""
) -> Rows | str:
    return refused or Hdf5Rows(path, name, tuple(shape), np.dtype(dtype))


def _safetensors(path: Path) -> dict[str, Rows]:
    from safetensors import safe_open

    arrays: dict[str, Rows] = {}
    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_slice(name)
            code = tensor.get_dtype()
            if code not in _SAFETENSORS_DTYPES:
                raise UsageError(
                    f"{path}: {name} is {code}, which numpy cannot hold; save it as F16 or F32"
                )
            arrays[name] = SafetensorsRows(
                path, name, tuple(tensor.get_shape()), _SAFETENSORS_DTYPES[code]
            )
    return arrays

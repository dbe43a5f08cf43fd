"""The arrays in a `.npy`, `.npz`, HDF5 or safetensors file, read by slices of rows."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import Rows

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".safetensors")

_SAFETENSORS_DTYPES = {
    **{f"F{8 * size}": np.dtype(f"f{size}") for size in (2, 4, 8)},
    **{f"I{8 * size}": np.dtype(f"i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"u{size}") for size in (1, 2, 4, 8)},
    "BOOL": np.dtype(bool),
}


@dataclass(frozen=True)
class ArrayFile:
    """The arrays at the top level of a file, by name."""

    path: Path
    arrays: Mapping[str, Rows]


def open_arrays(path: Path) -> ArrayFile:
    """The arrays in `path`; nothing but their names, shapes and dtypes is read yet.

    The one array of a `.npy` file is called "features" if it has two dimensions, "images" if it
    has three or four, else "array". The rows are picklable: they hold the path and open the file
    for each slice, apart from those of `.npz`, which are read whole on first use. Each slice is an
    array of its own. Raises `UsageError`, here or when rows are read, for a file that is damaged
    or holds pickled objects.
    """
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}
    with readable(path):
        return ArrayFile(path, readers.get(path.suffix.lower(), _hdf5)(path))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what the libraries raise for a damaged file into `UsageError`."""
    from safetensors import SafetensorError

    damage = (OSError, ValueError, KeyError, EOFError, RuntimeError)
    try:
        yield
    except (*damage, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def describe(rows: Rows) -> str:
    """Shape and dtype, for messages: `(10, 32, 32, 3) uint8`."""
    return f"({', '.join(map(str, rows.shape))}) {rows.dtype}"


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _read_header(stream: IO[bytes]) -> _Header:
    """The header of a `.npy` file; those of version 3 differ only for named fields."""
    version = npy_format.read_magic(stream)
    read = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    shape, _, dtype = read(stream)
    return _Header(shape, dtype)


def _refuse_pickles(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise UsageError(
            f"{path}: {name} holds pickled Python objects, which are never loaded; "
            f"save strings as np.array(values, dtype=str)"
        )


@dataclass(frozen=True)
class NpyRows:
    """The array of a `.npy` file, memory-mapped."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        _refuse_pickles(self.path, "the array", self.dtype)
        with readable(self.path):
            empty = 0 in self.shape  # nothing to map
            array = np.load(self.path, mmap_mode=None if empty else "r", allow_pickle=False)
            return np.array(array[rows])


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
    """One dataset of an HDF5 file; strings are read as Python strings."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        import h5py

        with readable(self.path), h5py.File(self.path, "r") as file:
            dataset = file[self.name]
            if h5py.check_string_dtype(dataset.dtype):
                dataset = dataset.asstr("utf-8")
            return np.asarray(dataset[rows])


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
    name = {2: "features", 3: "images", 4: "images"}.get(len(header.shape), "array")
    return {name: NpyRows(path, header.shape, header.dtype)}


def _npz(path: Path) -> dict[str, Rows]:
    arrays: dict[str, Rows] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                name = member.removesuffix(".npy")
                with archive.open(member) as stream:
                    header = _read_header(stream)
                arrays[name] = NpzRows(path, name, header.shape, header.dtype)
    return arrays


def _hdf5(path: Path) -> dict[str, Rows]:
    import h5py

    with h5py.File(path, "r") as file:
        return {
            name: Hdf5Rows(path, name, dataset.shape, dataset.dtype)
            for name, dataset in file.items()
            if isinstance(dataset, h5py.Dataset) and dataset.shape is not None
        }


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

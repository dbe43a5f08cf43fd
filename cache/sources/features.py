"""Features that were computed elsewhere: `features` (n, d), or several `features_<space>`."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.rows import Rows, blocks
from clusterpipe.cache.schema import Embeddings
from clusterpipe.cache.sources.columns import array_manifest
from clusterpipe.cache.sources.containers import ArrayFile, describe
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.cache.sources.places import COLUMNS, refuse_misspelt

_PLAIN = "features"
_PREFIX = "features_"
_TAKEN = {field.name for field in fields(Embeddings)} | {"skipped"}


@dataclass(frozen=True)
class FiniteRows:
    """A matrix that raises `UsageError` when rows with NaN or infinity are read."""

    source: Rows
    what: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        block = self.source[rows]
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = range(self.shape[0])[rows][int(finite.argmin())]
            raise UsageError(f"{self.what} {describe(self)} holds NaN or infinity in row {row}")
        return block


@dataclass(frozen=True)
class FileFeatures:
    """A `FeatureSource`: the feature spaces of one file."""

    name: str
    manifest: Manifest
    spaces: Mapping[str, Rows]
    file: Path

    def fingerprint(self) -> str:
        """blake2b (256 bits, hexadecimal) of every space's name, shape, dtype and rows.

        Labels that are added to the file leave it as it is. Raises `OSError`, and `UsageError`
        for rows that are not numbers.
        """
        state = hashlib.blake2b(digest_size=32)
        for name, rows in self.spaces.items():
            state.update(f"{name} {rows.shape} {rows.dtype.str}".encode())
            for block in blocks(rows):
                state.update(np.ascontiguousarray(block).tobytes())
        return state.hexdigest()


def holds_features(file: ArrayFile) -> bool:
    return any(map(_is_features, file.arrays))


def open_features(file: ArrayFile) -> FileFeatures:
    """The feature spaces of `file` with the columns that stand beside them.

    Array `features` becomes the space "features", `features_<name>` the space `<name>`; each is
    (n, d), floating point, and read by slices. Raises `UsageError` for other shapes or dtypes,
    for lengths that differ, and, when the rows are read, for NaN or infinity.
    """
    known = (*COLUMNS, "images", _PLAIN, *filter(_is_features, file.arrays))
    left = refuse_misspelt(file, known)
    spaces = {_space(file, name): matrix(file, name) for name in file.arrays if _is_features(name)}
    if len({rows.shape[0] for rows in spaces.values()}) > 1:
        found = ", ".join(f"{space} {describe(rows)}" for space, rows in spaces.items())
        raise UsageError(f"{file.path}: the feature spaces differ in length: {found}")
    n = next(iter(spaces.values())).shape[0]
    width = sum(rows.shape[1] * rows.dtype.itemsize for rows in spaces.values())
    manifest = array_manifest(file, n=n, bytes_per_row=width)
    manifest = replace(manifest, remarks=(left,) if left else ())
    return FileFeatures(safe_name(file.path.stem), manifest, spaces, file.path)


def _is_features(name: str) -> bool:
    return name == _PLAIN or name.startswith(_PREFIX)


def _space(file: ArrayFile, name: str) -> str:
    space = name.removeprefix(_PREFIX)
    if safe_name(space) != space or space in _TAKEN:
        raise UsageError(
            f"{file.path}: {name} would make a feature space called {space!r}; "
            f"rename it to a word of letters, digits and . _ - that embeddings.h5 does not use"
        )
    return space


def matrix(file: ArrayFile, name: str) -> FiniteRows:
    """The array `name`, (n, d) floats. Raises `UsageError` for another shape or dtype."""
    rows = file.arrays[name]
    if len(rows.shape) != 2 or rows.shape[1] == 0 or rows.dtype.kind != "f":
        raise UsageError(f"{file.path}: {name} is {describe(rows)}; expected (n, d) floats")
    return FiniteRows(rows, f"{file.path}: {name}")

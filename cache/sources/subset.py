"""Some rows of a source, evenly spread over it, for a trial run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.rows import Rows, take
from clusterpipe.cache.schema import IntArray
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.cache.sources.protocols import FeatureSource, ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image


def evenly_spread(n: int, count: int) -> IntArray:
    """`count` of the rows 0..n-1, ascending and distinct, so that each part is represented."""
    return np.arange(count) * n // count


@dataclass(frozen=True)
class SelectedRows:
    """The rows `index` (m,) of a matrix."""

    source: Rows
    index: IntArray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        return take(self.source, self.index[rows])


@dataclass(frozen=True)
class ImageSubset:
    """The rows `index` (m,) of an image source."""

    source: ImageSource
    index: IntArray

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def manifest(self) -> Manifest:
        return self.source.manifest.take(self.index)

    def read(self, row: int) -> bytes:
        return self.source.read(int(self.index[row]))

    def decode(self, data: bytes, needed: int = 0) -> Image:
        return self.source.decode(data, needed)


@dataclass(frozen=True)
class FeatureSubset:
    """The rows `index` (m,) of a feature source; the fingerprint is that of all rows."""

    source: FeatureSource
    index: IntArray

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def manifest(self) -> Manifest:
        return self.source.manifest.take(self.index)

    @property
    def spaces(self) -> Mapping[str, Rows]:
        return {space: SelectedRows(rows, self.index) for space, rows in self.source.spaces.items()}

    def fingerprint(self) -> str:
        return self.source.fingerprint()

"""Features together with the pictures that they were computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clusterpipe.cache.rows import Rows
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.cache.sources.protocols import FeatureSource, ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PicturedFeatures:
    """Both a `FeatureSource` and an `ImageSource`: row i of each is the same image.

    The features are taken as they are; the pictures are only shown.
    """

    features: FeatureSource
    pictures: ImageSource

    @property
    def name(self) -> str:
        return self.features.name

    @property
    def manifest(self) -> Manifest:
        return self.features.manifest

    @property
    def spaces(self) -> Mapping[str, Rows]:
        return self.features.spaces

    def fingerprint(self) -> str:
        return self.features.fingerprint()

    def read(self, row: int) -> bytes:
        return self.pictures.read(row)

    def decode(self, data: bytes, needed: int = 0) -> Image:
        return self.pictures.decode(data, needed)

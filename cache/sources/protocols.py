"""Protocols of sources: what the embed stage asks of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from clusterpipe.cache.rows import Rows
from clusterpipe.cache.sources.manifest import Manifest

if TYPE_CHECKING:
    from PIL.Image import Image


@runtime_checkable
class ImageSource(Protocol):
    """Images to embed. Rows number the manifest; both methods may be called from threads."""

    @property
    def name(self) -> str:
        """Short, and safe as the name of a folder."""

    @property
    def manifest(self) -> Manifest: ...

    def read(self, row: int) -> bytes:
        """The encoded image. Raises `OSError` when it cannot be read, and `UnreadableImage` for
        what is not worth reading."""

    def decode(self, data: bytes, needed: int = 0) -> Image:
        """The upright RGB image in `read`'s bytes. Raises `UnreadableImage`.

        With `needed`, a number of pixels, one whose shorter side has many times as many may come
        smaller; `images.size_of` tells the size it had.
        """


@runtime_checkable
class FeatureSource(Protocol):
    """Features computed elsewhere: each space (n, d) is read by slices, rows number the manifest.

    Reading rows with NaN or infinity raises `UsageError`.
    """

    @property
    def name(self) -> str:
        """Short, and safe as the name of a folder."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def spaces(self) -> Mapping[str, Rows]: ...

    def fingerprint(self) -> str:
        """Digest of the features themselves, whatever stands beside them in the file."""

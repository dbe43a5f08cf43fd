"""Images that are the rows of an array: `images` (n, h, w, 3) or (n, h, w) uint8."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import images
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.sources.columns import array_manifest
from clusterpipe.cache.sources.containers import ArrayFile, describe
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.cache.sources.places import COLUMNS, refuse_misspelt

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK_BYTES = 8 << 20  # that are read together
_BLOCKS = 8


class ArrayImages:
    """An `ImageSource` of the rows of one array; an encoded image is its packed pixels."""

    def __init__(
        self, name: str, manifest: Manifest, pixels: Rows, *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self.name = name
        self.manifest = manifest
        self._pixels = pixels
        self._block_rows = max(1, block_bytes // math.prod(pixels.shape[1:]))
        # Chunks of a compressed HDF5 dataset hold many images: read them together, once.
        self._block = lru_cache(maxsize=_BLOCKS)(self._read_block)

    def read(self, row: int) -> bytes:
        """The packed pixels of one image. Raises `UsageError` when the file is damaged."""
        from PIL import Image

        block, within = divmod(row, self._block_rows)
        return images.pack(Image.fromarray(self._block(block)[within]))

    def decode(self, data: bytes, needed: int = 0) -> Image:
        """The image in `read`'s bytes. Raises `UnreadableImage`."""
        return images.unpack(data)

    def _read_block(self, block: int) -> NDArray[Any]:
        return self._pixels[block * self._block_rows : (block + 1) * self._block_rows]


def open_images(file: ArrayFile) -> ArrayImages:
    """The images in array `images` of `file`, RGB or gray, with the columns that stand beside it.

    Raises `UsageError` for another shape or dtype.
    """
    pixels = file.arrays["images"]
    if not _is_images(pixels):
        raise UsageError(
            f"{file.path}: images is {describe(pixels)}; "
            f"expected (n, h, w, 3) or, for gray, (n, h, w), uint8"
        )
    features = (name for name in file.arrays if name.startswith("features"))
    left = refuse_misspelt(file, (*COLUMNS, "images", *features))
    n, height, width = pixels.shape[:3]
    manifest = array_manifest(file, n=n, bytes_per_row=images.packed_size(width, height))
    manifest = replace(manifest, remarks=(left,) if left else ())
    return ArrayImages(safe_name(file.path.stem), manifest, pixels)


def _is_images(pixels: Rows) -> bool:
    shape = pixels.shape
    channels_fit = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
    return channels_fit and 0 not in shape[1:] and pixels.dtype == np.uint8

"""Samples of more than 8 bits, and the files that Pillow would take them from wrongly or not."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import Limits

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_DEPTHS = (8, 10, 12, 14, 16)  # bits per sample of the devices that write into 16
_ORIENTATION = 0x0112
_ROWS = 4_000_000  # samples that are scaled at once
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_PLAIN = frozenset({"u1", "b1"})  # what Pillow reads right, however it lies in the file


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples (h, w) or (h, w, c) of any real dtype, scaled to 0..255 by the range they use.

    That is the full range of 8, 10, 12, 14 or 16 bits for integers, 0..1 or 0..255 for floats, and
    from the lowest to the highest value for what exceeds those. What is not finite counts as the
    lowest value.
    """
    lowest, low, high = _range(values)
    scale = 255 / (high - low) if high > low else 0.0
    scaled = np.empty(values.shape, np.uint8)
    step = max(1, _ROWS // max(1, values[0].size))
    for start in range(0, len(values), step):
        part = values[start : start + step].astype(np.float64)
        part = (np.where(np.isfinite(part), part, lowest) - low) * scale
        scaled[start : start + step] = np.rint(part)
    return scaled


def _range(values: NDArray[Any]) -> tuple[float, float, float]:
    """The lowest value, and those shown as black and white: a usual full range if it holds all
    values, else their own."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not known.size:
        return 0.0, 0.0, 0.0
    low, high = float(known.min()), float(known.max())
    whole = [2.0**bits - 1 for bits in _DEPTHS]
    for white in (1.0, 255.0) if values.dtype.kind == "f" else whole:
        if low >= 0 and high <= white:
            return low, 0.0, white
    return low, low, high


# ---------------------------------------------------------------- TIFF


@dataclass(frozen=True)
class Page:
    """The first page of a TIFF, whose samples are not read yet."""

    page: Any

    @property
    def size(self) -> tuple[int, int]:
        return self.page.imagewidth, self.page.imagelength

    @property
    def deep(self) -> bool:
        """True if its samples are others than Pillow is to be trusted with."""
        kind = self.page.dtype
        return kind is not None and kind.str[1:] not in _PLAIN

    @property
    def trusted(self) -> bool:
        """True if Pillow reads such samples right though it does not keep all of their bits."""
        together = self.page.planarconfig == 1 or self.page.samplesperpixel == 1
        return together and self.page.dtype is not None and self.page.dtype.str[1:] == "u2"

    def image(self, limits: Limits) -> Image:
        """The pixels, not turned yet, as RGB, RGBA or CMYK. Raises UnreadableImage for what they
        are not known to mean, and ValueError or ImportError for a compression that is not known."""
        limits.refuse_size(self.size)
        limits.refuse_bytes(self.page.nbytes)
        samples = _by_pixel(self.page.asarray(maxworkers=1), self.page.axes)
        image = self._of(samples)
        if orientation := self.page.tags.get(_ORIENTATION):
            image.getexif()[_ORIENTATION] = int(orientation.value)
        return image

    def _of(self, samples: NDArray[Any]) -> Image:
        meaning = int(self.page.photometric)
        if samples.dtype.kind not in "uif" or meaning not in (0, 1, 2, 5):
            raise UnreadableImage(
                f"a TIFF of a layout that cannot be read: {samples.dtype} samples, meant as "
                f"{getattr(self.page.photometric, 'name', meaning)}"
            )
        count = samples.shape[2]
        if meaning == _RGB and count >= 3:
            return _colours(samples)
        if meaning == _CMYK and count >= 4:
            return _image(eight_bits(samples[..., :4]), "CMYK")
        gray = eight_bits(samples[..., 0])
        return _image(255 - gray if meaning == _WHITE_IS_ZERO else gray, "L")


def first_page(stream: IO[bytes]) -> Page | None:
    """The first page of the TIFF in `stream`; None if it is none that tifffile understands."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # what it says is a reason here
    with suppress(tifffile.TiffFileError, LookupError, TypeError, ValueError, OSError):
        return Page(tifffile.TiffFile(stream).pages.first)
    return None


def _by_pixel(samples: NDArray[Any], axes: str) -> NDArray[Any]:
    """Samples (h, w, c): the channels last, of more planes than one the first."""
    samples = np.moveaxis(samples, axes.index("S"), -1) if "S" in axes else samples[..., None]
    while samples.ndim > 3:
        samples = samples[0]
    return samples


# ---------------------------------------------------------------- PNG


def deep_png(image: ImageFile, again: ImageFile) -> Image | None:
    """The colours of a PNG of 16 bits per sample, of which Pillow keeps the upper 8; None for other
    PNGs. `again` is the same file, opened a second time.

    What is stored with the upper byte first, and read as if it were the last, gives the lower.
    """
    stored = image.tile[0].args if len(image.tile) == 1 else None
    if stored not in ("RGB;16B", "RGBA;16B"):
        return None
    again.tile = [again.tile[0]._replace(args=stored[:-1] + "L")]
    upper, lower = np.asarray(image), np.asarray(again)
    read = _colours(upper.astype(np.uint16) << 8 | lower)
    read.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return read


def _colours(samples: NDArray[Any]) -> Image:
    colours = eight_bits(samples[..., :3])
    if samples.shape[2] == 3:
        return _image(colours, "RGB")
    return _image(np.dstack([colours, eight_bits(samples[..., 3])]), "RGBA")


def _image(pixels: NDArray[np.uint8], mode: str) -> Image:
    from PIL import Image

    size = (pixels.shape[1], pixels.shape[0])
    return Image.frombuffer(mode, size, np.ascontiguousarray(pixels), "raw", mode, 0, 1).copy()


def gray(image: Image) -> Image:
    """An image of integers or floats as 8-bit gray."""
    return _image(eight_bits(np.asarray(image)), "L")

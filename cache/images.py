"""From the bytes of an image file to upright 8-bit RGB pixels, whatever made the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpf",
        ".jpg",
        ".jpx",
        ".mpo",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""Lower-case endings of the files that are taken from a folder."""

# Raster formats only: Pillow would hand PostScript, whatever the file is called, to Ghostscript.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "AVIF", "JPEG2000", "PPM", "TGA")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

# Pillow's plug-ins let whatever a damaged header provokes through.
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)

_ENDS_EARLY = ("truncated", "but only got", "unexpected end")

_SIZE = struct.Struct("<II")


def decode(data: bytes) -> Image:
    """The upright RGB image, 8 bits per channel, in `data`, the bytes of an image file.

    EXIF orientation is applied; of an animation the first frame is taken; transparent pixels show
    white; 16-bit gray is scaled by its full range, and integers or floats beyond the usual ranges
    from their lowest to their highest value. Embedded colour profiles are not applied.

    Safe to call from several threads. Raises `UnreadableImage`, with the reason, for anything
    that is not a whole image of at most `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    if not data:
        raise UnreadableImage("empty file")
    with _damage_is_unreadable():
        image = _open(data)
        _refuse_bomb(image.size)
        image.load()
        _turn_upright(image)
        return _rgb(image)


def pack(image: Image) -> bytes:
    """RGB pixels behind a header of width and height: an encoded image for sources without files.

    Eight bytes (two little-endian uint32), then 3 bytes per pixel, row by row.
    """
    return _SIZE.pack(*image.size) + image.convert("RGB").tobytes()


def packed_size(width: int, height: int) -> int:
    """Bytes that `pack` makes of an image of that size in pixels."""
    return _SIZE.size + 3 * width * height


def unpack(data: bytes) -> Image:
    """The image in `pack`'s bytes. Raises `UnreadableImage` when they are not whole."""
    from PIL import Image

    size = _SIZE.unpack_from(data) if len(data) >= _SIZE.size else (0, 0)
    if 0 in size or len(data) != packed_size(*size):
        raise UnreadableImage("damaged: the pixels do not fit their width and height")
    return Image.frombytes("RGB", size, data[_SIZE.size :])


@contextmanager
def _damage_is_unreadable() -> Iterator[None]:
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    try:
        yield
    except (DecompressionBombError, DecompressionBombWarning) as error:
        raise UnreadableImage("too many pixels (decompression bomb)") from error
    except _DAMAGE as error:
        raise UnreadableImage(_reason(error)) from error


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if any(phrase in str(error).lower() for phrase in _ENDS_EARLY):
        return "truncated"
    return f"damaged: {' '.join(str(error).split()) or type(error).__name__}"


def _open(data: bytes) -> Image:
    from PIL import Image

    if _is_heif(data):
        _register_heif()
        return Image.open(BytesIO(data), formats=["HEIF"])
    return Image.open(BytesIO(data), formats=_known_formats())


def _is_heif(data: bytes) -> bool:
    """Whether this is HEIC or HEIF; AVIF, which shares the container, Pillow reads by itself."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS and b"avif" not in data[:64]


@cache
def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadableImage("HEIC needs `pip install 'clusterpipe[heic]'`") from error
    pillow_heif.register_heif_opener()


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of our formats that this build of Pillow can read."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _refuse_bomb(size: tuple[int, int]) -> None:
    """Pillow itself only warns up to twice its limit."""
    from PIL import Image

    width, height = size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise UnreadableImage("too many pixels (decompression bomb)")


def _turn_upright(image: Image) -> None:
    from PIL import ImageOps

    with suppress(*_DAMAGE):  # damaged EXIF does not tell which way is up
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image) -> Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image) -> Image:
    from PIL import Image

    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _eight_bits(image: Image) -> Image:
    """Gray of more than 8 bits, or of floats, as 8-bit gray."""
    from PIL import Image

    values = np.asarray(image, np.float32)
    finite = np.isfinite(values)
    lowest = values[finite].min() if finite.any() else 0
    values = np.where(finite, values, lowest)
    low, high = _gray_range(image.mode, values)
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _gray_range(mode: str, values: NDArray[Any]) -> tuple[float, float]:
    """The values shown as black and white: a usual full range if it holds them, else their own."""
    low, high = float(values.min()), float(values.max())
    for full in (1.0, 255.0) if mode == "F" else (65535.0,):
        if low >= 0 and high <= full:
            return 0.0, full
    return low, high

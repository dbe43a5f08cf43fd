"""From the bytes of an image file to upright 8-bit RGB pixels, whatever made the file."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING

from clusterpipe.cache import depth, png_chunks
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import USUAL, Limits, wanting
from clusterpipe.cache.signatures import EXTRA, HEAD, HEIC, TIFF, Kind, kind_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

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
        ".jxl",
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

DAMAGE: tuple[type[Exception], ...] = (
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
    ImportError,
    struct.error,
    zlib.error,
)
"""What Pillow's plug-ins raise at a damaged header."""

_ENDS_EARLY = ("truncated", "but only got", "unexpected end")
_ORIGINAL = "clusterpipe size"  # in the `info` of an image that was decoded at a smaller scale
_SCALES = (8, 4, 2, 1)
_STRIP = 512  # rows
_START_OF_SCAN = b"\xff\xda"

MARGIN, LONGEST = 4, 64
DECODER: Mapping[str, int] = {"version": 2, "margin": MARGIN, "longest": LONGEST}
"""What, besides the bytes of a file, decides its pixels; features are kept apart by it."""

_SIZE = struct.Struct("<II")


def decode(data: bytes, *, needed: int = 0, limits: Limits = USUAL) -> Image:
    """The upright RGB image, 8 bits per channel, in `data`, the bytes of an image file.

    EXIF orientation is applied; of an animation the first frame is taken; transparent pixels show
    white; samples of more bits are scaled as `depth.eight_bits` says. Embedded colour profiles are
    not applied.

    With `needed`, a number of pixels, an image whose shorter side has more than twice `MARGIN`
    times as many comes at 1/2, 1/4 or 1/8 of its size, whichever leaves it `MARGIN` times as many:
    JPEG is decoded at that scale, and of other formats what has more pixels than `limits.large` is
    averaged. `size_of` tells what it had.

    Safe to call from several threads. Raises `UnreadableImage`, with the reason, for anything
    that is not a whole image within `limits`.
    """
    if not data:
        raise UnreadableImage("empty file")
    kind = kind_of(data[:HEAD])
    with _damage_is_unreadable(kind):
        if kind is TIFF:
            return _tiff(data, needed, limits)
        plain = png_chunks.without_extras(data) if kind.name == "PNG" else data
        image = _opened(plain, kind, limits)
        with _alone(image.size, limits):
            deep = kind.name == "PNG" and depth.deep_png(image, _opened(plain, kind, limits))
            return _finished(deep or image, needed, limits)


def size_of(image: Image) -> tuple[int, int]:
    """Width and height, upright, that a decoded image has in its file."""
    width, height = image.info.get(_ORIGINAL, image.size)
    return width, height


def middle(image: Image) -> Image:
    """The image; of one more than `LONGEST` times as long as wide the middle of that shape.

    Backbones scale the shorter side to theirs and then take a square: the ends of a line of pixels
    would not be seen, and cost gigabytes.
    """
    (width, height), most = image.size, LONGEST * min(image.size)
    left, top = max(width - most, 0) // 2, max(height - most, 0) // 2
    return image.crop((left, top, width - left, height - top)) if left or top else image


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


def exif_block(data: bytes, limits: Limits = USUAL) -> bytes:
    """The EXIF block of an image file, which a TIFF file is itself; empty where there is none.

    Nothing is decoded. Raises `UnreadableImage` or one of `DAMAGE` for what is no image.
    """
    kind = kind_of(data[:HEAD])
    if kind is TIFF:
        return data
    plain = png_chunks.without_extras(data) if kind.name == "PNG" else data
    return bytes(_opened(plain, kind, limits).info.get("exif", b""))


@contextmanager
def _damage_is_unreadable(kind: Kind) -> Iterator[None]:
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    try:
        yield
    except (DecompressionBombError, DecompressionBombWarning) as error:  # of a plug-in's own
        raise UnreadableImage(f"too many pixels: {error}") from error
    except DAMAGE as error:
        raise UnreadableImage(_reason(error, kind)) from error


def _reason(error: Exception, kind: Kind) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if any(phrase in text.lower() for phrase in _ENDS_EARLY):
        return "truncated"
    if isinstance(error, _Unidentified) and not kind.image:
        said = f"not an image, but of the kind: {kind.name}"
        return said if kind.name else "not an image, or of an unknown format"
    return f"damaged, or an unusual {kind.name or 'image'}: {text}"


class _Unidentified(ValueError):
    """No decoder takes it; the text is what the one for its first bytes says, if there is one."""


@contextmanager
def _alone(size: tuple[int, int], limits: Limits) -> Iterator[None]:
    """Large images wait for each other, so that more threads do not need more memory."""
    with _one_large if size[0] * size[1] > limits.large else nullcontext():
        yield


_one_large = threading.Lock()


class _Stream(BytesIO):
    """The bytes of a file for a decoder that may compute for so many seconds."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        super().__init__(data)
        self.limits, self.end = limits, time.thread_time() + limits.seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self.end:
            raise self.limits.too_long()
        return super().read(size)


# ---------------------------------------------------------------- opening


def _opened(data: bytes, kind: Kind, limits: Limits) -> ImageFile:
    """The image, not decoded yet. Raises UnreadableImage for what `limits` refuse."""
    if kind in EXTRA and not kind.readable:
        raise wanting(kind)
    image = _identified(data, [_plugin(kind)] if kind in EXTRA else _known_formats(), limits)
    limits.refuse_size(image.size)
    if kind.name == "JPEG":
        limits.refuse_scans(data.count(_START_OF_SCAN), image.size)
    return image


def _identified(data: bytes, names: Iterable[str], limits: Limits) -> ImageFile:
    """As `Image.open`, which has a limit of its own and keeps for itself what plug-ins say."""
    from PIL import Image

    said = ""
    for name in names:
        factory, accept = Image.OPEN[name]
        if accept and accept(data[:16]) is not True:
            continue
        try:
            return factory(_Stream(data, limits), "")
        except (SyntaxError, LookupError, TypeError, struct.error) as error:
            said = said or (str(error) if accept else "")
    raise _Unidentified(said)


@cache
def _plugin(kind: Kind) -> str:
    """The name in Pillow of a kind that needs a package."""
    from PIL import Image

    module = import_module(kind.module)
    if kind is HEIC:
        module.register_heif_opener()
        return "HEIF"
    return next(name for name in Image.OPEN if name in ("JXL", "JPEGXL"))


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of our formats that this build of Pillow can read."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _tiff(data: bytes, needed: int, limits: Limits) -> Image:
    """A TIFF by Pillow, or else, where that would misread its samples or not read them at all, by
    tifffile, which knows fewer compressions."""
    page = depth.first_page(_Stream(data, limits))
    if page is None or not page.deep:
        with suppress(_Unidentified):
            return _by_pillow(data, needed, limits)
    if page is None:
        raise _Unidentified("it holds no page")
    try:
        with _alone(page.size, limits):
            return _finished(page.image(limits), needed, limits)
    except (ValueError, ImportError):
        if not page.trusted:
            raise
        return _by_pillow(data, needed, limits)


def _by_pillow(data: bytes, needed: int, limits: Limits) -> Image:
    image = _opened(data, TIFF, limits)
    with _alone(image.size, limits):
        return _finished(image, needed, limits)


# ---------------------------------------------------------------- decoding


def _finished(image: Image, needed: int, limits: Limits) -> Image:
    """The upright RGB image at the scale that is needed; its `info` tells the size it had."""
    from PIL.ImageFile import ImageFile

    full, scale = image.size, _scale(image.size, needed)
    if isinstance(image, ImageFile):
        image.draft("", (full[0] // scale, full[1] // scale))
    image.load()
    stored = image.size
    _turn_upright(image)
    turned = image.size != stored
    pixels = _rgb(image)
    scale = _scale(pixels.size, needed)
    if pixels.width * pixels.height > limits.large and scale > 1:
        pixels = pixels.reduce(scale)
    pixels.info[_ORIGINAL] = full[::-1] if turned else full
    return pixels


def _scale(size: tuple[int, int], needed: int) -> int:
    if not needed:
        return 1
    return next(s for s in _SCALES if min(size) >= s * MARGIN * needed or s == 1)


def _turn_upright(image: Image) -> None:
    from PIL import ImageOps

    with suppress(*DAMAGE):  # damaged EXIF does not tell which way is up
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image) -> Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return depth.gray(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image) -> Image:
    """Strip by strip, since it takes ten bytes for each pixel."""
    from PIL import Image

    shown = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        box = (0, top, image.width, min(top + _STRIP, image.height))
        strip = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        shown.paste(Image.alpha_composite(white, strip).convert("RGB"), box)
    return shown

"""Bad, odd and sound image files, each of a kind of its own, through the decoder.

    python tests/campaigns/bad_images.py [--seed 0] [--rounds 1]

Every file becomes an image or a reason in one line, within limits of memory and computing; sound
ones become the picture they hold. Prints how many kinds did, and what the others were. Seeded;
about two minutes of computing per round, at most 3 GB.
"""

import argparse
import io
import resource
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.images import decode, middle
from clusterpipe.cache.limits import Limits

MEMORY = 3 << 30
SECONDS = 20.0
CLOSE = 16.0  # mean difference of a lossy picture from the one it was made from
NEEDED = 224


@dataclass(frozen=True)
class File:
    """A file of a kind; `expected` pixels, where it is sound."""

    kind: str
    data: bytes
    expected: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a file: "picture", a reason, or what was wrong; and seconds of computing."""

    kind: str
    what: str
    fault: str
    seconds: float


def photograph(width: int = 160, height: int = 120) -> Image.Image:
    """Smooth colours that survive compression."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / width, 255 * y / height, 255 - 255 * x / width], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def tiff(samples: np.ndarray[Any, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def bases() -> dict[str, bytes]:
    """One sound file of each way to store a picture."""
    image = photograph()
    exif = Image.Exif()
    exif[0x0112] = 1
    return {
        "jpeg": encoded(image, "JPEG", quality=90, exif=exif),
        "progressive jpeg": encoded(image, "JPEG", quality=90, progressive=True),
        "cmyk jpeg": encoded(image.convert("CMYK"), "JPEG", quality=95),
        "png": encoded(image, "PNG"),
        "palette png": encoded(image.quantize(200), "PNG"),
        "gif": encoded(image, "GIF"),
        "webp": encoded(image, "WEBP", quality=90),
        "lossless webp": encoded(image, "WEBP", lossless=True),
        "avif": encoded(image, "AVIF", quality=90),
        "jpeg 2000": encoded(image, "JPEG2000"),
        "bmp": encoded(image, "BMP"),
        "ppm": encoded(image, "PPM"),
        "tga": encoded(image, "TGA", compression="tga_rle"),
        "tiff": encoded(image, "TIFF"),
        "lzw tiff": encoded(image, "TIFF", compression="tiff_lzw"),
        "16-bit tiff": tiff(np.asarray(image).astype(np.uint16) * 257, photometric="rgb"),
    }


def damages() -> dict[str, Callable[[bytes, np.random.Generator], bytes]]:
    """Ways in which files are spoiled."""
    return {
        "cut to a tenth": lambda data, rng: data[: len(data) // 10],
        "cut in half": lambda data, rng: data[: len(data) // 2],
        "without its last bytes": lambda data, rng: data[:-7],
        "with a zeroed block": lambda data, rng: _patched(data, rng, bytes(64)),
        "with noise in a block": lambda data, rng: _patched(data, rng, rng.bytes(64)),
        "with flipped bits": _flipped,
        "with a spoiled header": lambda data, rng: data[:8] + rng.bytes(24) + data[32:],
        "with bytes put in": lambda data, rng: data[:40] + rng.bytes(5) + data[40:],
        "with its halves swapped": lambda d, rng: d[len(d) // 2 :] + d[: len(d) // 2],
        "behind other bytes": lambda data, rng: b"\r\n" + data,
        "with full bytes for zeros": lambda d, rng: d[:60].replace(b"\0", b"\xff") + d[60:],
    }


def _patched(data: bytes, rng: np.random.Generator, patch: bytes) -> bytes:
    place = int(rng.integers(max(1, len(data) - len(patch))))
    return data[:place] + patch[: len(data) - place] + data[place + len(patch) :]


def _flipped(data: bytes, rng: np.random.Generator) -> bytes:
    spoiled = bytearray(data)
    for place in rng.integers(len(data), size=8):
        spoiled[place] ^= 1 << int(rng.integers(8))
    return bytes(spoiled)


def spoiled(rng: np.random.Generator) -> Iterator[File]:
    """Every base in every damage."""
    for name, data in bases().items():
        for how, spoil in damages().items():
            yield File(f"{name} {how}", spoil(data, rng))


def sound() -> Iterator[File]:
    """Files that are in order, however seldom they are seen."""
    image = photograph()
    pixels, gray = np.asarray(image), np.asarray(image.convert("L"))
    for name, data in bases().items():
        yield File(name, data, pixels)
        yield File(f"{name} with bytes after its end", data + b"\0trailing", pixels)
    for dtype, scale in ((np.uint16, 257), (np.uint16, 16), (np.float32, 1 / 255), (np.float64, 1)):
        deep = (pixels * np.array(scale)).astype(dtype)
        name = f"{np.dtype(dtype).name} times {scale:.3g}"
        yield File(f"rgb tiff of {name}", tiff(deep, photometric="rgb"), pixels)
        planes = np.ascontiguousarray(np.moveaxis(deep, 2, 0))
        separate = tiff(planes, photometric="rgb", planarconfig="separate")
        yield File(f"planar tiff of {name}", separate, pixels)
        flat = tiff(deep[..., 1], photometric="minisblack", compression="zlib")
        yield File(f"gray tiff of {name}", flat, np.repeat(pixels[..., 1:2], 3, axis=2))
    long = gray.astype(np.uint32) * np.uint32(2**24)
    yield File("uint32 tiff", tiff(long, photometric="minisblack"), np.dstack([gray] * 3))
    png = encoded(image, "PNG")
    for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"pHYs", b"acTL", b"prVt"):
        extra = chunk(kind, b"a\0\0" + zlib.compress(bytes(2_000_000)))
        yield File(f"png with an odd {kind.decode()}", png[:33] + extra + png[33:], pixels)


def costly() -> Iterator[File]:
    """Small files that ask for much."""
    line = encoded(Image.new("L", (60_000, 1)), "PNG")
    yield File("png, one line", line)
    yield File("png, one column", encoded(Image.new("RGB", (1, 60_000), "red"), "PNG"))
    for name, place, form in (("png", 16, ">II"), ("bmp", 18, "<ii")):
        data = bytearray(encoded(photograph(), name.upper()))
        struct.pack_into(form, data, place, 60_000, 60_000)
        yield File(f"{name} that claims 60,000 x 60,000 pixels", bytes(data))
    yield File("gif of the largest screen", b"GIF89a" + b"\xff" * 4 + bytes(40))
    yield File("ppm of many digits", b"P6 99999999999999999999 1 255\n" + bytes(99))
    yield File("ppm of 10 GB", b"P6 60000 60000 255\n" + bytes(99))
    scans = encoded(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    last = scans.rindex(b"\xff\xda")
    yield File("jpeg of 20,000 scans", scans[:-2] + scans[last:-2] * 20_000 + scans[-2:])
    yield File("jpeg of 200 scans", scans[:-2] + scans[last:-2] * 200 + scans[-2:])
    png = encoded(photograph(), "PNG")
    yield File("png of 200,000 chunks", png[:33] + chunk(b"tEXt", b"a\0b") * 200_000 + png[33:])
    yield File("png, 100 megapixels", encoded(Image.new("1", (10_000, 10_000)), "PNG"))


def foreign(rng: np.random.Generator) -> Iterator[File]:
    """Files that are no images."""
    yield File("empty", b"")
    yield File("noise", rng.bytes(5000))
    for magic in (b"%PDF-1.7", b"PK\3\4", b"\0\0\0\x18ftypmp42", b"8BPS", b"<svg>", b"MZ", b"ID3"):
        yield File(f"begins with {magic!r}", magic + rng.bytes(500))
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"BM"):
        yield File(f"{start!r} and noise", start + rng.bytes(3000))


def all_files(seed: int) -> Iterator[File]:
    rng = np.random.default_rng(seed)
    yield from sound()
    yield from costly()
    yield from foreign(rng)
    yield from spoiled(rng)


def judged(file: File) -> Outcome:
    """Decodes a file as the embedding would."""
    began = time.thread_time()
    what, fault = "picture", ""
    try:
        image = middle(decode(file.data, needed=NEEDED, limits=Limits(seconds=SECONDS)))
        if file.expected is not None:
            shown = np.asarray(image).astype(float)
            same = shown.shape == file.expected.shape
            off = np.abs(shown - file.expected).mean() if same else 255
            fault = "" if off < CLOSE else f"another picture, off by {off:.0f}"
    except UnreadableImage as reason:
        what = str(reason)
        fault = "a sound file is refused" if file.expected is not None else ""
        fault = fault or ("" if what and "\n" not in what else "no reason in one line")
    except Exception as error:  # noqa: BLE001 - what a campaign looks for
        what = fault = f"{type(error).__name__}: {error}"
    seconds = time.thread_time() - began
    return Outcome(file.kind, what, fault or ("too slow" if seconds > SECONDS else ""), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    outcomes = [judged(f) for r in range(given.rounds) for f in all_files(given.seed + r)]
    faults = [outcome for outcome in outcomes if outcome.fault]
    for outcome in faults:
        print(f"{outcome.kind}: {outcome.fault} ({outcome.what}, {outcome.seconds:.1f} s)")
    kinds = len({outcome.kind for outcome in outcomes})
    pictures = Counter(outcome.what == "picture" for outcome in outcomes)
    print(
        f"{len(outcomes)} files of {kinds} kinds: {pictures[True]} pictures, {pictures[False]} "
        f"reasons, {len(faults)} faults; slowest {max(o.seconds for o in outcomes):.1f} s, "
        f"largest {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

"""Limits of one image file, and a second chance for files that were above earlier ones."""

import re
from dataclasses import dataclass

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.signatures import EXTRA, Kind

PIXELS = 250_000_000
SECONDS = 30.0
BYTES_PER_PIXEL = 8  # four channels of 16 bits, uncompressed
SCANS_PER_PIXEL = 20
SCANS = 1_000


@dataclass(frozen=True)
class Limits:
    """Of one file: `pixels` it may decode to, and `seconds`: of waiting for the next bytes while
    it is read, and of computing while it is decoded. From `large` pixels on files are decoded one
    at a time."""

    pixels: int = PIXELS
    seconds: float = SECONDS
    large: int = 32_000_000

    @property
    def bytes(self) -> int:
        """Largest size on disk of a file of so many pixels."""
        return BYTES_PER_PIXEL * self.pixels

    def refuse_size(self, size: tuple[int, int]) -> None:
        """Raises UnreadableImage for (width, height) beyond the limit."""
        width, height = size
        if width * height > self.pixels:
            raise UnreadableImage(
                f"too many pixels: {width:,} x {height:,} = {width * height:,}, more than the "
                f"{self.pixels:,} that source.max_pixels allows"
            )

    def refuse_bytes(self, count: int) -> None:
        """Raises UnreadableImage for a file beyond the limit, before it is read."""
        if count > self.bytes:
            raise UnreadableImage(
                f"too large: {count:,} bytes, more than the {self.bytes:,} ({BYTES_PER_PIXEL} for "
                f"each of the {self.pixels:,} pixels that source.max_pixels allows)"
            )

    def refuse_scans(self, scans: int, size: tuple[int, int]) -> None:
        """Raises UnreadableImage for a JPEG that goes over its pixels too often."""
        if scans > SCANS or scans * size[0] * size[1] > SCANS_PER_PIXEL * self.pixels:
            raise UnreadableImage(
                f"too costly: {scans:,} scans of {size[0]:,} x {size[1]:,} pixels; a progressive "
                "JPEG has about 10"
            )

    def too_long(self) -> UnreadableImage:
        """The error for a file that takes too much time to decode."""
        return UnreadableImage(
            f"too costly: decoding it took more than the {self.seconds:g} s of computing that "
            "source.max_seconds allows"
        )


USUAL = Limits()


def wanting(kind: Kind) -> UnreadableImage:
    """The error for a file whose decoder is not installed."""
    return UnreadableImage(f"{kind.name} needs a package: pip install {kind.package}")


_STALLED = "no answer while it was read"


def stalled(seconds: float) -> str:
    """The reason of a file of which no bytes came for so long."""
    return f"{_STALLED}, for {seconds:g} s"


def may_succeed(reason: str, limits: Limits) -> bool:
    """True if a file that was skipped for `reason` could be read now.

    So it is when its decoder has been installed since, when its limit has been raised, and, as
    far as anybody can tell, when its drive did not answer.
    """
    if any(reason == str(wanting(kind)) and kind.readable for kind in EXTRA):
        return True
    if "source.max_pixels" in reason:
        return _figure(reason, r"the ([\d,]+) pixels that|the ([\d,]+) that") < limits.pixels
    if "source.max_seconds" in reason:
        return _figure(reason, r"the ([\d.]+) s") < limits.seconds
    return reason.startswith(_STALLED)


def _figure(reason: str, pattern: str) -> float:
    """The limit that a reason of ours names."""
    found = re.search(pattern, reason)
    return float(next(filter(None, found.groups())).replace(",", "")) if found else float("inf")

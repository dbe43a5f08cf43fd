"""Pages of one file, previews of RAW photographs, and animations: what else a file may hold."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clusterpipe.cache import foreign
from clusterpipe.cache.documents import MOST_PAGES
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import Limits, wanting
from clusterpipe.cache.signatures import PDF, RAW, Kind
from clusterpipe.cache.sources.reading import read_file

_THUMBNAIL, _MASK = 1, 4  # bits of NewSubfileType
_SUBFILE = 254
_HEAD = 4_096


@dataclass(frozen=True)
class TiffPage:
    """Reader of a later page of a TIFF: the file, with that page as its first."""

    path: Path
    offset: int

    def __call__(self, limits: Limits, /) -> bytes:
        data = bytearray(read_file(self.path, limits))
        order, big = _byte_order(data[:8])
        struct.pack_into(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4, self.offset)
        return bytes(data)


@dataclass(frozen=True)
class PdfPage:
    """Reader of a page of a PDF, drawn as PNG."""

    path: Path
    page: int

    def __call__(self, limits: Limits, /) -> bytes:
        return _by_library(PDF, "page of a PDF", self.path, limits, page=self.page)


@dataclass(frozen=True)
class RawPreview:
    """Reader of the preview that a camera put into a RAW photograph."""

    path: Path

    def __call__(self, limits: Limits, /) -> bytes:
        return _by_library(RAW, "preview of a RAW", self.path, limits)


def _by_library(kind: Kind, what: str, path: Path, limits: Limits, **more: int) -> bytes:
    """The answer of a library that may crash, in the process apart."""
    content = read_file(path, limits)
    if not kind.readable:
        raise wanting(kind)
    asked: dict[str, Any] = {"library": kind.package, "seconds": limits.seconds, **more}
    try:
        return foreign.ask(what, path, size=len(content), content=content, **asked).data
    except foreign.Refused as error:
        raise UnreadableImage(str(error)) from error


def pdf_pages(path: Path, limits: Limits) -> int:
    """Number of pages. Raises UnreadableImage for a PDF that is damaged or needs a password."""
    asked: dict[str, Any] = {"library": PDF.package, "seconds": limits.seconds}
    try:
        return int(foreign.ask("pages of a PDF", path, size=0, **asked).told["pages"])
    except foreign.Refused as error:
        raise UnreadableImage(str(error)) from error


def later_pages(path: Path) -> list[int]:
    """Offsets of the pages of a TIFF after the first, without thumbnails and masks.

    Of a damaged file those that can be reached. Raises OSError.
    """
    with path.open("rb") as file:
        try:
            return list(_offsets(file))[1:]
        except (struct.error, ValueError):
            return []


def is_animated(head: bytes) -> bool:
    """True if the first bytes (`_HEAD`) of a GIF, WebP or PNG announce more than one frame."""
    if head[:4] == b"RIFF":
        return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return b"acTL" in head.partition(b"IDAT")[0]
    return head[:4] == b"GIF8" and (b"NETSCAPE2.0" in head or head.count(b"\x21\xf9\x04") > 1)


def first_bytes_of(path: Path) -> bytes:
    """Enough of a file to tell an animation. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return file.read(_HEAD)


def _byte_order(head: bytes | bytearray) -> tuple[str, bool]:
    """`<` or `>`, and whether it is a BigTIFF. Raises ValueError for what is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(head[:2]))
    if order is None or len(head) < 8:
        raise ValueError("no TIFF")
    return order, struct.unpack_from(f"{order}H", head, 2)[0] == 43


def _offsets(file: IO[bytes]) -> Iterator[int]:
    """Offset of each full page in order; a chain that comes back to itself ends."""
    order, big = _byte_order(head := file.read(16))
    number, count, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    width, start = struct.calcsize(number), 8 if big else 4
    (at,) = struct.unpack_from(f"{order}{number}", head, start)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < MOST_PAGES:
        seen.add(at)
        file.seek(at)
        (tags,) = struct.unpack(f"{order}{count}", file.read(struct.calcsize(count)))
        if tags > MOST_PAGES:
            raise ValueError("no directory")
        table = file.read(tags * size + width)
        if not _subfile(table, order, size, tags) & (_THUMBNAIL | _MASK):
            yield at
        (at,) = struct.unpack_from(f"{order}{number}", table, tags * size)


def _subfile(table: bytes, order: str, size: int, tags: int) -> int:
    for tag in range(tags):
        if struct.unpack_from(f"{order}H", table, tag * size)[0] == _SUBFILE:
            value = (tag + 1) * size - (8 if size == 20 else 4)
            return int(struct.unpack_from(f"{order}I", table, value)[0])
    return 0

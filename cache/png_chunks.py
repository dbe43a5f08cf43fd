"""Chunks of a PNG that decide its pixels; the rest, however large or damaged, does not."""

import struct
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4s")
_ANCILLARY = 0x20  # set in the first letter of a chunk that a reader may ignore
_KEPT = {b"tRNS": 1 << 16, b"eXIf": 1 << 16, b"iTXt": 1 << 16}  # at most so long, bytes
_XMP = b"XML:com.adobe.xmp\0\0"  # an iTXt, not compressed, that may say which way is up


def without_extras(data: bytes) -> bytes:
    """The PNG without texts, colour profiles and frames of an animation.

    Critical chunks stay as they are, and so do transparency and short notes of orientation. The
    rest of a file that is cut short or no longer chunks stays for the decoder to judge.
    """
    return b"".join([SIGNATURE, *_wanted(memoryview(data))])


def _wanted(data: memoryview) -> Iterator[memoryview]:
    start = len(SIGNATURE)
    while start + _HEADER.size <= len(data):
        length, kind = _HEADER.unpack_from(data, start)
        end = start + _HEADER.size + length + 4
        if end > len(data) or not kind.isalpha():
            break
        if _decides(kind, length, data[start + _HEADER.size : end - 4]):
            yield data[start:end]
        start = end
        if kind == b"IEND":
            return
    yield data[start:]


def _decides(kind: bytes, length: int, content: memoryview) -> bool:
    if not kind[0] & _ANCILLARY:
        return True
    if length > _KEPT.get(kind, -1):
        return False
    return kind != b"iTXt" or bytes(content[: len(_XMP)]) == _XMP

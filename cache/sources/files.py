"""Images that are files: how their names are stored, and how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

from clusterpipe.cache import images
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.cache.sources.reading import read_file

if TYPE_CHECKING:
    from PIL.Image import Image

ESCAPED = "./"


def stored_path(path: str) -> str:
    """A relative path as it is stored: itself, or escaped if its bytes are not UTF-8.

    File systems allow any bytes in a name, HDF5 strings only UTF-8. An escaped path begins with
    `./`, as no path from a scan does, and has %XX for each byte that is not UTF-8 and for `%`.
    """
    raw = os.fsencode(path)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape").replace("%", "%25")
        return ESCAPED + re.sub("[\udc80-\udcff]", lambda m: f"%{ord(m[0]) - 0xDC00:02X}", text)


def file_path(stored: str) -> str:
    """The path that `stored_path` stored, ready for `open`."""
    if not stored.startswith(ESCAPED):
        return os.fsdecode(stored.encode("utf-8"))
    return os.fsdecode(unquote_to_bytes(stored.removeprefix(ESCAPED)))


def stamp_of(status: os.stat_result) -> int:
    """Stamp that tells a file written anew though its size and time are as before: a digest of
    its change time, which nobody can set, and its inode."""
    seen = f"{status.st_ctime_ns}/{status.st_ino}".encode()
    return int.from_bytes(blake2b(seen, digest_size=7).digest())


def mtime_of(status: os.stat_result) -> int:
    """Modification time in nanoseconds, of those that 64 bits hold: until the year 2262."""
    return min(max(status.st_mtime_ns, -(1 << 63)), (1 << 63) - 1)


class Reader(Protocol):
    """Way to the bytes of an image that is part of a file. Raises as `read_file` does."""

    def __call__(self, limits: Limits, /) -> bytes: ...


@dataclass(frozen=True)
class FileImages:
    """An `ImageSource` of files below `root`, or at absolute paths; and of parts of files, which
    have a reader each, by their ids."""

    name: str
    root: Path
    manifest: Manifest
    limits: Limits = USUAL
    readers: Mapping[str, Reader] = field(default_factory=dict)

    def read(self, row: int) -> bytes:
        """The file's bytes. Raises `OSError` and `UnreadableImage` as `read_file` does; never
        opens what is not a regular file."""
        if reader := self.readers.get(self.manifest.id[row]):
            return reader(self.limits)
        return read_file(self.root / file_path(self.manifest.path[row]), self.limits)

    def decode(self, data: bytes, needed: int = 0) -> Image:
        """The upright RGB image, smaller if no more is `needed`. Raises `UnreadableImage`."""
        return images.decode(data, needed=needed, limits=self.limits)

"""The seal in front of an artifact: a digest of the whole file, checked before HDF5 parses it.

An HDF5 file may begin with a user block, which every HDF5 program skips. Ours holds four lines of
text: a title, the size of the rest, the artifact's content id, and SHA-256 of both and of the rest.
HDF5 2.0 checks most of its structures and none of the data, and loops for ever on some damages;
what does not fit its seal never reaches it.

A file is hashed once per command while its inode, size and times stay what they were. From LARGE
bytes on it is remembered between commands, by the same marks, in a small file beside it.
"""

import hashlib
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

BLOCK = 512  # bytes, the smallest user block of HDF5
MEMO = ".verified"
LARGE = 1 << 20  # bytes
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_TITLE = "clusterpipe artifact, sealed"
_SETTLED = 2.0  # seconds: a file that has just been written may change without its times changing
_CHUNK = 4 << 20
_MEMO_BYTES = 4 << 20


class Broken(Exception):
    """Reasons that a file is not what was written, for people, without its name."""


class State(NamedTuple):
    """A file as `stat` sees it: other bytes have another state."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int


@dataclass(frozen=True)
class Seal:
    """Seal in front of an artifact: the size of the rest, its content id, a digest."""

    size: int
    content_id: str
    digest: str

    def block(self) -> bytes:
        """The user block, BLOCK bytes of text."""
        lines = (_TITLE, f"size {self.size}", f"content {self.content_id}", f"sha256 {self.digest}")
        return "\n".join(lines).encode().ljust(BLOCK - 1) + b"\n"


def state(path: Path) -> State:
    """The state of a regular file. Raises Broken for a pipe, a device or a folder, and OSError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise Broken("is not a regular file")
    return State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def stamp(path: Path, content_id: str) -> None:
    """Seals the artifact at `path`, which begins with an empty user block. Raises OSError."""
    with path.open("r+b") as file:
        file.seek(BLOCK)
        size = os.fstat(file.fileno()).st_size - BLOCK
        seal = Seal(size, content_id, _digest(file, size, content_id))
        file.seek(0)
        file.write(seal.block())


def is_unsealed(path: Path) -> bool:
    """True if it is HDF5 without a seal: foreign, or of a clusterpipe that wrote none."""
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def read(path: Path) -> Seal:
    """The seal of an artifact, whose size fits it. Raises Broken."""
    with path.open("rb") as file:
        seal, size = _parsed(file.read(BLOCK)), os.fstat(file.fileno()).st_size
    if size != BLOCK + seal.size:
        raise Broken(f"is damaged: {size:,} bytes of the {BLOCK + seal.size:,} that were written")
    return seal


def check(path: Path, seal: Seal) -> None:
    """Hashes the whole file. Raises Broken when it does not fit `seal`."""
    with path.open("rb") as file:
        file.seek(BLOCK)
        if _digest(file, seal.size, seal.content_id) != seal.digest:
            raise Broken("is damaged: its bytes are not those that were written")


def _digest(file: IO[bytes], size: int, content_id: str) -> str:
    hashed = hashlib.sha256(f"{size} {content_id}\n".encode())
    while chunk := file.read(_CHUNK):
        hashed.update(chunk)
    return hashed.hexdigest()


def _parsed(block: bytes) -> Seal:
    try:
        title, *lines = block.decode("ascii").splitlines()
        size, content_id, digest = (line.split()[1] for line in lines)
        seal = Seal(int(size), content_id, digest)
    except (ValueError, IndexError) as error:
        raise Broken("cannot be read as HDF5 (damaged or foreign)") from error
    if title != _TITLE or seal.block() != block:
        raise Broken("cannot be read as HDF5 (damaged or foreign)")
    return seal


# ---------------------------------------------------------------- what is known to be whole

_known: dict[State, str] = {}
_memos: dict[Path, set[str]] = {}


def is_known(path: Path, now: State, seal: Seal) -> bool:
    """True if the file was found whole in this state, by this command or before."""
    if _known.get(now) == seal.digest:
        return True
    return now.size >= LARGE and _line(now, seal) in _memo(path.with_name(MEMO))


def remember(path: Path, now: State, seal: Seal) -> None:
    """Notes that the file is whole in this state; what cannot be noted is checked again."""
    _known[now] = seal.digest
    if now.size < LARGE or time.time() - now.ctime / 1e9 < _SETTLED:
        return
    memo, line = path.with_name(MEMO), _line(now, seal)
    _memo(memo).add(line)
    with suppress(OSError, Broken):
        if not memo.exists() or state(memo).size > _MEMO_BYTES:
            memo.unlink(missing_ok=True)
        with memo.open("a", encoding="ascii") as file:
            file.write(line + "\n")


def _line(now: State, seal: Seal) -> str:
    return " ".join(map(str, (*now, seal.digest)))


def _memo(memo: Path) -> set[str]:
    if memo not in _memos:
        _memos[memo] = set()
        with suppress(OSError, UnicodeError, Broken):
            if memo.exists() and state(memo).size <= 2 * _MEMO_BYTES:
                _memos[memo].update(memo.read_text(encoding="ascii").splitlines())
    return _memos[memo]

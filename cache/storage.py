"""The one way anything reaches the disk: temporary file, fsync, rename, fsync of the folder."""

import errno
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path

from clusterpipe.cache.errors import StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR),
}
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL}
_SUFFIX = ".clusterpipe.tmp"
_DAY = 86_400.0  # seconds


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place when the block succeeds.

    A reader sees the old file or the new one, never a part. Raises StorageError, with nothing
    changed, when the disk is full or not writable.
    """
    temporary = path.with_name(f".{_here()}.{os.getpid()}.{secrets.token_hex(4)}{_SUFFIX}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the system's refusal to write `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StorageError(
                f"no space left to write {path}: free some and run the same command again; "
                "what was finished is kept"
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}): choose another --run-dir or --output"
            ) from error
        raise


def reserve(path: Path, size: int) -> None:
    """Makes sure that the empty file `path` may grow to `size` bytes; raises OSError if not.

    For writers that must not meet a full disk half-way: HDF5 then crashes the process.
    """
    if not hasattr(os, "posix_fallocate"):
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        file.truncate(0)


def write_text(path: Path, text: str) -> None:
    """Writes a small text file whole or not at all. Raises StorageError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def set_aside(path: Path) -> Path | None:
    """A copy beside a small file, to take its place again even on a full disk; None if there is no
    such file. `sweep` removes it when it is left behind. Raises StorageError."""
    if not path.exists():
        return None
    copy = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    with explained(copy):
        shutil.copyfile(path, copy)
    return copy


def sweep(folder: Path) -> None:
    """Removes temporary files that a killed process left, and none of one that is at work.

    What another machine left is removed after a day: whether it is at work cannot be seen here.
    """
    for leftover in folder.rglob(f".*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            if not _is_live(leftover):
                leftover.unlink()


def _is_live(temporary: Path) -> bool:
    """True if the process named by a temporary file may still be writing it."""
    machine, _, rest = temporary.name.removeprefix(".").partition(".")
    number = rest.partition(".")[0]
    if not number.isdigit():
        return False
    if machine != _here():
        return time.time() - temporary.stat().st_mtime < _DAY
    try:
        os.kill(int(number), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


@cache
def _here() -> str:
    """This machine, or container, in a few letters."""
    return blake2b(platform.node().encode(), digest_size=4).hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

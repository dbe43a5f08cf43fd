"""The one way anything reaches the disk: temporary file, fsync, rename, fsync of the folder."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterpipe.cache.errors import StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_SUFFIX = ".tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place when the block succeeds.

    A reader sees the old file or the new one, never a part. Raises StorageError, with nothing
    changed, when the disk is full or not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(exist_ok=False)
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
                f"{path} cannot be written ({error.strerror}): choose another --run-dir"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a small text file whole or not at all. Raises StorageError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Removes temporary files that a killed run left; only for the holder of the run's lock."""
    for leftover in folder.rglob(f".*{_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

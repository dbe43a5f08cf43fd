"""Reading a file without waiting for ever: a drive that is gone does not answer, and does not fail.

A blocked read cannot be broken off, so each happens in a thread that can be left behind.
"""

import errno
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import Limits, stalled
from clusterpipe.cache.signatures import HEAD

T = TypeVar("T")

_BLOCK = 1 << 20


class Stream(Protocol):
    """Anything whose bytes are read by blocks."""

    def read(self, size: int, /) -> bytes: ...


Opened = Callable[[], AbstractContextManager[Stream]]


def read_file(path: Path, limits: Limits) -> bytes:
    """The bytes of a regular file.

    Raises `UnreadableImage` for a file beyond `limits`, before it is read, and `OSError` when it
    cannot be read, is no regular file, or when no bytes came for `limits.seconds`. Each such wait
    halves the next one, down to a second, until a file is read again: of a drive that is gone
    not every file is waited for.
    """
    return read_through(partial(_opened, path, limits), path, limits)


def read_through(opened: Opened, path: Path, limits: Limits) -> bytes:
    """All bytes of a stream that `opened` opens, a part of `path`, read like a file."""
    reading = _Reading(opened, path, limits)
    reading.start()
    try:
        content = reading.result(_patience.seconds(limits.seconds))
    except TimeoutError:
        _patience.stalls += 1
        raise
    _patience.stalls = 0
    return content


def in_time(look: Callable[[Path], T], path: Path, limits: Limits) -> T:
    """Result of `look`, which reads little of a file; waits as long as `read_file` does.

    Raises what `look` raises, and `OSError` when no answer came in time.
    """
    patience = _patience.seconds(limits.seconds)
    answer: SimpleQueue[T | Exception] = SimpleQueue()
    _looking().put((partial(look, path), answer))
    try:
        found = answer.get(timeout=patience)
    except Empty:
        _patience.stalls += 1
        _current.questions = None  # its thread is left behind
        raise TimeoutError(errno.ETIMEDOUT, stalled(patience), str(path)) from None
    _patience.stalls = 0
    if isinstance(found, Exception):
        raise found
    return found


def first_bytes(path: Path) -> bytes:
    """First bytes of a file, enough to tell its kind. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return file.read(HEAD)


class _Patience:
    """Time to wait for the next read. Counted roughly: threads may meet here."""

    stalls = 0

    def seconds(self, most: float) -> float:
        return max(most * 0.5**self.stalls, min(most, 1.0))


_patience = _Patience()


Questions = SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]]


class _Current(threading.local):
    """Of each thread its questions to another one, which looks at files."""

    questions: Questions | None = None


_current = _Current()


def _looking() -> Questions:
    if _current.questions is None:
        _current.questions = SimpleQueue()
        threading.Thread(target=_look, args=(_current.questions,), daemon=True).start()
    return _current.questions


def _look(questions: Questions) -> None:
    while True:
        look, answer = questions.get()
        try:
            answer.put(look())
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            answer.put(error)


class _Reading(threading.Thread):
    """One read; what it left is there when it has ended."""

    def __init__(self, opened: Opened, path: Path, limits: Limits) -> None:
        super().__init__(daemon=True, name=f"reading {path.name}")
        self.opened, self.path, self.limits = opened, path, limits
        self.blocks: list[bytes] = []
        self.count = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._read()
        except (OSError, MemoryError, UnreadableImage) as error:
            self.error = error

    def result(self, patience: float) -> bytes:
        before = -1
        while self.is_alive() and before != self.count:
            before = self.count
            self.join(patience)
        if self.is_alive():
            raise TimeoutError(errno.ETIMEDOUT, stalled(patience), str(self.path))
        if self.error:
            raise self.error
        return b"".join(self.blocks)

    def _read(self) -> None:
        with self.opened() as stream:
            while block := stream.read(_BLOCK):
                self.blocks.append(block)
                self.count += len(block)
                self.limits.refuse_bytes(self.count)


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[Stream]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    limits.refuse_bytes(status.st_size)
    with path.open("rb", buffering=0) as file:
        yield file

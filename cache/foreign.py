"""Files of others, opened by a process apart with limits on its time, memory and size.

HDF5 2.0 crashes on some damaged files, loops for ever on others and takes all the memory on more;
so may the libraries for PDF and RAW. Here that becomes the sentence that a refusal says. The
process, `cache.foreign_reader`, is started when the first such file is opened and serves all of
them, as long as none ends it.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 20  # for one answer, of CPU time and by the clock, and more for what is large:
BYTES_PER_SECOND = 8 << 20
MEMORY = 2 << 30  # bytes, beside what is asked for
_SIGNALS = {
    signal.SIGXCPU: "does not come to an end with it",
    signal.SIGKILL: "does not come to an end with it, or takes all the memory",
}


class Refused(Exception):
    """Reasons for not reading a file, for people."""


class _Ended(Exception):
    """The end of the reading process, in words that follow on the name of a library."""


class Answer(NamedTuple):
    """Answer of the reader, and the bytes that come with it."""

    told: Mapping[str, Any]
    data: bytes


def ask(
    what: str,
    path: Path,
    *,
    size: int,
    content: bytes = b"",
    library: str = "HDF5",
    seconds: float | None = None,
    **more: Any,
) -> Answer:
    """Answer of the reading process; `size` is the most bytes it reads for that.

    It may take `seconds`, of CPU time and by the clock; by default `SECONDS` and more for what is
    large. `content` is sent along, where the file is not for it to read; `library` is what opens
    the file there. Raises Refused with the reason, which is that of the reader or how it ended.
    """
    request = {"what": what, "path": os.fsdecode(path), "content": len(content), **more}
    allowed = SECONDS + size // BYTES_PER_SECOND if seconds is None else seconds
    request |= {"seconds": allowed, "memory": MEMORY + 4 * size}
    try:
        with _lock:
            answer = _running().answer(request, content, allowed)
    except _Ended as error:
        raise Refused(f"{library} {error}") from error
    if "refused" in answer.told:
        raise Refused(str(answer.told["refused"]))
    return answer


@dataclass
class _Reader:
    process: subprocess.Popen[bytes]
    owner: int

    def answer(self, request: Mapping[str, Any], content: bytes, seconds: float) -> Answer:
        """Ends the process if that takes longer than `seconds`, and when it is interrupted."""
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            return self._exchange(request, content)
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Ends the process, and what leads to it."""
        with suppress(BrokenPipeError), self.process:
            self.process.kill()

    def _exchange(self, request: Mapping[str, Any], content: bytes) -> Answer:
        sink, source = self.process.stdin, self.process.stdout
        assert sink is not None
        assert source is not None
        try:
            sink.write(json.dumps(request).encode() + b"\n" + content)
            sink.flush()
            line = source.readline()
            told = json.loads(line) if line else None
            data = source.read(told["bytes"]) if told else b""
        except BrokenPipeError:
            told, data = None, b""
        if told is None or len(data) < told["bytes"]:
            raise _Ended(_ending(self.process.wait()))
        return Answer(told, data)


_lock = threading.Lock()
_reader: _Reader | None = None


@atexit.register
def close() -> None:
    """Ends the reading process, if this one has started any."""
    if _reader is not None and _reader.owner == os.getpid():
        _reader.close()


def _running() -> _Reader:
    """The reader of this process; one of the process that this was forked from is not ours."""
    global _reader
    if _reader is None or _reader.owner != os.getpid() or _reader.process.poll() is not None:
        _reader = _Reader(_start(), os.getpid())
    return _reader


def _start() -> subprocess.Popen[bytes]:
    left_out = ("HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX")  # they lead to other folders
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    kept |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "clusterpipe.cache.foreign_reader"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept,
        start_new_session=True,
    )


def _ending(code: int) -> str:
    """End of the reader, in words."""
    if code >= 0:
        return "gave it up"
    known = _SIGNALS.get(signal.Signals(-code))
    return known or f"crashes on it ({signal.Signals(-code).name})"

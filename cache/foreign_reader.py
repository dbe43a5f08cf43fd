"""The process that opens files of others: questions on stdin, answers on stdout.

Questions and answers are a line of JSON each, with the number of bytes that follow.
"""

import io
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from clusterpipe.cache import documents, gate, inspection, structure
from clusterpipe.cache.errors import ClusterpipeError, DamagedArtifact, UnreadableImage
from clusterpipe.cache.foreign import Answer

Question = Mapping[str, Any]

_LIMITS = (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)
_MOST = 4_096


def main() -> None:
    """Answers until stdin ends."""
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what a library prints is no answer
        for kind in _LIMITS:
            resource.setrlimit(kind, (0, 0))
        gate.take_as_they_are()
        for line in sys.stdin.buffer:
            _reply(json.loads(line), out)


def _reply(question: Question, out: IO[bytes]) -> None:
    _limit(question["seconds"], question["memory"])
    told = answer(question, sys.stdin.buffer.read(question["content"]))
    out.write(json.dumps({**told.told, "bytes": len(told.data)}).encode() + b"\n")
    out.write(told.data)
    out.flush()


def answer(question: Question, content: bytes = b"") -> Answer:
    """Answer to a question, or the reason that the file is refused for."""
    try:
        return _ANSWERS[question["what"]](question, content)
    except MemoryError:
        return Answer({"refused": f"it needs more than {question['memory'] >> 30} GiB"}, b"")
    except (structure.Unsound, ClusterpipeError, UnreadableImage, *_DAMAGE) as error:
        return Answer({"refused": str(error)}, b"")


_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, OverflowError)


def _limit(seconds: float, memory: int) -> None:
    """Allows this process so much more CPU time, and so many bytes of data."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)
    _lower(resource.RLIMIT_DATA, memory)


def _lower(kind: int, wanted: int) -> None:
    _, most = resource.getrlimit(kind)
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(kind, (limit, most))


# ---------------------------------------------------------------- answers


def _list(question: Question, content: bytes) -> Answer:
    """Shape and dtype of each dataset of a file, or why it is not to be read; of groups within
    groups no more than `_MOST` names are looked at, and no links."""
    with h5py.File(question["path"], "r") as file:
        names = dict.fromkeys([*file, *_inside(file)])
        if odd := [name for name in names if isinstance(name, bytes)]:  # h5py's way to say so
            raise structure.Unsound(f"it has a name that is not Unicode: {odd[0]!r}")
        found = {name: described for name in names if (described := _described(file, name))}
    return Answer({"arrays": found}, b"")


def _inside(file: h5py.File) -> list[str]:
    """Names within groups; those at the top come with their links."""
    found: list[str] = []

    def visit(name: str) -> bool | None:
        found.append(name)
        return True if len(found) == _MOST else None

    file.visit(visit)
    return [name for name in found if isinstance(name, bytes) or "/" in name]


def _described(file: h5py.File, name: str) -> dict[str, Any] | None:
    try:
        node = structure.dataset(file, name, Path(file.filename).parent)
        return None if node is None else {"shape": node.shape, "dtype": _dtype(node)}
    except (structure.Unsound, *_DAMAGE) as error:
        return {"refused": str(error)}


def _dtype(node: h5py.Dataset) -> str:
    """The numpy name of the values as they are sent; "O" for strings."""
    if h5py.check_string_dtype(node.dtype) and node.dtype.kind == "O":
        return "O"
    if node.dtype.hasobject or node.dtype.kind == "V":
        raise structure.Unsound(f"holds {node.dtype}, which is no array of numbers or strings")
    return str(node.dtype.str)


def _read(question: Question, content: bytes) -> Answer:
    """Rows start..stop of a dataset: a `.npy` file, or a list of strings."""
    path, name = Path(question["path"]), question["name"]
    with h5py.File(path, "r") as file:
        node = _sound(file, name)
        if h5py.check_string_dtype(node.dtype):
            node = node.asstr("utf-8")
        try:
            block = np.asarray(node[question["start"] : question["stop"]])
        except UnicodeDecodeError as error:
            raise structure.Unsound(f"{name} holds text that is not Unicode: {error}") from error
    if block.dtype.kind == "O":
        return Answer({"text": True}, json.dumps(block.tolist()).encode())
    buffer = io.BytesIO()
    np.save(buffer, block, allow_pickle=False)
    return Answer({"text": False}, buffer.getvalue())


def _sound(file: h5py.File, name: str) -> Any:
    _check_once(file.filename, name, Path(file.filename).stat().st_ctime_ns)
    return file[name]


@lru_cache(maxsize=64)
def _check_once(path: str, name: str, changed: int) -> None:
    with h5py.File(path, "r") as file:
        structure.dataset(file, name, Path(path).parent)


def _verify(question: Question, content: bytes) -> Answer:
    """The content id of an artifact, every value of which fits it; or what is damaged of it."""
    path = Path(question["path"])
    with h5py.File(path, "r") as file:
        for name in _places(file):
            structure.dataset(file, name, path.parent)
    try:
        return Answer({"content_id": inspection.inspect(path).provenance["content_id"]}, b"")
    except DamagedArtifact as error:
        return Answer({"damaged": str(error)}, b"")


def _places(file: h5py.File) -> Iterator[str]:
    """The place of every dataset, none of them behind a link."""
    structure.check_links(file)
    found: list[str] = []
    file.visit(found.append)
    yield from found


def _pages(question: Question, content: bytes) -> Answer:
    return Answer({"pages": documents.pdf_pages(Path(question["path"]))}, b"")


def _page(question: Question, content: bytes) -> Answer:
    return Answer({}, documents.drawn_page(content, question["page"]))


def _preview(question: Question, content: bytes) -> Answer:
    return Answer({}, documents.raw_preview(content))


_ANSWERS: Mapping[str, Callable[[Question, bytes], Answer]] = {
    "list": _list,
    "read": _read,
    "verify": _verify,
    "pages of a PDF": _pages,
    "page of a PDF": _page,
    "preview of a RAW": _preview,
}

if __name__ == "__main__":
    main()

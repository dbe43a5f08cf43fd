"""Prefix of an artifact: the content it would have with its first rows only."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from clusterpipe.cache import artifact, gate
from clusterpipe.cache.rows import BLOCK, Rows
from clusterpipe.cache.schema import Artifact
from clusterpipe.cache.shards import row_digests, rows_digest


def prefix_id(path: Path, kind: type[Artifact], place: str, rows: int) -> str:
    """The content id that a dataset would have if it had its first `rows` rows only.

    That of the whole, where the rows are not images or it is an attribute. Raises like
    `artifact.read`.
    """
    if "@" in place:
        return artifact.content_id(path, kind, place)
    with gate.opened(path, kind) as file, artifact.explained(path):
        if place not in file or not str(file[place].attrs["dims"]).startswith("n"):
            return artifact.content_id(path, kind, place)
        sharded = bool(file[place].is_virtual)
    value = artifact.read_value(path, kind, place)
    if isinstance(value, artifact.StoredRows):
        if sharded:
            return rows_digest(chain.from_iterable(map(row_digests, _blocks(value, rows))))
        first = replace(value, shape=(rows, *value.shape[1:]))
        return artifact.content_digest(_blocks(value, rows), first)
    if value.dtype.kind == "O":
        return artifact.text_digest(value[:rows])
    return artifact.content_digest([value[:rows]], value[:rows])


def _blocks(rows: Rows, count: int) -> Iterator[NDArray[Any]]:
    for start in range(0, count, BLOCK):
        yield rows[start : min(start + BLOCK, count)]

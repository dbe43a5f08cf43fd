"""The feature cache of one space: shards that are only ever added, and what they already know.

Rows are found by the digest of the image they were made from, so that a renamed or copied image
costs nothing, a changed one is embedded anew, and a removed one is simply not looked up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.artifact import VirtualRows
from clusterpipe.cache.errors import DamagedArtifact
from clusterpipe.cache.provenance import Provenance, digest
from clusterpipe.cache.schema import Shard


class Seen(NamedTuple):
    """An image file as it was when it was last read."""

    id: str
    size: int
    mtime: int
    stamp: int = 0


class Place(NamedTuple):
    """Place of an image's features, and the size of the image."""

    shard: int
    row: int
    width: int
    height: int


@dataclass
class Ledger:
    """Content of the shards of a space, looked up by the digest of an image."""

    place: dict[str, Place] = field(default_factory=dict)
    row_digest: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    digest_of: dict[Seen, str] = field(default_factory=dict)

    def knows(self, image: str | None) -> bool:
        """True if nothing is left to do for the image with this digest."""
        return image in self.place or image in self.bad

    def add(self, number: int, shard: Shard) -> None:
        """Takes in what shard `number` holds; an image stored twice keeps its first place."""
        sizes = zip(shard.width.tolist(), shard.height.tolist(), strict=True)
        stored = zip(shard.image, shard.row, sizes, strict=True)
        for row, (image, row_digest, (width, height)) in enumerate(stored):
            if image not in self.place:
                self.place[image] = Place(number, row, width, height)
                self.row_digest[image] = row_digest
        self.bad.update(zip(shard.bad, shard.bad_reason, strict=True))
        size, mtime = shard.seen_size.tolist(), shard.seen_mtime.tolist()
        seen = zip(shard.seen_id, size, mtime, stamps(shard.seen_stamp, len(size)), strict=True)
        self.digest_of.update(zip((Seen(*s) for s in seen), shard.seen_digest, strict=True))

    def forget(self, worth: Callable[[str], bool]) -> None:
        """Drops what is known of unreadable files whose reason makes another try worth it."""
        self.bad = {image: why for image, why in self.bad.items() if not worth(why)}


def stamps(column: NDArray[np.integer[Any]] | None, n: int) -> list[int]:
    """The stamps of n files, 0 where none are known."""
    return [0] * n if column is None else column.tolist()


@dataclass(frozen=True)
class ShardStore:
    """The shards of one space in one folder, all of one kind."""

    folder: Path
    kind: type[Shard] = Shard

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.h5"

    def numbers(self) -> list[int]:
        """Numbers of the complete shards, ascending; a file that exists is complete."""
        found = (p.stem for p in self.folder.glob("*.h5") if not p.name.startswith("."))
        return sorted(int(stem) for stem in found if stem.isdigit())

    def shards(self) -> Iterator[tuple[int, Shard]]:
        """Every shard that can be read; a damaged one counts as lost."""
        for number in self.numbers():
            try:
                yield number, artifact.read(self.path(number), self.kind)
            except DamagedArtifact:
                continue

    def ledger(self, *, weights: str | None = None) -> Ledger:
        """Ledger of the shards that `weights` made, by default those of the newest shard."""
        ledger, shards = Ledger(), list(self.shards())
        for number, shard in shards:
            if shard.weights == (weights or shards[-1][1].weights):
                ledger.add(number, shard)
        return ledger

    def append(self, shard: Shard, provenance: Provenance) -> int:
        """Writes a new shard under the next free number, which is returned. Raises StorageError."""
        number = max(self.numbers(), default=-1) + 1
        artifact.write(self.path(number), shard, provenance)
        return number

    def rows(self, images: Sequence[str], ledger: Ledger) -> VirtualRows:
        """The features of `images` (n digests the ledger knows) as one array, in that order."""
        places = [ledger.place[image] for image in images]
        first = artifact.read(self.path(places[0].shard), self.kind).features
        return VirtualRows(
            runs=tuple(self._runs(places)),
            shape=(len(places), *first.shape[1:]),
            dtype=first.dtype,
            digest=rows_digest(ledger.row_digest[image] for image in images),
        )

    def _runs(self, places: Sequence[Place]) -> Iterator[tuple[Path, str, int, int]]:
        """Maximal stretches of consecutive rows of one shard."""
        numbered = enumerate(places)
        for _, stretch in groupby(numbered, key=lambda p: (p[1].shard, p[1].row - p[0])):
            members = [place for _, place in stretch]
            path = self.path(members[0].shard)
            yield path, "features", members[0].row, members[-1].row + 1

    def content_ids(self, rows: VirtualRows) -> Mapping[Path, str]:
        """The content id of each shard that `rows` draws from."""
        paths = dict.fromkeys(run[0] for run in rows.runs)
        return {path: artifact.header(path).content_id for path in paths}


def rows_digest(digests: Iterable[str]) -> str:
    """Content id of a matrix of stored rows, from `row_digests` of its rows in their order."""
    state = blake2b(digest_size=16)
    for row in digests:
        state.update(bytes.fromhex(row))
    return state.hexdigest()


def row_digests(features: NDArray[Any]) -> NDArray[np.object_]:
    """blake2b of each row of (m, d), or (m, v, d), as stored."""
    contiguous = np.ascontiguousarray(features)
    return np.array([digest(row.tobytes()) for row in contiguous], dtype=object)

"""Survey of a source: what an earlier run knows of it, without reading what has not changed.

Same size, modification time, change time and inode as recorded: the digest is trusted. Otherwise
that file is hashed. A new name: nothing is known yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.limits import USUAL, Limits, may_succeed
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import canonical, digest
from clusterpipe.cache.schema import Embeddings
from clusterpipe.cache.shards import Seen, stamps
from clusterpipe.cache.sources import FeatureSource, ImageSource, Manifest, Source
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.cache.sources.subset import ImageSubset

COLUMNS = ("label", "class_name", "split")


@dataclass(frozen=True)
class Survey:
    """Difference of a source from the index of an earlier run.

    `identity` digests every id and content; None while new images have not been read.
    `columns` names the ground-truth columns that differ; `touched` counts files whose time
    changed and whose content did not; `retry` images were skipped for what may no longer hold;
    `others` tells that files which are no images came or went.
    """

    identity: str | None
    new: int
    changed: int
    removed: int
    touched: int
    columns: tuple[str, ...]
    retry: int = 0
    others: bool = False

    def reasons(self) -> list[str]:
        """Reasons to embed or drop images, in words."""
        counts = {"new": self.new, "changed": self.changed, "removed": self.removed}
        reasons = [
            f"{count} {what} image{'s' * (count > 1)}" for what, count in counts.items() if count
        ]
        if self.retry:
            again = f"{self.retry} skipped image{'s' * (self.retry > 1)} to try again"
            reasons.append(again)
        return reasons


def survey(
    source: Source,
    index: Embeddings,
    *,
    rehash: bool = False,
    retry: bool = False,
    known: str = "",
) -> Survey:
    """Compares `source` with the index an earlier run left.

    With `rehash`, every file is read; with `retry`, all that was skipped is to be tried again.
    `known` is the identity of the source that `index` was made from, which spares digesting one
    that has not changed: then columns are compared, and nothing is looked up row by row.
    """
    columns = tuple(c for c in COLUMNS if not _same_column(source.manifest, index, c))
    if known and not rehash and (bad := untouched(source.manifest, index)) is not None:
        if not isinstance(source, FeatureSource):
            again = _worth_retrying(source, index, bad, retry)
            return Survey(known, 0, 0, 0, 0, columns, again, _others_differ(source, index))
        return Survey(known, 0, 0, 0, 0, columns)
    if isinstance(source, FeatureSource):
        return _survey_features(source, index, columns)
    recorded = recorded_digests(index)
    found = known_digests(source, recorded, rehash=rehash)
    old = {seen.id: was for seen, was in recorded.items()}
    ids = _ids(source.manifest)
    content = dict(zip(ids, found, strict=True)) | dict.fromkeys(source.manifest.skipped_path, "")
    refused = set(index.skipped_path) & set(source.manifest.skipped_path)
    changed = sum(i in old and d != old[i] for i, d in zip(ids, found, strict=True))
    return Survey(
        identity=None if None in found else source_identity(content),
        new=sum(name not in old for name in content),
        changed=changed,
        removed=len(set(old) - set(ids) - refused),
        touched=sum(
            recall(s, recorded) is None and d is not None and old.get(s.id) == d
            for s, d in zip(seen(source.manifest), found, strict=True)
        ),
        columns=columns,
        retry=_worth_retrying(source, index, set(ids), retry),
        others=_others_differ(source, index),
    )


def untouched(manifest: Manifest, index: Embeddings) -> set[str] | None:
    """The ids of listed files that could not be read, if every file is as the index has it.

    None where anything differs. Columns are compared whole; only what was skipped is looked up.
    """
    unread, bad = unread_digests(index), set(index.skipped_path[images(index)])
    rows = np.array(
        [row for row, name in enumerate(manifest.id) if name in bad] if bad else [], int
    )
    again = seen(manifest.take(rows))
    missing = {name for name in manifest.skipped_path if unread.get(Seen(name, 0, 0)) == ""}
    if len(rows) + len(missing) != len(bad) or len(missing) != len(manifest.skipped_path):
        return None
    if any(recall(file, unread) is None for file in again):
        return None
    kept = manifest.take(np.delete(np.arange(len(manifest)), rows)) if len(rows) else manifest
    return {file.id for file in again} if _as_recorded(kept, index) else None


def _as_recorded(manifest: Manifest, index: Embeddings) -> bool:
    """True if the files are those of the index, with the same sizes, times and stamps."""
    n = len(manifest)
    if n != len(index.id):
        return False
    now: Any = slice(None)
    was: Any = slice(None)
    if not np.array_equal(manifest.id, index.id):
        now, was = np.argsort(manifest.id), np.argsort(index.id)
    nothing = np.zeros(n, np.int64)
    stamp, before = (nothing if one.stamp is None else one.stamp for one in (manifest, index))
    pairs = ((manifest.id, index.id), (manifest.size, index.size), (manifest.mtime, index.mtime))
    return all(np.array_equal(a[now], b[was]) for a, b in pairs) and bool(
        ((stamp[now] == before[was]) | (before[was] == 0)).all()
    )


def _others_differ(source: ImageSource, index: Embeddings) -> bool:
    return sorted(source.manifest.other_path) != sorted(index.skipped_path[~images(index)])


def _worth_retrying(source: ImageSource, index: Embeddings, ids: set[str], every: bool) -> int:
    limits = limits_of(source)
    skipped = zip(index.skipped_path, index.skipped_reason, strict=True)
    return sum(name in ids and (every or may_succeed(why, limits)) for name, why in skipped)


def limits_of(source: ImageSource) -> Limits:
    """Limits of a file of the source."""
    held = source.source if isinstance(source, ImageSubset) else source
    return held.limits if isinstance(held, FileImages) else USUAL


def images(index: Embeddings) -> NDArray[np.bool_]:
    """Mask (x,) of the skipped files that should have been images."""
    if index.skipped_image is None:
        return np.ones(len(index.skipped_path), np.bool_)
    return np.asarray(index.skipped_image) > 0


def recall(file: Seen, recorded: Mapping[Seen, str]) -> str | None:
    """The digest recorded for a file, also if it was recorded without a stamp; None for none."""
    return recorded.get(file, recorded.get(file._replace(stamp=0)))


def known_digests(
    source: ImageSource,
    recorded: Mapping[Seen, str],
    *,
    rehash: bool = False,
    progress: Progress = silent,
) -> list[str | None]:
    """Digest of each row of the source, None for ids never seen; touched files are hashed, or with
    `rehash` all."""
    ids = {s.id for s in recorded}
    files = seen(source.manifest)
    with progress("checking", total=len(files), unit="images") as advance:
        found: list[str | None] = []
        for row, file in enumerate(files):
            found.append(recall(file, recorded))
            if (rehash or found[-1] is None) and file.id in ids:
                found[-1] = _hash(source, row)
            advance(1)
    return found


def recorded_digests(index: Embeddings) -> dict[Seen, str]:
    """The digest of each file the index knows, readable image or not."""
    n, size, mtime = len(index.id), index.size.tolist(), index.mtime.tolist()
    good = zip(index.id, size, mtime, stamps(index.stamp, n), index.digest, strict=True)
    return {Seen(*file): was for *file, was in good} | unread_digests(index)


def unread_digests(index: Embeddings) -> dict[Seen, str]:
    """The digest of each file that the index knows and that could not be read."""
    bad = zip(
        index.skipped_path,
        index.skipped_size.tolist(),
        index.skipped_mtime.tolist(),
        stamps(index.skipped_stamp, len(index.skipped_path)),
        index.skipped_digest,
        strict=True,
    )
    unread = compress(bad, images(index)) if len(index.skipped_size) else ()
    return {Seen(*file): was for *file, was in unread}


def seen(manifest: Manifest) -> list[Seen]:
    """Each row of the manifest as the file it is now."""
    size, mtime = manifest.size.tolist(), manifest.mtime.tolist()
    rows = zip(manifest.id, size, mtime, stamps(manifest.stamp, len(size)), strict=True)
    return [Seen(*row) for row in rows]


def source_identity(content: Mapping[str, str | None]) -> str:
    """Digest of what a source holds: every id with the digest of its content."""
    return digest(canonical(sorted(content.items())).encode())


def index_identity(index: Embeddings) -> str:
    """`Survey.identity` of the source that `index` was made from, while it has not changed."""
    if index.fingerprint:
        return feature_identity(index.fingerprint, index.id)
    return source_identity({seen.id: was for seen, was in recorded_digests(index).items()})


def feature_identity(fingerprint: str, ids: NDArray[np.object_]) -> str:
    """Digest of which rows of which feature file a run uses."""
    return digest(canonical([fingerprint, ids.tolist()]).encode())


def reordered(column: NDArray[Any], manifest: Manifest, ids: NDArray[np.object_]) -> NDArray[Any]:
    """A column of the manifest (by manifest row) in the order of `ids`."""
    row = {name: i for i, name in enumerate(manifest.id)}
    return column[[row[name] for name in ids]]


def _survey_features(source: FeatureSource, index: Embeddings, columns: tuple[str, ...]) -> Survey:
    now, was = set(source.manifest.id), set(index.id)
    trusted = not set(seen(source.manifest)).isdisjoint(recorded_digests(index))
    fingerprint = index.fingerprint if trusted else source.fingerprint()
    same = fingerprint == index.fingerprint
    return Survey(
        identity=feature_identity(fingerprint, source.manifest.id),
        new=len(now - was),
        changed=0 if same else len(now & was),
        removed=len(was - now),
        touched=len(was) if same and not trusted else 0,
        columns=columns,
    )


def _same_column(manifest: Manifest, index: Embeddings, name: str) -> bool:
    now, was = getattr(manifest, name), getattr(index, name)
    if now is None or was is None:
        return now is was
    if name == "class_name":
        return list(now) == list(was)
    if np.array_equal(manifest.id, index.id):
        return bool(np.array_equal(now, was))
    row = {i: r for r, i in enumerate(manifest.id)}
    kept = [(row[i], r) for r, i in enumerate(index.id) if i in row]
    return all(now[a] == was[b] for a, b in kept)


def _hash(source: ImageSource, row: int) -> str:
    try:
        return digest(source.read(row))
    except (OSError, UnreadableImage):
        return ""


def _ids(manifest: Manifest) -> list[str]:
    ids: list[str] = manifest.id.tolist()
    if len(set(ids)) < len(ids):
        raise UsageError("the source names several images alike; ids must be unique")
    return ids

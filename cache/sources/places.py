"""Places in files of arrays: `file.h5::train/features` names a group or one array of a file."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.sources.containers import ArrayFile, describe, listed

SEPARATOR = "::"
COLUMNS = ("ids", "labels", "class_names", "split", "paths")
"""Columns that may stand beside features or images."""

_OURS = {"ids": "id", "labels": "label", "class_names": "class_name", "split": "split"}
_OURS_ALONE = {"id", "digest", "skipped/path"}  # by which our own embeddings.h5 is known


def parted(source: str) -> tuple[str, str]:
    """The file that a source names, and the place within it; the place is empty if it names none,
    or if there is a file of the whole name."""
    path, separator, place = source.partition(SEPARATOR)
    if not separator or Path(source).expanduser().exists():
        return source, ""
    return path, place.strip("/")


def at(file: ArrayFile, place: str) -> ArrayFile:
    """The arrays of the group `place`, or that one array as `features` or `images`, with the
    columns that stand beside it or above. Raises UsageError for a place that is not there."""
    arrays = file.arrays
    if place in arrays:
        names = {_role(file, place): place}
    else:
        within = f"{place}/"
        names = {name.removeprefix(within): name for name in arrays if name.startswith(within)}
    if not names:
        near = get_close_matches(place, [*arrays, *_groups(arrays)], n=1)
        hint = f"; did you mean {near[0]}" if near else ""
        raise UsageError(f"{file.path} holds no {place}{hint}. It holds {listed(file)}")
    beside = _ours(arrays) or {}
    for group in _above(place):
        beside |= {name: found for name in COLUMNS if (found := f"{group}{name}") in arrays}
    return ArrayFile(file.path, arrays.called(beside | names))


def at_top(file: ArrayFile) -> ArrayFile:
    """The arrays that stand in no group; of our own embeddings.h5 its spaces, as features."""
    names = {name: name for name in file.arrays if "/" not in name}
    if ours := _ours(file.arrays):
        names = ours | {
            f"features_{name.split('/')[0]}": name
            for name in file.arrays
            if name.count("/") == 1 and name.endswith("/features")
        }
    return ArrayFile(file.path, file.arrays.called(names))


def refuse_misspelt(file: ArrayFile, known: tuple[str, ...]) -> str:
    """A remark on arrays that are not read, empty if there are none.

    Raises UsageError for one whose name is nearly that of a column which is missing.
    """
    unknown = [name for name in file.arrays if name not in known and "/" not in name]
    for name in unknown:
        missing = [column for column in known if column not in file.arrays]
        if near := get_close_matches(name.lower(), missing, n=1, cutoff=0.75):
            raise UsageError(
                f"{file.path} holds {name} {describe(file.arrays[name])}, which is not read: did "
                f"you mean {near[0]}? Rename it to {near[0]}, or to something else"
            )
    return f"not read: {', '.join(unknown)}" if unknown else ""


def _role(file: ArrayFile, name: str) -> str:
    rows: Rows = file.arrays[name]
    role = {2: "features", 3: "images", 4: "images"}.get(len(rows.shape))
    if role is None:
        raise UsageError(
            f"{file.path}: {name} is {describe(rows)}; expected features (n, d), or images "
            "(n, h, w, 3) or (n, h, w)"
        )
    return role


def _ours(arrays: Mapping[str, Rows]) -> dict[str, str]:
    """The columns of our own embeddings.h5 by the names that they have in files of others."""
    if not _OURS_ALONE.issubset(arrays):
        return {}
    return {name: own for name, own in _OURS.items() if own in arrays}


def _groups(arrays: Mapping[str, Rows]) -> Iterator[str]:
    yield from {name.rpartition("/")[0] for name in arrays if "/" in name}


def _above(place: str) -> Iterator[str]:
    """The groups around a place, the outermost first, as beginnings of names."""
    yield ""
    parts = place.split("/")
    for depth in range(1, len(parts)):
        yield f"{'/'.join(parts[:depth])}/"

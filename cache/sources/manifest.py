"""Manifest of a source: its images column by column, before anything has been decoded."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import IntArray, StringArray

UNKNOWN = -1


def strings(values: Iterable[str] = ()) -> StringArray:
    """A column of Python strings."""
    return np.array(list(values), dtype=object)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The images of a source, one row each, and what is already known to be unusable.

    id              (n,) str    the image's name within its source, unique
    path            (n,) str    relative to the source's root, or absolute; "" where there is none
    size            (n,) int64  bytes
    mtime           (n,) int64  modification time in ns; 0 where there is none
    label           (n,) int32  ground truth, an index into class_name; -1 unknown; None: no labels
    class_name      (c,) str
    split           (n,) str    train, test, ...; None: no split
    skipped_path    (x,) str    broken links, missing or unreadable files
    skipped_reason  (x,) str    why
    other_path      (y,) str    files that are no images, and were not asked to be
    other_reason    (y,) str    what they are
    stamp           (n,) int64  digest of change time and inode; None where there are none
    remarks                     what was left out on the way, in words
    """

    id: StringArray
    path: StringArray
    size: IntArray
    mtime: IntArray
    label: IntArray | None = None
    class_name: StringArray | None = None
    split: StringArray | None = None
    skipped_path: StringArray = field(default_factory=strings)
    skipped_reason: StringArray = field(default_factory=strings)
    other_path: StringArray = field(default_factory=strings)
    other_reason: StringArray = field(default_factory=strings)
    stamp: IntArray | None = None
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.id)

    def take(self, index: NDArray[np.integer[Any]]) -> "Manifest":
        """The rows named by `index` (m,), in that order; what was skipped stays listed."""
        return replace(
            self,
            id=self.id[index],
            path=self.path[index],
            size=self.size[index],
            mtime=self.mtime[index],
            label=None if self.label is None else self.label[index],
            split=None if self.split is None else self.split[index],
            stamp=None if self.stamp is None else self.stamp[index],
        )


@dataclass(frozen=True)
class Labels:
    """Ground truth: `label` (n,) int32 indexes `class_name` (c,), -1 is unknown."""

    label: IntArray
    class_name: StringArray


def encode_labels(
    values: NDArray[Any], class_name: StringArray | None = None, *, where: str
) -> Labels:
    """Labels (n,), integers or strings, as indices into class names.

    Integers with names are kept as they are; without, the distinct values in ascending order
    become the names. Strings index the given names, or else their own in code-point order. -1 and
    the empty string are unknown. Raises `UsageError`, which begins with `where`, for labels that
    have no name and for names given twice.
    """
    if class_name is not None and len(set(class_name)) < len(class_name):
        raise UsageError(f"{where}: class_names holds a name twice")
    if values.dtype.kind in "biu":
        return _encode_integers(values.astype(np.int64), class_name, where)
    return _encode_strings(values, class_name, where)


def _encode_integers(
    values: NDArray[np.int64], class_name: StringArray | None, where: str
) -> Labels:
    highest = values.max(initial=UNKNOWN) if class_name is None else len(class_name) - 1
    outside = values[(values < UNKNOWN) | (values > highest)]
    if outside.size:
        below = "" if class_name is None else f" to {highest}, the last of class_names"
        raise UsageError(f"{where}: label {outside[0]} is not in the range from -1{below}")
    if class_name is not None:
        return Labels(values.astype(np.int32), class_name)
    distinct = np.unique(values[values != UNKNOWN])
    label = np.where(values == UNKNOWN, UNKNOWN, np.searchsorted(distinct, values))
    return Labels(label.astype(np.int32), strings(str(value) for value in distinct))


def _encode_strings(values: NDArray[Any], class_name: StringArray | None, where: str) -> Labels:
    known = class_name if class_name is not None else strings(sorted(set(values) - {""}))
    number = {name: i for i, name in enumerate(known)} | {"": UNKNOWN}
    strangers = set(values) - set(number)
    if strangers:
        raise UsageError(f"{where}: label {min(strangers)!r} is not one of class_names")
    return Labels(np.array([number[value] for value in values], np.int32), known)

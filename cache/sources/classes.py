"""Classes and splits as folders tell them: `cats/1.jpg`, or `train/cats/1.jpg` beside `val`."""

from collections.abc import Sequence
from typing import NamedTuple

from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.sources.files import file_path, stored_path
from clusterpipe.cache.sources.listing import split_of
from clusterpipe.cache.sources.manifest import Labels, encode_labels, strings

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})


class Classes(NamedTuple):
    """Ground truth of images, and their split if there are several."""

    labels: Labels
    split: StringArray | None


def classes_of(paths: Sequence[str]) -> Classes:
    """The class of each stored path: its first folder, or the second where the first are splits.

    They are splits if all of them are called like some (train, val, test, ...), and an image lies
    deeper. A path without such a folder has no class.
    """
    folders = [file_path(path).split("/")[:-1] for path in paths]
    first = {parts[0] for parts in folders if parts}
    split = first <= SPLITS and any(len(parts) > 1 for parts in folders)
    place = int(split)
    names = (parts[place] if len(parts) > place else "" for parts in folders)
    labels = encode_labels(strings(map(stored_path, names)), where="folders")
    return Classes(labels, split_of(p[0] if p else "" for p in folders) if split else None)

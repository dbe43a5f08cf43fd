"""Do names say what is there? Hits against the true classes' names, and being found by name.

Hits as in retrieval: hit@m is the share of named things among whose first m names a right one is.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BRACKETS = re.compile(r"\([^)]*\)")
_SEPARATORS = re.compile(r"[\s_\-/]+")


def plain_name(name: str) -> str:
    """A name without case, brackets, separators and the plural's s: "Aerosol_cans (old)" and
    "aerosol can" are the same. A name that is nothing but brackets stays."""
    words = _SEPARATORS.sub(" ", _BRACKETS.sub(" ", name).strip() or name).strip().casefold()
    return words[:-1] if len(words) > 3 and words.endswith("s") and words[-2] != "s" else words


def companions(synsets: Sequence[Sequence[str]]) -> dict[str, frozenset[str]]:
    """For each plain name the plain names that share a synset with it, its own included."""
    found: dict[str, set[str]] = {}
    for synset in synsets:
        names = {plain_name(name) for name in synset}
        for name in names:
            found.setdefault(name, set()).update(names)
    return {name: frozenset(others) for name, others in found.items()}


def right_words(
    classes: Sequence[str], words: Sequence[Collection[str]]
) -> tuple[NDArray[np.int64], ...]:
    """For each class the words (indices) of which it is one of the names; names are plain."""
    named: dict[str, list[int]] = {}
    for index, names in enumerate(words):
        for name in set(names):
            named.setdefault(name, []).append(index)
    return tuple(np.array(named.get(name, []), np.int64) for name in classes)


@dataclass(frozen=True)
class Score:
    """A mean over what was named, 0..1 or a cosine, and what names dealt out at random give.

    NaN where nothing was to be named.
    """

    value: float
    chance: float


def hits(
    phrase: NDArray[np.integer[Any]],
    truth: NDArray[np.integer[Any]],
    right: Sequence[NDArray[np.int64]],
    first: int,
) -> Score:
    """hit@`first` of the phrases (k, c), best first, -1 none, of clusters of class `truth` (k,).

    Only clusters whose class has a right word are counted; `truth` -1 has none. Chance is the
    mean over all ways to deal the phrases of these clusters out among them.
    """
    counted = np.array([t >= 0 and len(right[t]) > 0 for t in truth], bool)
    listed, classes = phrase[counted, :first], truth[counted]
    if not counted.any():
        return Score(np.nan, np.nan)
    table = np.array([[np.isin(row, right[t]).any() for row in listed] for t in classes])
    return Score(float(np.diagonal(table).mean()), float(table.mean()))


def similarity(
    caption: NDArray[np.integer[Any]],
    truth: NDArray[np.integer[Any]],
    right: Sequence[NDArray[np.int64]],
    features: NDArray[np.floating[Any]],
) -> Score:
    """Mean cosine between each caption (k,) and the nearest right word of its cluster's class.

    `features` (v, d) are unit rows by word. Clusters without a caption (-1), or whose class has no
    right word, are not counted. Chance as in `hits`.
    """
    counted = [i for i, t in enumerate(truth) if caption[i] >= 0 and t >= 0 and len(right[t])]
    if not counted:
        return Score(np.nan, np.nan)
    named = features[caption[counted]]
    table = np.stack([(named @ features[right[truth[i]]].T).max(axis=1) for i in counted])
    return Score(float(np.diagonal(table).mean()), float(table.mean()))


def found_by_name(rank: NDArray[np.integer[Any]]) -> Score:
    """Share of clusters that come first when all are searched for their captions.

    `rank` (k,), 1 is first, 0 no caption, which counts as not found. Chance: one in k.
    """
    if not len(rank):
        return Score(np.nan, np.nan)
    return Score(float((rank == 1).mean()), 1 / len(rank))

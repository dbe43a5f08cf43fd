"""The words that may become captions: ImageNet's, a user's list, given text features, or class
names."""

import csv
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.sources.words import holds_word_features, open_words

IMAGENET = ("imagenet-1k", "imagenet-21k")
CLASSES = "classes"
NAMED = (*IMAGENET, CLASSES)
_HEADINGS = ("word", "words", "name", "names", "noun", "phrase")


@dataclass(frozen=True)
class Vocabulary:
    """v words, each once; other names and a definition for each, both empty where unknown.

    `features` (v, d), of any length, are given where the words come without their text tower.
    """

    word: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    definition: tuple[str, ...]
    features: NDArray[np.float32] | None = None

    def digest(self) -> str:
        """blake2b of the words in their order."""
        return blake2b("\n".join(self.word).encode()).hexdigest()


def open_vocabulary(
    name: str, *, file: Path | None = None, classes: StringArray | None = None
) -> Vocabulary:
    """The vocabulary called `name`: one of `NAMED`, or a file, by default the one at `name`.

    `classes` are the class names of the data set, for "classes". Raises UsageError, with the
    nearest name, for what is neither, for an unusable file, and for classes without names.
    """
    if name in IMAGENET:
        return imagenet(name)
    if name == CLASSES:
        if classes is None or not len(classes):
            raise UsageError(
                "caption.vocabulary=classes: the source names no classes; give a list of words"
            )
        return plain(tuple(map(str, classes)))
    path = file or Path(name).expanduser()
    if not path.is_file():
        near = get_close_matches(str(path), NAMED, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"{path} is neither a file nor one of {', '.join(NAMED)}.{hint}")
    return given(path) if holds_word_features(path) else read_words(path)


def has_features(name: str) -> bool:
    """Whether the vocabulary is a file that brings its text features along."""
    return name not in NAMED and holds_word_features(Path(name))


def imagenet(subset: str) -> Vocabulary:
    """ImageNet's classes with their WordNet synonyms and definitions, as timm carries them."""
    from clusterpipe.stages.backbones.imagenet import classes

    found = classes(subset)
    return Vocabulary(found.name, found.synonyms, found.definition)


def plain(words: tuple[str, ...]) -> Vocabulary:
    """A vocabulary of bare words."""
    return Vocabulary(words, ((),) * len(words), ("",) * len(words))


def given(path: Path) -> Vocabulary:
    """The words and text features of a file, see `open_words`."""
    found = open_words(path)
    words = tuple(map(str, found.word))
    features = found.features[0 : len(words)].astype(np.float32)
    return Vocabulary(words, ((),) * len(words), ("",) * len(words), features)


def read_words(file: Path) -> Vocabulary:
    """The words of a text file, one per line; or of a `.csv`, from its first column.

    The second column of a `.csv`, if there is one, defines the word; a first line that begins
    with "word" or "name" is a heading. Repeats go. Raises UsageError when the file is not UTF-8
    text or holds no word.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"the vocabulary {file} is not UTF-8 text: {error}") from error
    table = file.suffix.lower() == ".csv"
    rows = _table(lines) if table else [[line] for line in lines]
    definition: dict[str, str] = {}
    for word, *more in rows:
        if word.strip():
            definition.setdefault(word.strip(), more[0].strip() if more else "")
    if not definition:
        raise UsageError(f"the vocabulary {file} holds no words")
    words = tuple(definition)
    return Vocabulary(words, ((),) * len(words), tuple(definition.values()))


def _table(lines: list[str]) -> list[list[str]]:
    rows = [row for row in csv.reader(lines) if row]
    heading = bool(rows) and rows[0][0].strip().lower() in _HEADINGS
    return rows[1:] if heading else rows

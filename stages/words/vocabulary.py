"""The words that may become captions: ImageNet's, a user's list, given text features, or class
names."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from hashlib import blake2b
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.sources.words import holds_word_features, names_file, open_words
from clusterpipe.stages.declaration import FileInput

IMAGENET = ("imagenet-1k", "imagenet-21k")
CLASSES = "classes"
NAMED = (*IMAGENET, CLASSES)
_HEADINGS = ("word", "words", "name", "names", "noun", "phrase")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SUGGESTED = 5


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
    name: str,
    *,
    classes: StringArray | None = None,
    setting: str = "caption.vocabulary",
) -> Vocabulary:
    """The vocabulary called `name`: one of `NAMED`, or the file at `name`.

    `classes` are the class names of the data set, for "classes"; `setting` is where the name comes
    from. Raises UsageError, with the nearest name, for what is neither, for an unusable file, and
    for classes without names.
    """
    if name in IMAGENET:
        return imagenet(name)
    if name == CLASSES:
        if classes is None or not len(classes):
            raise UsageError(
                f"{setting}=classes: the source names no classes; give a list of words"
            )
        return plain(tuple(map(str, classes)))
    path = Path(name).expanduser()
    if not path.is_file():
        near = get_close_matches(str(path), NAMED, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"{setting}: {path} is neither a file nor one of {', '.join(NAMED)}.{hint}"
        )
    return given(path) if holds_word_features(path) else read_words(path)


def file_inputs(name: str, role: str) -> dict[str, FileInput]:
    """The files that the vocabulary called `name` is read from, as inputs `<role>_file` and, where
    its words are named beside it, `<role>_names`."""
    if not name or name in NAMED:
        return {}
    file = Path(name).expanduser()
    inputs = {f"{role}_file": FileInput(str(file))}
    if beside := names_file(file):
        inputs[f"{role}_names"] = FileInput(str(beside))
    return inputs


def has_features(name: str) -> bool:
    """True if the vocabulary is a file that brings its text features along."""
    return name not in NAMED and holds_word_features(Path(name))


def imagenet(subset: str) -> Vocabulary:
    """ImageNet's classes with their WordNet synonyms and definitions, as timm carries them."""
    from clusterpipe.stages.backbones.imagenet import classes

    found = classes(subset)
    return Vocabulary(found.name, found.synonyms, found.definition)


def known_words(own: tuple[str, ...]) -> Vocabulary:
    """The words of a closed backbone; with synonyms and definitions if they are ImageNet's."""
    found = imagenet(IMAGENET[0])
    return found if found.word == own else plain(own)


def plain(words: tuple[str, ...]) -> Vocabulary:
    """A vocabulary of bare words."""
    return Vocabulary(words, ((),) * len(words), ("",) * len(words))


def given(path: Path) -> Vocabulary:
    """The words and text features of a file, see `open_words`."""
    found = open_words(path)
    words = tuple(map(str, found.word))
    features = found.features[0 : len(words)].astype(np.float32)
    return Vocabulary(words, ((),) * len(words), ("",) * len(words), features)


# ---------------------------------------------------------------- names of words


def names_of(vocabulary: Vocabulary) -> list[set[str]]:
    """Each word's plain name and its synonyms; if it came with none, what shares a WordNet synset
    with any of its senses."""
    from clusterpipe.stages.numerics.name_metrics import plain_name

    names = []
    for word, synonyms in zip(vocabulary.word, vocabulary.synonyms, strict=True):
        plain = plain_name(word)
        others = map(plain_name, synonyms) if synonyms else _wordnet().get(plain, ())
        names.append({plain, *others})
    return names


@cache
def _wordnet() -> Mapping[str, frozenset[str]]:
    from clusterpipe.stages.numerics.name_metrics import companions

    return companions(imagenet("imagenet-21k").synonyms)


def words_called(text: str, vocabulary: Vocabulary, name: str) -> list[int]:
    """The words (indices) that `text` means: the one that `word_called` finds, or else all that end
    in it, as "African elephant" does in "elephant". Raises UsageError as that does."""
    from clusterpipe.stages.numerics.name_metrics import plain_name

    if not _named(text, vocabulary):
        ending = f" {plain_name(text)}"
        kinds = [i for i, word in enumerate(vocabulary.word) if plain_name(word).endswith(ending)]
        if kinds:
            return kinds
    return [word_called(text, vocabulary, name)]


def word_called(text: str, vocabulary: Vocabulary, name: str) -> int:
    """The word (index) that `text` is; else the one it names but for case, separators, brackets
    and plural; else the one it is a synonym of, by the vocabulary or WordNet.

    `name` is what the vocabulary is called. Raises UsageError with the nearest words when there
    is none, and with the words in question when there are several.
    """
    from clusterpipe.stages.numerics.name_metrics import plain_name

    found = _named(text, vocabulary)
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(vocabulary.word[i] for i in found)
        raise UsageError(f"{text!r} may be several of the words of {name}: {several}; name one")
    plain = [plain_name(word) for word in vocabulary.word]
    near = ", ".join(_nearest(plain_name(text), vocabulary.word, plain)) or "none"
    raise UsageError(
        f"{text!r} is not among the {len(plain):,} words of {name}, and no other text can be "
        f"looked for in these features; the nearest words: {near}"
    )


def _named(text: str, vocabulary: Vocabulary) -> list[int]:
    """The words (indices) that have this name, or this plain name, or this synonym."""
    from clusterpipe.stages.numerics.name_metrics import plain_name

    if text in vocabulary.word:
        return [vocabulary.word.index(text)]
    wanted = plain_name(text)
    found = [i for i, word in enumerate(vocabulary.word) if plain_name(word) == wanted]
    return found or [i for i, names in enumerate(names_of(vocabulary)) if wanted in names]


def _nearest(wanted: str, words: Sequence[str], plain: Sequence[str]) -> list[str]:
    """Words that share the last part of the plain name `wanted`, mostly its noun; any part of it;
    that are spelt alike."""
    parts, near = wanted.split(), list[str]()
    for shared in (set(parts[-1:]), set(parts)):
        sharing = [name for name in plain if shared & set(name.split())]
        near += get_close_matches(wanted, sharing, n=_SUGGESTED, cutoff=0)
    near += get_close_matches(wanted, plain, n=_SUGGESTED)
    return [words[plain.index(name)] for name in dict.fromkeys(near)][:_SUGGESTED]


# ---------------------------------------------------------------- files of words


def read_words(file: Path) -> Vocabulary:
    """The words of a text file, one per line; of a `.csv` or `.tsv`, from its first column.

    The second column of a table, if there is one, defines the word; a first line that begins with
    "word" or "name" is a heading. Repeats go, also those that differ in case and underscores only:
    text towers do not tell them apart. Raises UsageError when the file is not UTF-8 text, no table
    or holds no word.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the vocabulary {file} is not UTF-8 text: {error}") from error
    if "\0" in text:
        raise UsageError(f"the vocabulary {file} is not UTF-8 text: it holds zero bytes")
    delimiter = _DELIMITERS.get(file.suffix.lower())
    rows = _table(text, file, delimiter) if delimiter else [[line] for line in text.splitlines()]
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        word, meaning = (" ".join(cell.split()) for cell in (*row, "")[:2])
        if word:
            found.setdefault(word.replace("_", " ").casefold(), (word, meaning))
    if not found:
        raise UsageError(f"the vocabulary {file} holds no words")
    words, definition = zip(*found.values(), strict=True)
    return Vocabulary(words, ((),) * len(words), definition)


def _table(text: str, file: Path, delimiter: str) -> list[list[str]]:
    reader = csv.reader(StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise UsageError(f"the vocabulary {file}, line {reader.line_num}: {error}") from error
    heading = bool(rows) and rows[0][0].strip().lower() in _HEADINGS
    return rows[1:] if heading else rows

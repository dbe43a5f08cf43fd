"""Text features that were computed elsewhere: `features` (v, d), and `names` (v) of the words."""

from dataclasses import dataclass
from pathlib import Path

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.sources.columns import texts
from clusterpipe.cache.sources.containers import SUFFIXES, open_arrays
from clusterpipe.cache.sources.features import matrix
from clusterpipe.cache.sources.manifest import strings

_NAMELESS = (".npy", ".safetensors")


@dataclass(frozen=True)
class WordFile:
    """v words and their features (v, d), as a text tower gave them; read by slices."""

    word: StringArray
    features: Rows


def holds_word_features(path: Path) -> bool:
    """True if a file with this ending holds text features, not a list of words."""
    return path.suffix.lower() in SUFFIXES


def names_file(path: Path) -> Path | None:
    """The text file that names the words of `path`, for endings that hold no strings."""
    return path.with_suffix(".txt") if path.suffix.lower() in _NAMELESS else None


def open_words(path: Path) -> WordFile:
    """The words of `path`: arrays `features` (v, d), floats, and `names` (v), strings.

    `.npy` and `.safetensors` hold no strings: their names stand one per line in a `.txt` file of
    the same name beside them. Raises `UsageError` for a file that is missing, damaged or lacks
    one of the two, that holds no words, for lengths that differ, for a name that is empty or comes
    twice, and, when the rows are read, for NaN or infinity.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path} of text features")
    file = open_arrays(path)
    if "features" not in file.arrays:
        raise UsageError(
            f"{path} holds {', '.join(file.arrays) or 'nothing'}: a vocabulary with its own text "
            "features is an array features (v, d) and an array names (v)"
        )
    features = matrix(file, "features")
    beside = names_file(path)
    if beside is None and "names" not in file.arrays:
        raise UsageError(f"{path} holds features, but no names: add an array names (v)")
    words = texts(file, "names") if beside is None else _lines(beside, path)
    if not len(words):
        raise UsageError(f"{path} holds no words")
    if len(words) != features.shape[0]:
        raise UsageError(f"{path}: {features.shape[0]} rows of features, but {len(words)} names")
    _refuse_repeats(words, path)
    return WordFile(words, features)


def _lines(names: Path, path: Path) -> StringArray:
    if not names.is_file():
        raise UsageError(f"{path} holds no strings: name its words in {names}, one per line")
    try:
        return strings(names.read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise UsageError(f"{names} is not UTF-8 text: {error}") from error


def _refuse_repeats(words: StringArray, path: Path) -> None:
    first: dict[str, int] = {}
    for row, word in enumerate(words):
        if not word.strip():
            raise UsageError(f"{path}: the name in row {row} is empty")
        if first.setdefault(word, row) != row:
            raise UsageError(f"{path}: {word!r} stands in rows {first[word]} and {row}")

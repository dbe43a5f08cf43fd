"""Evaluation of captions against the names of the true classes, where there are some."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError, WeightsMissing
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.schema import Captions, FloatArray, IntArray, Naming, StringArray
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.words.vocabulary import Vocabulary, names_of, plain
from clusterpipe.stages.words.word_features import Tower, word_features

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.name_metrics import Score

METRICS = (
    "hit@1",
    "hit@5",
    "synonym hit@1",
    "synonym hit@5",
    "text similarity",
    "found by name",
    "unsure",
)
_LISTED = 5


@dataclass(frozen=True)
class _Classes:
    """Words of the vocabulary that are right for each class, by name and by synonym; coverage
    counts the classes that occur."""

    exact: tuple[NDArray[np.int64], ...]
    synonym: tuple[NDArray[np.int64], ...]
    present: NDArray[np.int64]

    def covered(self, right: tuple[NDArray[np.int64], ...]) -> int:
        return sum(len(right[c]) > 0 for c in self.present)


@dataclass(frozen=True)
class ClassNames:
    """The names of the classes as rows (c, d) beside the words; else, `missing` says why not."""

    feature: FloatArray | None = None
    missing: str = ""

    @classmethod
    def encoded(
        cls,
        captions: Captions,
        class_name: StringArray | None,
        tower: Tower,
        store: WordStore | None = None,
        progress: Progress = silent,
    ) -> "ClassNames":
        """By the text tower that encoded the words, in the same sentences; nothing without one.

        Metrics that need no tower are worth having on a machine without its weights, so their
        absence ends nothing.
        """
        if captions.prompt is None or class_name is None or not len(class_name):
            return cls()
        names = plain(tuple(map(str, class_name)))
        try:
            return cls(word_features(names, tuple(captions.prompt), tower, store, progress))
        except (WeightsMissing, UsageError) as error:
            return cls(missing=str(error))


def caption_scores(
    captions: Captions,
    confusion: IntArray | None,
    class_name: StringArray | None,
    encoded: ClassNames = ClassNames(),
) -> dict[str, Any]:
    """The fields of Metrics about captions, of every captioner.

    A cluster's class is that of most of its labelled images, by `confusion` (c, k). A word is
    right by name when it is the class's name but for case, separators, brackets and plural, and
    by synonym when the vocabulary's synonyms or, without any, ImageNet-21k's WordNet synsets take
    the two for one. Only
    classes that the vocabulary covers count; by text similarity also those whose names are
    `encoded`. Without class names, what needs them is NaN.
    """
    truth, classes = _true_classes(captions, confusion, class_name)
    right = _Right.of(captions, classes, encoded)
    scores = {m: _scores(n, truth, classes, right) for m, n in captions.methods.items()}
    table = np.array([[[s.value, s.chance] for s in row.values()] for row in scores.values()])
    return {
        "caption_method": strings(scores),
        "caption_metric": strings(METRICS),
        "caption_value": table[..., 0],
        "caption_chance": table[..., 1],
        "caption_protocol": _protocol(captions, classes, right, encoded),
    }


def _true_classes(
    captions: Captions, confusion: IntArray | None, class_name: StringArray | None
) -> tuple[NDArray[np.int64], _Classes]:
    from clusterpipe.stages.numerics.name_metrics import plain_name, right_words

    k = max((len(n.margin) for n in captions.methods.values()), default=0)
    if confusion is None or class_name is None:
        return np.full(k, -1), _Classes((), (), np.zeros(0, np.int64))
    truth = np.where(confusion.sum(axis=0) > 0, confusion.argmax(axis=0), -1)[:k]
    names = [plain_name(str(name)) for name in class_name]
    words = [[plain_name(str(word))] for word in captions.word]
    present = np.flatnonzero(confusion.sum(axis=1))
    synonyms = right_words(names, names_of(_vocabulary(captions)))
    return truth, _Classes(right_words(names, words), synonyms, present)


def _vocabulary(captions: Captions) -> Vocabulary:
    synonyms = tuple(tuple(json.loads(names)) for names in captions.synonyms)
    return Vocabulary(tuple(map(str, captions.word)), synonyms, tuple(captions.definition))


@dataclass(frozen=True)
class _Right:
    """Right answers for each class: words of the vocabulary, and its own name.

    feature: (v + c, d) unit rows of the words, then of the names that were encoded; None if there
    are none.
    """

    feature: FloatArray | None
    word: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, captions: Captions, classes: _Classes, encoded: ClassNames) -> "_Right":
        from clusterpipe.stages.numerics.preparation import unit_rows

        if captions.feature is None:
            return cls(None, classes.synonym)
        if encoded.feature is None:
            return cls(unit_rows(captions.feature[:]), classes.synonym)
        feature = unit_rows(np.concatenate([captions.feature[:], encoded.feature]))
        word = (np.append(w, len(captions.word) + c) for c, w in enumerate(classes.synonym))
        return cls(feature, tuple(word))


def _scores(
    naming: Naming, truth: NDArray[np.int64], classes: _Classes, right: _Right
) -> "dict[str, Score]":
    from clusterpipe.stages.numerics import name_metrics as measure

    phrase, rank = np.asarray(naming.phrase), np.asarray(naming.rank)
    named = np.array([any(map(bool, row)) for row in naming.text])
    unsure = float((phrase[named, 0] < 0).mean()) if named.any() else np.nan
    values = (
        measure.hits(phrase, truth, classes.exact, 1),
        measure.hits(phrase, truth, classes.exact, _LISTED),
        measure.hits(phrase, truth, classes.synonym, 1),
        measure.hits(phrase, truth, classes.synonym, _LISTED),
        measure.Score(np.nan, np.nan)
        if right.feature is None
        else measure.similarity(phrase[:, 0], truth, right.word, right.feature),
        measure.found_by_name(rank[named]),
        measure.Score(unsure, np.nan),
    )
    return dict(zip(METRICS, values, strict=True))


def _protocol(captions: Captions, classes: _Classes, right: _Right, encoded: ClassNames) -> str:
    sentences = []
    if len(classes.present):
        exact, synonym = classes.covered(classes.exact), classes.covered(classes.synonym)
        sentences.append(
            f"hits: clusters whose class has a word in {_words_of(captions)}, which names "
            f"{exact} of {len(classes.present)} classes, {synonym} with synonyms (WordNet)"
        )
        if right.feature is not None:
            which = "that words name" if encoded.feature is None else "by the text tower"
            sentences.append(f"text similarity: {classes.covered(right.word)} classes, {which}")
        if encoded.missing:
            sentences.append(f"other classes could not be compared: {encoded.missing}")
    sentences.append("chance: the captions dealt out at random among the clusters")
    if captions.leaks:
        sentences.append("the vocabulary is the class names themselves: hits are flattered")
    return "; ".join(sentences)


def _words_of(captions: Captions) -> str:
    return captions.methods[captions.chosen].vocabulary

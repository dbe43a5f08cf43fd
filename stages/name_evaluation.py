"""How good captions are: against the names of the true classes, where there are some."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.schema import Captions, FloatArray, IntArray, Naming, StringArray
from clusterpipe.stages.vocabulary import Vocabulary, names_of

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
    """Which words of the vocabulary are right for each class, by name and by synonym; coverage
    counts the classes that occur."""

    exact: tuple[NDArray[np.int64], ...]
    synonym: tuple[NDArray[np.int64], ...]
    present: NDArray[np.int64]

    def covered(self, right: tuple[NDArray[np.int64], ...]) -> int:
        return sum(len(right[c]) > 0 for c in self.present)


def caption_scores(
    captions: Captions, confusion: IntArray | None, class_name: StringArray | None
) -> dict[str, Any]:
    """The fields of Metrics about captions, of every captioner.

    A cluster's class is that of most of its labelled images, by `confusion` (c, k). A word is
    right by name when it is the class's name but for case, separators, brackets and plural, and
    by synonym when the vocabulary or ImageNet-21k's WordNet synsets take the two for one. Only
    classes that the vocabulary covers count. Without class names, what needs them is NaN.
    """
    truth, classes = _true_classes(captions, confusion, class_name)
    scores = {m: _scores(captions, n, truth, classes) for m, n in captions.methods.items()}
    table = np.array([[[s.value, s.chance] for s in row.values()] for row in scores.values()])
    return {
        "caption_method": np.array(list(scores), dtype=object),
        "caption_metric": np.array(METRICS, dtype=object),
        "caption_value": table[..., 0],
        "caption_chance": table[..., 1],
        "caption_protocol": _protocol(captions, classes),
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


def _scores(
    captions: Captions, naming: Naming, truth: NDArray[np.int64], classes: _Classes
) -> "dict[str, Score]":
    from clusterpipe.stages.numerics import name_metrics as measure

    phrase, rank = np.asarray(naming.phrase), np.asarray(naming.rank)
    named = np.array([any(map(bool, row)) for row in naming.text])
    unsure = float((phrase[named, 0] < 0).mean()) if named.any() else np.nan
    nothing = measure.Score(np.nan, np.nan)
    values = (
        measure.hits(phrase, truth, classes.exact, 1),
        measure.hits(phrase, truth, classes.exact, _LISTED),
        measure.hits(phrase, truth, classes.synonym, 1),
        measure.hits(phrase, truth, classes.synonym, _LISTED),
        nothing
        if captions.feature is None
        else _similarity(captions.feature, phrase, truth, classes),
        measure.found_by_name(rank[named]),
        measure.Score(unsure, np.nan),
    )
    return dict(zip(METRICS, values, strict=True))


def _similarity(
    feature: FloatArray, phrase: IntArray, truth: NDArray[np.int64], classes: _Classes
) -> "Score":
    from clusterpipe.stages.numerics.name_metrics import similarity
    from clusterpipe.stages.numerics.preparation import unit_rows

    wanted = np.unique(np.concatenate([phrase[phrase[:, 0] >= 0, 0], *classes.synonym]))
    rows = unit_rows(feature[wanted])
    return similarity(
        phrase[:, 0], truth, classes.synonym, dict(zip(wanted.tolist(), rows, strict=True))
    )


def _protocol(captions: Captions, classes: _Classes) -> str:
    sentences = []
    if len(classes.present):
        exact, synonym = classes.covered(classes.exact), classes.covered(classes.synonym)
        sentences.append(
            f"hits: clusters whose class has a word in {_words_of(captions)}, which names "
            f"{exact} of {len(classes.present)} classes, {synonym} with synonyms (WordNet)"
        )
    sentences.append("chance: the captions dealt out at random among the clusters")
    if captions.leaks:
        sentences.append("the vocabulary is the class names themselves: hits are flattered")
    return "; ".join(sentences)


def _words_of(captions: Captions) -> str:
    return captions.methods[captions.chosen].vocabulary

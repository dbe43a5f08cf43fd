"""The words that a cluster head reads, as rows of the space of its images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.backbones import EXAMPLES
from clusterpipe.stages.heads.protocol import Words
from clusterpipe.stages.words.vocabulary import (
    CLASSES,
    IMAGENET,
    Vocabulary,
    has_features,
    known_words,
    open_vocabulary,
    word_called,
)
from clusterpipe.stages.words.word_features import Tower, word_features


@dataclass(frozen=True)
class Found:
    """The words, and what they are: "the 8 of the 20 words of names.txt that ... knows"."""

    words: Words
    about: str


@dataclass(frozen=True)
class Lexicon:
    """Lexicon of one space: its words become rows by its `tower`, as they are given, or not at all.

    kind: "open", "closed" or "none", what the tower scores, "" if that is not known; prompts: see
    `word_features.templates`; classes: the class names of the source; store: where encoded words
    are kept.
    """

    tower: Tower
    kind: str
    prompts: Sequence[str]
    classes: StringArray | None = None
    store: WordStore | None = None
    progress: Progress = silent

    def look_up(self, name: str, *, setting: str) -> Found:
        """The words of the vocabulary called `name`; `setting` is where the name comes from.

        From a text tower, or as their file brings them along, they are compared by cosine. A closed
        vocabulary is scored as its classifier does; words that it does not know are left out. No
        name means all that it knows, and imagenet-21k for a text tower. Raises UsageError, naming
        the setting, where no words can be scored or none is known.
        """
        if not has_features(name):
            kind = self.kind or (self.tower.opened.words if self.tower.backbone else "none")
            if kind == "closed":
                return self._own(name, setting)
            if kind == "none":
                raise _wordless(self.tower.backbone, setting)
        name = name or IMAGENET[1]
        words = self._vocabulary(name, setting)
        feature = word_features(words, self.prompts, self.tower, self.store, self.progress)
        offset = np.zeros(len(feature), np.float32)
        about = f"the {len(words.word):,} words of {name}"
        return Found(Words(words.word, feature, offset, by_cosine=True), about + _leak(name))

    def _vocabulary(self, name: str, setting: str) -> Vocabulary:
        return open_vocabulary(name, classes=self.classes, setting=setting)

    def _own(self, name: str, setting: str) -> Found:
        """Words of a backbone that knows no others."""
        backbone, opened = self.tower.backbone, self.tower.opened
        known, direction = known_words(opened.vocabulary()), opened.word_directions()
        nothing = np.zeros((1, direction.shape[1]), np.float32)
        offset = np.log(opened.word_probabilities(nothing)[0])
        if not name:
            about = f"the {len(known.word):,} words of {backbone}"
            return Found(Words(known.word, direction, offset, by_cosine=False), about)
        asked = self._vocabulary(name, setting).word
        place = _places(asked, known, backbone)
        if len(set(place.values())) < len(place):
            raise UsageError(f"{setting}: two of the words are the same one to {backbone}")
        about = f"the {len(asked):,} words of {name}"
        if len(place) < len(asked):
            about = f"the {len(place):,} of {about} that {backbone} knows"
        index = list(place.values())
        words = Words(tuple(place), direction[index], offset[index], by_cosine=False)
        return Found(words, about + _leak(name))


def _places(asked: Sequence[str], known: Vocabulary, backbone: str) -> dict[str, int]:
    """Indices of the words among those that are known. Raises UsageError if none is."""
    place, unknown = dict[str, int](), list[UsageError]()
    for word in asked:
        try:
            place[word] = word_called(word, known, backbone)
        except UsageError as error:
            unknown.append(error)
    if not place:
        raise unknown[0]
    return place


def _wordless(backbone: str, setting: str) -> UsageError:
    return UsageError(
        f"{setting}: no words can be scored with the features of "
        f"{backbone or 'an unknown backbone'}: embed the images with an open_clip backbone too, "
        f"such as {EXAMPLES['open_clip']}, and name its space in assign.word_space; or give text "
        f"features of the same model in {setting}"
    )


def _leak(name: str) -> str:
    return ", the class names of the source, which leak the answer" if name == CLASSES else ""

"""Words as rows of an image space: prompts through the text tower, averaged, and kept on disk."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import Identity, Provenance
from clusterpipe.cache.rows import normalise
from clusterpipe.cache.schema import WordFeatures
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.backbones import EXAMPLES, parse
from clusterpipe.stages.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    from clusterpipe.stages.backbones import Backbone

ENSEMBLES = ("simple", "openai")
VERSION = 1  # of what `encode` makes: raise it when the same words give other features
TEXTS = 256  # encoded at a time


@dataclass(frozen=True)
class Tower:
    """The backbone of a space, opened when its words are first needed.

    `backbone` is "family:model@weights"; `weights` the SHA-256 of the weights that embedded the
    images, "" if that is unknown.
    """

    backbone: str
    weights: str = ""
    device: str = "auto"
    download: bool = False

    @cached_property
    def opened(self) -> "Backbone":
        """The backbone. Raises UsageError when it is not the one that embedded the images."""
        from clusterpipe.stages.backbones import open_backbone

        tower = open_backbone(parse(self.backbone), device=self.device, download=self.download)
        if self.weights and tower.weights_digest != self.weights:
            raise UsageError(
                f"the weights of {self.backbone} have changed since the images were embedded, and "
                "words of one model do not fit images of another: run `clusterpipe embed` again"
            )
        return tower


def check_prompts(prompts: Sequence[str], *, setting: str = "caption.prompt") -> None:
    """Raises UsageError for a prompt that is no ensemble and has not exactly one {}."""
    if not prompts:
        raise UsageError(f"{setting} needs at least one sentence, such as 'a photo of a {{}}'")
    for prompt in prompts:
        if prompt not in ENSEMBLES and prompt.count("{}") != 1:
            raise UsageError(
                f"{setting} {prompt!r} needs one {{}} where the word goes, or is one of the "
                f"ensembles {', '.join(ENSEMBLES)}"
            )


def templates(prompts: Sequence[str]) -> tuple[str, ...]:
    """The sentences behind `prompts`, each once: ensembles are those that open_clip carries."""
    found: list[str] = []
    for prompt in prompts:
        found += _ensemble(prompt) if prompt in ENSEMBLES else [prompt]
    return tuple(dict.fromkeys(found))


def _ensemble(name: str) -> list[str]:
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    functions = OPENAI_IMAGENET_TEMPLATES if name == "openai" else SIMPLE_IMAGENET_TEMPLATES
    return [function("{}") for function in functions]


def word_features(
    vocabulary: Vocabulary,
    prompts: Sequence[str],
    tower: Tower,
    store: WordStore | None = None,
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """(v, d) unit features of the words in the space of `tower`.

    Each is the mean of its prompts' unit features, scaled to unit length (Radford et al. 2021).
    With a `store`, words that were encoded before are read back, and the tower is not opened.
    Features that the vocabulary brings along are taken as they are.
    """
    if vocabulary.features is not None:
        return normalise(vocabulary.features)
    sentences = templates(prompts)
    if store is None:
        return encode(vocabulary.word, sentences, tower.opened, progress)
    weights = tower.weights or tower.opened.weights_digest
    identity = _identity(vocabulary, sentences, tower.backbone, weights)
    kept = store.read(identity) or _encoded(vocabulary, sentences, tower, identity, store, progress)
    return np.asarray(kept.features, np.float32)


def _encoded(
    vocabulary: Vocabulary,
    sentences: Sequence[str],
    tower: Tower,
    identity: Identity,
    store: WordStore,
    progress: Progress,
) -> WordFeatures:
    """Encodes the words and keeps them."""
    began = time.monotonic()
    record = WordFeatures(
        word=strings(vocabulary.word),
        prompt=strings(sentences),
        features=encode(vocabulary.word, sentences, tower.opened, progress),
        backbone=tower.backbone,
        weights=tower.opened.weights_digest,
    )
    seconds = time.monotonic() - began
    made = Provenance(identity=identity, how={}, seconds=seconds, device=tower.opened.device)
    store.write(record, made)
    return record


def _identity(
    vocabulary: Vocabulary, sentences: Sequence[str], backbone: str, weights: str
) -> Identity:
    return Identity(
        stage=WordFeatures.stage,
        stage_version=VERSION,
        schema=WordFeatures.schema,
        seed=0,
        config={"backbone": backbone, "prompts": list(sentences)},
        inputs={"vocabulary": vocabulary.digest(), "weights": weights},
    )


def encode(
    words: Sequence[str],
    sentences: Sequence[str],
    tower: "Backbone",
    progress: Progress = silent,
    *,
    at_once: int = TEXTS,
) -> NDArray[np.float32]:
    """(v, d) unit features: the mean over `sentences` of each word's unit features.

    In a sentence, underscores of a word become spaces. at_once: texts of a batch. Raises
    UsageError for a backbone that encodes no texts.
    """
    if tower.words != "open":
        raise UsageError(
            f"{tower.spec.definition} encodes no texts: embed with an open_clip backbone, such as "
            f"{EXAMPLES['open_clip']}"
        )
    parts = []
    with progress("encoding words", total=len(words), unit="words") as advance:
        for batch in _batches(words, max(1, at_once // len(sentences))):
            texts = [s.replace("{}", w.replace("_", " ")) for w in batch for s in sentences]
            rows = normalise(tower.encode_texts(texts)).reshape(len(batch), len(sentences), -1)
            parts.append(normalise(rows.mean(axis=1)))
            advance(len(batch))
    return np.concatenate(parts)


def _batches(words: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(words), size):
        yield words[start : start + size]

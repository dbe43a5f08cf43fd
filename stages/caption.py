"""caption: names each cluster by the words that fit its images."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import BLOCK, Rows, blocks
from clusterpipe.cache.schema import (
    Assignments,
    Captions,
    Corrections,
    Embeddings,
    IntArray,
    Naming,
    StringArray,
)
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.backbones import EXAMPLES
from clusterpipe.stages.declaration import (
    Compute,
    FolderInput,
    Input,
    Read,
    check,
    option,
    stage,
)
from clusterpipe.stages.sampling import as_column, as_rows
from clusterpipe.stages.words.vocabulary import (
    CLASSES,
    IMAGENET,
    Vocabulary,
    file_inputs,
    has_features,
    open_vocabulary,
    plain,
)
from clusterpipe.stages.words.word_features import Tower, check_prompts, templates, word_features

if TYPE_CHECKING:
    from torch import Tensor

    from clusterpipe.stages.numerics.naming import Evidence, Names

Score: TypeAlias = "Callable[[NDArray[Any]], Tensor]"
Captioner: TypeAlias = "Callable[[Evidence, CaptionConfig], Names]"

METHODS = ("distinctive", "vote")
UNSURE = "unsure"
CELLS = 2**24  # images times words that are scored at a time
_FLOOR = 1e-12


@dataclass(frozen=True)
class CaptionConfig:
    """Settings of the caption stage."""

    table: ClassVar[str] = "caption"

    space: str = option(
        "",
        "Feature space to describe, such as clip. Empty = the first one that words can be "
        "scored in.",
    )
    methods: tuple[str, ...] = option(
        (),
        "Captioners: distinctive, vote (CPP) or both; the run stands by the first. Empty = "
        "both, distinctive first (vote first with a closed vocabulary).",
        choices=METHODS,
    )
    vocabulary: str = option(
        "",
        "Words: imagenet-1k, imagenet-21k, a text file, a file of text features, or 'classes'"
        " (leaks the answer). Empty = the backbone's own, else imagenet-1k.",
    )
    prompt: tuple[str, ...] = option(
        ("a photo of a {}",),
        "Sentences to put a word into, at {}; their features are averaged. 'simple' and "
        "'openai' = CLIP's ensembles of 7 and 80.",
    )
    phrases: int = option(5, "Phrases to keep per cluster, best first.", least=1)
    votes: int = option(5, "Words each image votes for, weighted by probability.", least=1)
    temperature: float = option(
        0.01,
        "Temperature over cosines; 0.01 is CLIP's own. Higher spreads votes over more words. "
        "Unused by a closed vocabulary.",
        above=0,
    )
    sharing: str = option(
        "optimal",
        "Rule for clusters with the same best word ('distinctive'): largest sum of scores, "
        "best fit first, or sharing allowed.",
        choices=("optimal", "greedy", "allowed"),
    )
    doubt: float = option(
        0.1,
        "Significance below which a cluster's best word stands out, else it is 'unsure' "
        "('distinctive'). Lower doubts more; 1 never.",
        above=0,
    )


def _reads(config: CaptionConfig) -> Mapping[str, Read]:
    if config.space == "concatenate":
        raise UsageError("caption.space must be one space: words are scored by one backbone")
    inputs: dict[str, Read] = {
        "features": Input(Embeddings, "{words}/features"),
        "label": Input(Assignments, "{chosen}/label"),
        "backbone": Input(Embeddings, "{words}@backbone"),
        "weights": Input(Embeddings, "{words}@weights"),
        "words": Input(Embeddings, "{words}@words"),
        "space": Input(Embeddings, "{words}"),
        "assignment": Input(Assignments, "chosen"),
        "clustered": Input(Assignments, "{chosen}@space"),
        "corrected": Input(Corrections, "label", unless_skipped=True),
        "folder": FolderInput("words"),
    }
    if config.vocabulary == CLASSES:
        inputs["class_name"] = Input(Embeddings, "class_name", optional=True)
    return inputs | file_inputs(config.vocabulary, "vocabulary")


def _skip(stages: Mapping[str, Any], read: Callable[[Input], Any]) -> str | None:
    """Features without words cannot be captioned; that is no reason to end a run."""
    if has_features(stages["caption"].vocabulary):
        return None
    if read(Input(Embeddings, "{words}@words")) != "none":
        return None
    return (
        "the space has no words: add an open_clip backbone to embed.backbones, or give text "
        "features of the same model in caption.vocabulary"
    )


@stage(version=2, config=CaptionConfig, reads=_reads, writes=Captions, skip=_skip)
def caption(
    features: Rows,
    label: IntArray,
    backbone: str = "",
    config: CaptionConfig = CaptionConfig(),
    *,
    weights: str = "",
    words: str = "",
    space: str = "",
    assignment: str = "",
    clustered: str = "",
    corrected: IntArray | None = None,
    class_name: StringArray | None = None,
    folder: Path | None = None,
    compute: Compute = Compute(),
    seed: int = 0,
    at_once: int = CELLS,
    progress: Progress = silent,
) -> Captions:
    """Name each cluster by the words that fit its images, by every method asked for.

    `vote` is CPP's self-labelling (Chu et al., ICLR 2024): each image gives its likeliest `votes`
    words, weighted by their probability, to its cluster. `distinctive` is ours: see
    `by_distinction`. `features` (n, d) are raw features of the space, made by `backbone`
    ("family:model@weights"), or by the model whose text features the vocabulary brings along;
    `label` (n,) clusters 0..k-1, and rows of -1 say nothing. A score of 0.9 says that the images
    agree, not that they are right. Empty clusters get empty phrases. `corrected` (n,), if given,
    are the clusters instead. Memory is O(k v), whatever n. Nothing is drawn at random: `seed`
    changes nothing.

    Encoded words are kept in `folder`, if there is one. `weights`, `words`, `space`, `assignment`
    and `clustered` are what the pipeline knows beforehand.

    Raises UsageError for a backbone that knows no words, words that a closed vocabulary lacks,
    an unusable vocabulary or setting, and WeightsMissing when its weights are not on disk.
    """
    config, features, label = check(config), as_rows(features), as_column(label, "the labels")
    if corrected is not None:
        label, assignment = as_column(corrected, "the corrected labels"), f"{assignment}, corrected"
    _check(features, label, backbone, words, config)
    tower = Tower(backbone, weights, compute.device, compute.download)
    closed = not has_features(config.vocabulary) and (words or tower.opened.words) == "closed"
    if closed:
        known = _own_words(tower, config, class_name)
    else:
        name = config.vocabulary or IMAGENET[0]
        vocabulary = open_vocabulary(name, classes=class_name)
        store = WordStore(folder) if folder else None
        encoded = word_features(vocabulary, config.prompt, tower, store, progress)
        known = _Words(vocabulary, name, _open_score(features, encoded, config, compute), encoded)
    vocabulary = known.vocabulary
    evidence = _gather(features, np.asarray(label), known, config, at_once, progress)
    about = {
        "space": space or config.space,
        "assignment": assignment,
        "clustered": clustered,
        "vocabulary": known.name,
        "vocabulary_digest": vocabulary.digest(),
    }
    methods = config.methods or (METHODS[::-1] if closed else METHODS)
    encoding = known.features is not None and vocabulary.features is None
    named = {method: _CAPTIONERS[method](evidence, config) for method in methods}
    return Captions(
        chosen=methods[0],
        methods={m: _naming(names, evidence, vocabulary, about) for m, names in named.items()},
        word=strings(vocabulary.word),
        synonyms=strings(json.dumps(names, ensure_ascii=False) for names in vocabulary.synonyms),
        definition=strings(vocabulary.definition),
        feature=None if known.features is None else known.features.astype(np.float16),
        prompt=strings(templates(config.prompt)) if encoding else None,
        backbone=backbone if encoding else "",
        weights=(weights or tower.opened.weights_digest) if encoding else "",
        leaks=config.vocabulary == CLASSES,
    )


def _check(
    features: Rows, label: IntArray, backbone: str, words: str, config: CaptionConfig
) -> None:
    if not has_features(config.vocabulary) and (not backbone or words == "none"):
        raise UsageError(
            f"no words can be scored with the features of {backbone or 'an unknown backbone'}: "
            f"embed the images with an open_clip backbone too, such as {EXAMPLES['open_clip']}, "
            "and name its space in caption.space; or give text features of the same model in "
            "caption.vocabulary"
        )
    if len(label) != features.shape[0]:
        raise UsageError(f"{features.shape[0]} rows of features, but {len(label)} labels")
    check_prompts(config.prompt)


@dataclass(frozen=True)
class _Words:
    """The v words that may become captions, how images score them, and their features (v, d)."""

    vocabulary: Vocabulary
    name: str
    score: Score
    features: NDArray[np.float32] | None = None


def _own_words(tower: Tower, config: CaptionConfig, classes: StringArray | None) -> _Words:
    """The words of a backbone that takes no others."""
    own = tower.opened.vocabulary()
    found = open_vocabulary(config.vocabulary or IMAGENET[0], classes=classes)
    if found.word != own and config.vocabulary:
        raise UsageError(
            f"{tower.backbone} knows its own {len(own)} words and no others: leave "
            "caption.vocabulary empty, or embed with an open_clip backbone, such as "
            f"{EXAMPLES['open_clip']}"
        )
    vocabulary = found if found.word == own else plain(own)
    return _Words(vocabulary, config.vocabulary or tower.backbone, _own_score(tower))


# ---------------------------------------------------------------- what the images say


def _own_score(tower: Tower) -> Score:
    """Log-probabilities (b, v) of a closed vocabulary, from raw features (b, d)."""
    import torch

    def score(block: NDArray[Any]) -> "Tensor":
        probability = tower.opened.word_probabilities(block)
        return torch.from_numpy(probability).clamp(min=_FLOOR).log()

    return score


def _open_score(
    features: Rows, encoded: NDArray[np.float32], config: CaptionConfig, compute: Compute
) -> Score:
    """Log-probabilities (b, v) of encoded words (v, d), from raw features (b, d)."""
    import torch

    from clusterpipe.stages.backbones.network import resolve_device
    from clusterpipe.stages.numerics.voting import word_log_probability

    if features.shape[1] != encoded.shape[1]:
        raise UsageError(
            f"the features are {features.shape[1]} wide, those of the words {encoded.shape[1]}: "
            "they are not from one model. Name the space of the same model in caption.space"
        )
    device = resolve_device(compute.device)
    words = torch.from_numpy(encoded).to(device)

    def score(block: NDArray[Any]) -> "Tensor":
        images = torch.tensor(block, dtype=torch.float32, device=device)
        return word_log_probability(images, words, config.temperature)

    return score


def _gather(
    features: Rows,
    label: IntArray,
    words: _Words,
    config: CaptionConfig,
    at_once: int,
    progress: Progress,
) -> "Evidence":
    """Evidence of all images; there is one cluster more than the largest label."""
    from clusterpipe.stages.numerics.naming import Evidence

    v = len(words.vocabulary.word)
    evidence = Evidence(np.zeros((int(label.max(initial=-1)) + 1, v)))
    size = max(1, min(BLOCK, at_once // v))
    start = 0
    with progress("describing", total=len(label), unit="images") as advance:
        for block in blocks(features, size):
            owner = label[start : start + size]
            known = owner >= 0
            if known.any():
                evidence.add(words.score(block[known]), owner[known], config.votes)
            start += size
            advance(len(block))
    return evidence


# ---------------------------------------------------------------- the names


def _vote(evidence: "Evidence", config: CaptionConfig) -> "Names":
    from clusterpipe.stages.numerics.naming import by_vote

    return by_vote(evidence, config.phrases)


def _distinctive(evidence: "Evidence", config: CaptionConfig) -> "Names":
    from clusterpipe.stages.numerics.naming import by_distinction

    return by_distinction(evidence, config.phrases, sharing=config.sharing, level=config.doubt)


_CAPTIONERS: Mapping[str, Captioner] = {"distinctive": _distinctive, "vote": _vote}


def _naming(
    names: "Names", evidence: "Evidence", vocabulary: Vocabulary, about: Mapping[str, str]
) -> Naming:
    from clusterpipe.stages.numerics.naming import fit, retrieval_rank

    text = np.append(strings(vocabulary.word), "")[names.word]
    text[names.unsure, :1] = UNSURE
    fits = np.take_along_axis(fit(evidence), np.maximum(names.word, 0), axis=1)
    return Naming(
        text=text,
        phrase=names.word,
        score=names.score.astype(np.float32),
        margin=names.margin.astype(np.float32),
        fit=np.where(names.word >= 0, fits, 0).astype(np.float32),
        rank=retrieval_rank(evidence, names.word[:, 0]),
        **about,
    )

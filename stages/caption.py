"""caption: names each cluster by the words that its images vote for."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import BLOCK, Rows, blocks
from clusterpipe.cache.schema import Assignments, Captions, Embeddings, IntArray, Naming
from clusterpipe.stages.backbones import EXAMPLES, parse
from clusterpipe.stages.declaration import FileInput, Input, option, stage

if TYPE_CHECKING:
    from torch import Tensor

    from clusterpipe.stages.backbones import Backbone

Score: TypeAlias = "Callable[[NDArray[Any]], Tensor]"

METHOD = "vote"
_IMAGENET = ("imagenet-1k", "imagenet-21k")
_CELLS = 2**24
_TEXTS = 256


@dataclass(frozen=True)
class CaptionConfig:
    """Settings of the caption stage."""

    space: str = option(
        "", "the feature space whose images vote, such as clip; empty = the first one"
    )
    vocabulary: str = option(
        "",
        "the words that may become captions: imagenet-1k, imagenet-21k, or a text file with one "
        "word or phrase per line (of a .csv, the first column). Empty = the backbone's own words "
        "if it has a closed vocabulary, else imagenet-1k. Give a list that suits your pictures: "
        "no other word can be found",
    )
    prompt: str = option(
        "a photo of a {}",
        "the sentence a word is put into, at {}. Change it for other kinds of pictures, such as "
        "'a painting of a {}'",
    )
    phrases: int = option(5, "how many phrases are kept per cluster, best first")
    votes: int = option(
        5, "how many words each image votes for, each with its probability as weight"
    )
    temperature: float = option(
        0.01,
        "of the softmax over cosines; 0.01 is CLIP's own scale. Higher spreads an image's votes "
        "over more words. Unused by a closed vocabulary",
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps", affects_result=False)
    download: bool = option(
        False, "allow fetching weights that are not on disk", affects_result=False
    )


def _reads(config: CaptionConfig) -> Mapping[str, Input | FileInput]:
    if config.space == "concatenate":
        raise UsageError("caption.space must be one space: words are scored by one backbone")
    inputs: dict[str, Input | FileInput] = {
        "features": Input(Embeddings, "{space}/features"),
        "label": Input(Assignments, "{chosen}/label"),
        "backbone": Input(Embeddings, "{space}@backbone"),
        "words": Input(Embeddings, "{space}@words"),
        "assignment": Input(Assignments, "chosen"),
    }
    if config.vocabulary and config.vocabulary not in _IMAGENET:
        inputs["vocabulary_file"] = FileInput(str(Path(config.vocabulary).expanduser()))
    return inputs


def _skip(stages: Mapping[str, Any], read: Callable[[Input], Any]) -> str | None:
    """Features without words cannot be captioned; that is no reason to end a run."""
    if read(Input(Embeddings, "{space}@words")) != "none":
        return None
    return "the space has no words: add an open_clip backbone and name it in caption.space"


@stage(version=1, config=CaptionConfig, reads=_reads, writes=Captions, skip=_skip)
def caption(
    features: Rows,
    label: IntArray,
    backbone: str,
    config: CaptionConfig = CaptionConfig(),
    *,
    words: str = "",
    assignment: str = "",
    vocabulary_file: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Captions:
    """Name each cluster by the words its images vote for.

    Each image gives its likeliest `votes` words, weighted by their probability, to its cluster;
    a cluster's caption is the word with most votes (CPP's self-labelling, Chu et al., ICLR 2024).
    `features` (n, d) are raw features of the space, made by `backbone` ("family:model@weights");
    `label` (n,) clusters 0..k-1, and rows of -1 do not vote. A score is a share of the cluster's
    votes, 0..1: 0.9 says that the images agree, not that they are right. Empty clusters get
    empty phrases. Memory is O(k v). The vote is deterministic: `seed` changes nothing.
    `words`, `assignment` and `vocabulary_file` are what the pipeline knows beforehand.

    Raises UsageError for a backbone that knows no words, words that a closed vocabulary lacks,
    an unusable vocabulary or setting, and WeightsMissing when its weights are not on disk.
    """
    _check(features, label, backbone, words, config)
    from clusterpipe.stages.backbones import open_backbone
    from clusterpipe.stages.numerics.voting import elect

    spec = parse(backbone)
    tower = open_backbone(spec, device=config.device, download=config.download)
    vocabulary = _vocabulary(tower, config, vocabulary_file)
    score = _scorer(tower, vocabulary, features.shape[1], config, progress)
    tally = _poll(features, np.asarray(label), score, len(vocabulary), config.votes, progress)
    election = elect(tally, config.phrases)
    names = np.array(vocabulary, dtype=object)
    naming = Naming(
        text=np.where(election.share > 0, names[election.word], "").astype(object),
        score=election.share.astype(np.float32),
        margin=election.margin.astype(np.float32),
        space=config.space or spec.name,
        assignment=assignment,
        vocabulary=config.vocabulary or (_IMAGENET[0] if tower.words == "open" else backbone),
        vocabulary_digest=blake2b("\n".join(vocabulary).encode()).hexdigest(),
    )
    return Captions(chosen=METHOD, methods={METHOD: naming})


def _check(
    features: Rows, label: IntArray, backbone: str, words: str, config: CaptionConfig
) -> None:
    if not backbone or words == "none":
        raise UsageError(
            f"no words can be scored with the features of {backbone or 'an unknown backbone'}: "
            f"embed the images with an open_clip backbone too, such as {EXAMPLES['open_clip']}, "
            "and name its space in caption.space"
        )
    if len(label) != features.shape[0]:
        raise UsageError(f"{features.shape[0]} rows of features, but {len(label)} labels")
    if config.prompt.count("{}") != 1:
        raise UsageError(f"caption.prompt {config.prompt!r} needs one {{}} where the word goes")
    for name in ("phrases", "votes", "temperature"):
        if not getattr(config, name) > 0:
            raise UsageError(f"caption.{name} = {getattr(config, name)} must be positive")


# ---------------------------------------------------------------- the words that stand


def _vocabulary(tower: "Backbone", config: CaptionConfig, file: Path | None) -> tuple[str, ...]:
    """The words that stand for election. A closed backbone takes no others than its own."""
    if tower.words == "open":
        return _named_words(config.vocabulary or _IMAGENET[0], file)
    own = tower.vocabulary()
    if config.vocabulary and _named_words(config.vocabulary, file) != own:
        raise UsageError(
            f"{tower.spec.definition} knows its own {len(own)} words and no others: leave "
            "caption.vocabulary empty, or embed with an open_clip backbone, such as "
            f"{EXAMPLES['open_clip']}"
        )
    return own


def _named_words(vocabulary: str, file: Path | None) -> tuple[str, ...]:
    if vocabulary in _IMAGENET:
        from clusterpipe.stages.backbones.imagenet import class_names

        return class_names(vocabulary)
    return read_words(file or Path(vocabulary).expanduser())


def read_words(file: Path) -> tuple[str, ...]:
    """The words of a text file: one per line, or the first column of a `.csv`; repeats go.

    Raises UsageError when the file is not there, is not UTF-8 text, or holds no word.
    """
    if not file.is_file():
        near = get_close_matches(str(file), _IMAGENET, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"{file} is neither a file nor one of {', '.join(_IMAGENET)}.{hint}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"the vocabulary {file} is not UTF-8 text: {error}") from error
    if file.suffix.lower() == ".csv":
        lines = [row[0] for row in csv.reader(lines) if row]
    words = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not words:
        raise UsageError(f"the vocabulary {file} holds no words")
    return words


# ---------------------------------------------------------------- the vote


def _scorer(
    tower: "Backbone",
    vocabulary: tuple[str, ...],
    width: int,
    config: CaptionConfig,
    progress: Progress,
) -> Score:
    """A function from raw features (b, d) to word probabilities (b, v)."""
    import torch

    from clusterpipe.stages.numerics.voting import word_probability

    if width != tower.width:
        raise UsageError(
            f"the features are {width} wide, those of {tower.spec.definition} {tower.width}: "
            "they are not from that backbone"
        )
    if tower.words == "closed":
        return lambda block: torch.from_numpy(tower.word_probabilities(block))
    prompts = [config.prompt.replace("{}", word) for word in vocabulary]
    words = torch.from_numpy(_encode(tower, prompts, progress)).to(tower.device)

    def score(block: NDArray[Any]) -> "Tensor":
        images = torch.tensor(block, dtype=torch.float32, device=tower.device)
        return word_probability(images, words, config.temperature)

    return score


def _encode(tower: "Backbone", texts: list[str], progress: Progress) -> NDArray[np.float32]:
    """(t, d) features of the texts, in batches."""
    parts = []
    with progress("encoding words", total=len(texts), unit="words") as advance:
        for start in range(0, len(texts), _TEXTS):
            batch = texts[start : start + _TEXTS]
            parts.append(tower.encode_texts(batch))
            advance(len(batch))
    return np.concatenate(parts)


def _poll(
    features: Rows, label: IntArray, score: Score, v: int, votes: int, progress: Progress
) -> NDArray[np.float64]:
    """The tally (k, v) of all images' votes; k is one more than the largest label."""
    from clusterpipe.stages.numerics.voting import cast_votes

    tally = np.zeros((int(label.max(initial=-1)) + 1, v))
    size = max(1, min(BLOCK, _CELLS // v))
    start = 0
    with progress("voting", total=len(label), unit="images") as advance:
        for block in blocks(features, size):
            owner = label[start : start + size]
            voters = owner >= 0
            if voters.any():
                cast_votes(tally, score(block[voters]), owner[voters], votes)
            start += size
            advance(len(block))
    return tally

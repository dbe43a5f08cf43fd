"""A text as a row of a run's features: by the text tower of the space, or as one of its words."""

from collections.abc import Sequence
from typing import Any

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import normalise
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.inputs import CONCATENATE, spaces
from clusterpipe.pipeline.results.query_rows import (
    EMBEDDINGS,
    Collection,
    FloatRows,
    Query,
    backbone_of,
    open_collection,
)
from clusterpipe.stages.backbones import EXAMPLES
from clusterpipe.stages.words.vocabulary import (
    Vocabulary,
    has_features,
    known_words,
    open_vocabulary,
    words_called,
)
from clusterpipe.stages.words.word_features import check_prompts, encode, templates


def open_worded(run: RunDirectory, config: Config, *, space: str) -> Collection:
    """The embeddings of a run in the space that texts are compared in.

    That is `space`, or else the one captions are told to describe, or else the first one with a
    text tower. Raises like `open_collection`, and UsageError for several spaces side by side.
    """
    wanted = space or config.of("caption").space
    if wanted == CONCATENATE:
        raise UsageError("a text is looked for in one space: name it with --space")
    (name,) = spaces(wanted, run, asked_by="--space or caption.space", worded=True)
    return open_collection(run, features=EMBEDDINGS, space=name)


def text_queries(
    texts: Sequence[str], collection: Collection, config: Config, *, device: str, download: bool
) -> list[Query]:
    """Each text as a row of the collection, compared with images by its cosine.

    Through the text tower of the space, put into `caption.prompt`; in a space without one, as one
    of the words whose features `caption.vocabulary` brings along, or of the words that a closed
    backbone knows; of several that it may mean, as their mean.

    Raises UsageError for a text without letters, a space without words, a word that is unknown or
    of another model, or when the backbone is another one now, and WeightsMissing when it is not
    on disk.
    """
    for text in texts:
        if not text.strip():
            raise UsageError("--text is empty: say what to look for")
    space = collection.index.spaces[collection.spaces[0]]
    settings = config.of("caption")
    if space.words == "open":
        return _through_tower(texts, collection, settings.prompt, device=device, download=download)
    if has_features(settings.vocabulary):
        return _among_given(texts, collection, settings.vocabulary)
    if space.words == "closed":
        return _among_own(texts, collection, device=device, download=download)
    raise UsageError(
        f"no text can be compared with the features {collection.spaces[0]} of "
        f"{collection.run.folder}: embed the images with an open_clip backbone too, such as "
        f'embed.backbones = ["{EXAMPLES["open_clip"]}"], or give text features of the same model '
        "in caption.vocabulary"
    )


def _through_tower(
    texts: Sequence[str], collection: Collection, prompts: Sequence[str], **where: Any
) -> list[Query]:
    check_prompts(prompts)
    sentences = templates(prompts)
    tower = backbone_of(collection.spaces[0], collection, **where)
    read_as = _quoted(sentences)
    rows = encode(texts, sentences, tower)
    return [
        Query(text, row, read_as=read_as.replace("{}", text))
        for text, row in zip(texts, rows, strict=True)
    ]


def _quoted(sentences: Sequence[str]) -> str:
    more = f" and {len(sentences) - 1} more" if len(sentences) > 1 else ""
    return f'"{sentences[0]}"{more}'


def _among_given(texts: Sequence[str], collection: Collection, file: str) -> list[Query]:
    words, width = open_vocabulary(file), collection.rows.shape[1]
    rows = words.features
    if rows is None or rows.shape[1] != width:
        raise UsageError(
            f"the features {collection.spaces[0]} of {collection.run.folder} are {width} wide, "
            f"those of the words in {file} {0 if rows is None else rows.shape[1]}: they are not "
            "from one model. Name the space of the same model with --space"
        )
    return _words(texts, words, rows, file)


def _among_own(texts: Sequence[str], collection: Collection, **where: Any) -> list[Query]:
    backbone = backbone_of(collection.spaces[0], collection, **where)
    words = known_words(backbone.vocabulary())
    return _words(texts, words, backbone.word_directions(), backbone.spec.definition)


def _words(texts: Sequence[str], vocabulary: Vocabulary, rows: FloatRows, name: str) -> list[Query]:
    found = [words_called(text, vocabulary, name) for text in texts]
    return [
        Query(
            text,
            normalise(rows[meant]).mean(axis=0),
            read_as=", ".join(vocabulary.word[word] for word in meant),
        )
        for text, meant in zip(texts, found, strict=True)
    ]

"""search: the images of a run that are most like another one, or like a text, by the cosine of
their features."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.names import file_words
from clusterpipe.cache.progress import Advance, Progress, silent
from clusterpipe.cache.provenance import canonical, digest
from clusterpipe.cache.rows import Rows, blocks
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings
from clusterpipe.cache.sources import ImageSource, Source, open_source
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.results import pictures
from clusterpipe.pipeline.results.query_rows import (
    EMBEDDINGS,
    FEATURES,
    REFINED,
    Asked,
    Collection,
    FloatRows,
    Query,
    files_of,
    named,
    open_collection,
    queries_of,
)
from clusterpipe.pipeline.results.standing import cluster_captions, standing_if_current
from clusterpipe.pipeline.results.text_queries import open_worded, text_queries
from clusterpipe.stages.sampling import finite

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE, TEXT = "image", "text"


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search: features, number of hits, and what goes with it.

    `sheet` is the contact sheet's file, None for one inside the run; `drawn` says whether there
    is one at all.
    """

    features: str = EMBEDDINGS
    space: str = ""
    top: int = 20
    exclude_self: bool = False
    sheet: Path | None = None
    drawn: bool = True
    device: str = "auto"
    download: bool = False


@dataclass(frozen=True)
class Hit:
    """One image found. `score` is its cosine with the query, -1..1; `row` its place in the run.

    `cluster` is None without current clusters, -1 for an image in none.
    """

    rank: int
    score: float
    row: int
    id: str
    path: str
    cluster: int | None
    caption: str
    is_query: bool


@dataclass(frozen=True)
class Answer:
    """Hits of one query.

    `by` is image or text; `read_as` what a text was taken for: a sentence, or a word that is known;
    `row` the query's own place in the run, if it has one.
    """

    query: str
    by: str
    read_as: str
    row: int | None
    features: str
    hits: tuple[Hit, ...]
    sheet: str | None = None

    @property
    def title(self) -> str:
        """The query in words."""
        if self.by == IMAGE:
            return f"most like {self.query}"
        read_as = f", read as {self.read_as}" if self.read_as != self.query else ""
        return f"most like the text {self.query!r}{read_as}"


def search(
    run: RunDirectory,
    config: Config,
    images: Sequence[str] = (),
    options: SearchOptions = SearchOptions(),
    *,
    texts: Sequence[str] = (),
    progress: Progress = silent,
) -> list[Answer]:
    """The images of a run that are nearest to each of `images` or `texts`: exact, best first.

    Each of `images` is an image file, or the id, path or row of an image of the run. A file that
    the run knows by its content is taken from there; any other goes through the run's own backbone.
    Texts go through its text tower, or are words that the run has features of: `text_queries`.
    Memory: the index without its features, and one block of those.

    Raises UsageError for what is no image or cannot be searched for, for images and texts at once,
    MissingArtifact naming the stage to run first, WeightsMissing when the backbone is needed and
    not on disk.
    """
    _check(options, asked=len(images) + len(texts))
    _check_texts(images, texts, options)
    where: dict[str, Any] = {"device": options.device, "download": options.download}
    asked: list[Asked | None] = [None] * len(texts)
    if texts:
        collection = open_worded(run, config, space=options.space)
        queries = text_queries(texts, collection, config, **where)
    else:
        collection = open_collection(run, features=options.features, space=options.space)
        known = [named(text, collection.index, run) for text in images]
        asked, queries = [*known], queries_of(known, collection, **where)
    answers = _answers(queries, collection, options, progress)
    if options.drawn:
        answers = _drawn(answers, asked, collection, config, options.sheet, progress)
    return answers


def _check(options: SearchOptions, *, asked: int) -> None:
    if not asked:
        raise UsageError("say what to look for, with --image or --text")
    if options.features not in FEATURES:
        raise UsageError(f"--features is one of {', '.join(FEATURES)}, not {options.features!r}")
    if options.features == REFINED and options.space:
        raise UsageError(
            "refined features have one space only: leave --space out, or refine another with "
            "`clusterpipe refine --set refine.space=...`"
        )
    if options.top < 1:
        raise UsageError(f"--top is {options.top}; it counts images, at least 1")
    if options.sheet and asked > 1:
        raise UsageError(
            "--sheet names the page of one query; without it each gets its own inside the run"
        )
    if options.sheet and options.sheet.exists() and pictures.key_of(options.sheet) is None:
        raise UsageError(f"{options.sheet} is there and was not drawn by clusterpipe: name another")


def _check_texts(images: Sequence[str], texts: Sequence[str], options: SearchOptions) -> None:
    if images and texts:
        raise UsageError(
            "give --image or --text, not both: cosines of texts are of another scale than those of "
            "images, so that one list cannot rank both"
        )
    if texts and options.features == REFINED:
        raise UsageError(
            "refined features have no text tower, so that no text can be compared with them: leave "
            "--features out, or look for an image with --image"
        )


# ---------------------------------------------------------------- what is found


def _answers(
    queries: Sequence[Query], collection: Collection, options: SearchOptions, progress: Progress
) -> list[Answer]:
    from clusterpipe.stages.numerics.nearest import nearest_in_blocks
    from clusterpipe.stages.numerics.preparation import unit_rows

    vectors = unit_rows(np.stack([query.vector for query in queries]))
    with progress("searching", total=collection.rows.shape[0], unit="images") as advance:
        listed = _unit_blocks(collection.rows, advance)
        found = nearest_in_blocks(vectors, listed, options.top + options.exclude_self)
    describer, answers = _Describer.of(collection), []
    for query, rows, scores in zip(queries, found.index, found.cosine, strict=True):
        kept = rows != query.row if options.exclude_self else np.full(len(rows), True)
        hits = describer.hits(rows[kept][: options.top], scores[kept][: options.top], query.row)
        by = IMAGE if not query.read_as else TEXT
        answers.append(Answer(query.name, by, query.read_as, query.row, collection.name, hits))
    return answers


def _unit_blocks(rows: Rows, advance: Advance) -> Iterator[FloatRows]:
    from clusterpipe.stages.numerics.preparation import unit_rows

    for block in blocks(finite(rows)):
        yield unit_rows(block)
        advance(len(block))


@dataclass(frozen=True)
class _Describer:
    """Describes the images that were found."""

    index: Embeddings
    label: NDArray[Any] | None
    caption: Sequence[str]

    @classmethod
    def of(cls, collection: Collection) -> "_Describer":
        run = collection.run
        found = standing_if_current(run)
        if found is None:
            return cls(collection.index, None, ())
        return cls(collection.index, found.clusters.label, cluster_captions(run, found))

    def hits(
        self, rows: NDArray[np.int64], scores: FloatRows, query: int | None
    ) -> tuple[Hit, ...]:
        """Hits of rows (q,) with those scores, best first; `query` is the query's row."""
        ranked = enumerate(zip(rows.tolist(), scores.tolist(), strict=True), start=1)
        return tuple(self._hit(rank, row, score, row == query) for rank, (row, score) in ranked)

    def _hit(self, rank: int, row: int, score: float, is_query: bool) -> Hit:
        cluster = None if self.label is None else int(self.label[row])
        return Hit(
            rank=rank,
            score=min(max(score, -1.0), 1.0),
            row=row,
            id=str(self.index.id[row]),
            path=str(self.index.path[row]),
            cluster=cluster,
            caption=self.caption[cluster] if cluster is not None and cluster >= 0 else "",
            is_query=is_query,
        )


# ---------------------------------------------------------------- contact sheets


def _drawn(
    answers: Sequence[Answer],
    asked: Sequence[Asked | None],
    collection: Collection,
    config: Config,
    file: Path | None,
    progress: Progress,
) -> list[Answer]:
    """The answers, each with a contact sheet, unless the run's images cannot be shown."""
    source: Source | None = None
    with suppress(UsageError):  # a run outlives its images
        source = open_source(config.source, progress=progress)
    if not isinstance(source, ImageSource):
        return list(answers)
    position = pictures.positions(source)
    drawn = []
    for answer, image in zip(answers, asked, strict=True):
        path = file or collection.run.pictures / "search" / _sheet_name(answer)
        tiles = [pictures.tile_of(source, position.get(hit.id)) for hit in answer.hits]
        if image:
            place = position.get(collection.index.id[image.row]) if image.row is not None else 0
            first = pictures.tile_of(files_of([image]) if image.file else source, place)
            tiles.insert(0, first)
        pictures.save(_page(answer, tiles), path, digest(canonical(asdict(answer)).encode()))
        drawn.append(replace(answer, sheet=str(path)))
    return drawn


def _page(answer: Answer, tiles: Sequence["Image"]) -> "Image":
    texts = [_marked(hit) for hit in answer.hits]
    first = ["query"] if answer.by == IMAGE else []
    return pictures.page_of(f"{answer.title} · {answer.features}", tiles, [*first, *texts])


def _marked(hit: Hit) -> str:
    cluster = "" if hit.cluster is None or hit.cluster < 0 else f" · cluster {hit.cluster}"
    return f"{hit.score:.3f}{cluster}"


def _sheet_name(answer: Answer) -> str:
    """Readable, and different for each query and space."""
    key = digest(canonical([answer.by, answer.query, answer.features]).encode())[:6]
    name = answer.query if answer.by == TEXT else Path(answer.query).stem
    return f"{file_words(name) or 'query'}-{key}.png"

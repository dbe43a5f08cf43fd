"""What captions and search by text are worth, and every caption as it came out, as Markdown.

Run: python tests/benchmarks/table_captions.py NAME=RUN ... > captions.md

RUN is the directory of a finished run with class names, such as that of `clusterpipe run-all
features.npz --set caption.vocabulary=words.npz`. The metrics are those that its evaluate stage
left; the class of a cluster is that of most of its labelled images. Search by text looks for every
class by its name, as `clusterpipe search --text` does, where the run's words have it.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Captions, Embeddings, Metrics
from clusterpipe.pipeline.engine.config import Config, load
from clusterpipe.pipeline.results.search import SearchOptions, search
from clusterpipe.stages.numerics.retrieval import chance_precision

DEPTH = 20
METHODS = ("distinctive", "vote")
MEASURES = ("synonym hit@1", "synonym hit@5", "text similarity", "found by name", "unsure")


@dataclass(frozen=True)
class Named:
    """A finished run, read: its artifacts and its settings."""

    name: str
    run: RunDirectory
    config: Config
    index: Embeddings
    captions: Captions
    metrics: Metrics


def read(argument: str) -> Named:
    name, _, folder = argument.partition("=")
    run = RunDirectory(Path(folder))
    index, captions, metrics = (
        artifact.read(run.artifact(kind), kind) for kind in (Embeddings, Captions, Metrics)
    )
    return Named(name, run, load(Config(), run.config, "run"), index, captions, metrics)


def metric_rows(sets: list[Named]) -> Iterator[str]:
    yield "| set | captions | clusters | " + " | ".join(MEASURES) + " |"
    yield "|---" * (3 + len(MEASURES)) + "|"
    for each in sets:
        k = len(each.captions.methods[each.captions.chosen].margin)
        for method in METHODS:
            cells = [measured(each.metrics, method, measure) for measure in MEASURES]
            yield f"| {each.name} | {method} | {k} | " + " | ".join(cells) + " |"


def measured(metrics: Metrics, method: str, measure: str) -> str:
    """The value, and in brackets what captions dealt out at random give."""
    h = list(metrics.caption_method).index(method)
    o = list(metrics.caption_metric).index(measure)
    value, chance = metrics.caption_value[h, o], metrics.caption_chance[h, o]
    if np.isnan(value):
        return "-"
    return f"{value:.2f}" + ("" if np.isnan(chance) else f" ({chance:.2f})")


def search_rows(sets: list[Named]) -> Iterator[str]:
    yield f"| set | classes | found as a word | precision@{DEPTH} by text | chance |"
    yield "|---|---|---|---|---|"
    for each in sets:
        label = np.asarray(each.index.label)
        count = np.bincount(label)
        tried = {c: by_name(each, c, label) for c in np.flatnonzero(count)}
        found = {c: precision for c, precision in tried.items() if precision is not None}
        if not found:
            yield f"| {each.name} | {len(tried)} | 0 | - | - |"
            continue
        chance = chance_precision(count[list(found)], len(label)).mean()
        mean = np.mean(list(found.values()))
        yield f"| {each.name} | {len(tried)} | {len(found)} | {mean:.3f} | {chance:.3f} |"


def by_name(each: Named, c: int, label: NDArray[np.int64]) -> float | None:
    """Share of class c among the first hits for its name; None where no word is it."""
    options = SearchOptions(top=DEPTH, drawn=False)
    name = str(each.index.class_name[c])
    try:
        (answer,) = search(each.run, each.config, options=options, texts=[name])
    except UsageError as error:
        print(f"{each.name}: {error}", file=sys.stderr)
        return None
    print(f"{each.name}: {name} read as {answer.read_as}", file=sys.stderr)
    return float(np.mean([label[hit.row] == c for hit in answer.hits]))


def caption_rows(each: Named) -> Iterator[str]:
    """A row per cluster: its class, and by each captioner what it is called, with scores."""
    yield "| mostly | images | " + " | ".join(METHODS) + " |"
    yield "|---|---|" + "---|" * len(METHODS)
    confusion = each.metrics.confusion
    for cluster in np.argsort(-confusion.sum(axis=0), kind="stable"):
        column = confusion[:, cluster]
        share = column.max() / max(column.sum(), 1)
        truth = f"{each.index.class_name[column.argmax()]} {share:.0%}"
        cells = [called(each.captions, method, cluster) for method in METHODS]
        yield f"| {truth} | {column.sum()} | " + " | ".join(cells) + " |"


def called(captions: Captions, method: str, cluster: int) -> str:
    naming = captions.methods[method]
    score = f" {naming.score[cluster, 0]:.2f}" if naming.phrase[cluster, 0] >= 0 else ""
    return f"{naming.text[cluster, 0]}{score}"


def main() -> None:
    sets = [read(argument) for argument in sys.argv[1:]]
    print("\n".join(metric_rows(sets)), end="\n\n")
    for each in sets:
        print(f"{each.name}: {each.metrics.caption_protocol}", end="\n\n")
    print("\n".join(search_rows(sets)), end="\n\n")
    for each in sets:
        print(f"## {each.name}", "\n".join(caption_rows(each)), sep="\n\n", end="\n\n")


if __name__ == "__main__":
    main()

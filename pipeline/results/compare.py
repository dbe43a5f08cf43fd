"""`clusterpipe compare`: what two runs set, found and measured differently."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings, Metrics
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.pipeline.results.reading import Results


@dataclass(frozen=True)
class Setting:
    """A setting that differs."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Measured:
    """A metric of the labels each run stands by; None where a run lacks it."""

    metric: str
    first: float | None
    second: float | None


@dataclass(frozen=True)
class Moved:
    """An image whose cluster is not the one that its former cluster became."""

    id: str
    first: int
    first_caption: str
    second: int
    second_caption: str


@dataclass(frozen=True)
class Comparison:
    """Two runs over their `shared` images, found by content.

    `clusters`: how many hold images, in each. `ari`, `nmi`: of the two labellings, None without
    two shared images. `moved` are in the order of the first run.
    """

    runs: tuple[str, str]
    images: tuple[int, int]
    clusters: tuple[int, int]
    shared: int
    ari: float | None
    nmi: float | None
    settings: tuple[Setting, ...]
    metrics: tuple[Measured, ...]
    moved: tuple[Moved, ...]


def compare(first: Results, second: Results, configs: tuple[Config, Config]) -> Comparison:
    """Compares two runs. Clusters are matched one to one so that most images stay.

    Raises UsageError when the runs share no image.
    """
    one, other = _shared(first.index, second.index)
    if not len(one):
        raise UsageError(f"{first.run.folder} and {second.run.folder} have no image in common")
    labels = first.clusters.label[one], second.clusters.label[other]
    ari, nmi = _agreement(*labels)
    return Comparison(
        runs=(str(first.run.folder), str(second.run.folder)),
        images=(len(first.index.id), len(second.index.id)),
        clusters=(_clusters(first), _clusters(second)),
        shared=len(one),
        ari=ari,
        nmi=nmi,
        settings=tuple(_settings(*configs)),
        metrics=tuple(_metrics(first, second)),
        moved=tuple(_moved(first, second, one, other)),
    )


def _shared(first: Embeddings, second: Embeddings) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rows of the images that both have, by content; of equal ones the first with the first."""
    place = {name: row for row, name in enumerate(_numbered(second))}
    pairs = [(row, place[name]) for row, name in enumerate(_numbered(first)) if name in place]
    found = np.array(pairs, np.intp).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _numbered(index: Embeddings) -> list[tuple[str, int]]:
    """Each image's digest, and how many before it have the same."""
    seen = Counter[str]()
    names = []
    for digest, name in zip(index.digest, index.id, strict=True):
        content = digest or name  # features that were given have no image
        names.append((content, seen[content]))
        seen[content] += 1
    return names


def _agreement(first: NDArray[Any], second: NDArray[Any]) -> tuple[float | None, float | None]:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if len(first) < 2:
        return None, None
    ari = float(adjusted_rand_score(first, second))
    return ari, float(normalized_mutual_info_score(first, second))


def _clusters(results: Results) -> int:
    label = results.clusters.label
    return len(np.unique(label[label >= 0]))


def _settings(first: Config, second: Config) -> list[Setting]:
    keys = first.keys()
    return [Setting(k, first.get(k), second.get(k)) for k in keys if first.get(k) != second.get(k)]


def _metrics(first: Results, second: Results) -> list[Measured]:
    one, other = _values(first.run, first.method), _values(second.run, second.method)
    return [Measured(m, one.get(m), other.get(m)) for m in dict.fromkeys([*one, *other])]


def _values(run: RunDirectory, method: str) -> dict[str, float]:
    if not describes(Metrics, run):
        return {}
    metrics = artifact.read(run.artifact(Metrics), Metrics)
    row = metrics.chosen_value[list(metrics.method).index(method)]
    return {str(m): float(v) for m, v in zip(metrics.metric, row, strict=True) if v == v}


def _moved(first: Results, second: Results, one: NDArray[Any], other: NDArray[Any]) -> list[Moved]:
    from clusterpipe.stages.numerics.metrics import contingency, one_to_one

    before, after = first.clusters.label[one], second.clusters.label[other]
    became = one_to_one(contingency(before, after))
    expected = np.where(before >= 0, became[before], -1)
    return [
        Moved(
            str(first.index.id[one[row]]),
            int(before[row]),
            _caption(first, before[row]),
            int(after[row]),
            _caption(second, after[row]),
        )
        for row in np.flatnonzero(after != expected)
    ]


def _caption(results: Results, cluster: int) -> str:
    return results.captions[cluster] if cluster >= 0 else "unassigned"

"""correct: replays what a person did to the clusters onto the ones that the run has now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.corrections import Act, Images, NamedCluster, in_force, read_log
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import Rows, normalise, take
from clusterpipe.cache.run_directory import CORRECTIONS
from clusterpipe.cache.schema import (
    Assignments,
    Corrections,
    Embeddings,
    FloatArray,
    IntArray,
    StringArray,
)
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.stages.declaration import Input, Read, RunFile, check, option, stage
from clusterpipe.stages.sampling import as_rows

RESTARTS = 4


@dataclass(frozen=True)
class CorrectConfig:
    """Settings of the correct stage."""

    table: ClassVar[str] = "correct"

    space: str = option(
        "",
        "Feature space in which a cluster is split, such as clip. Empty = the first, "
        "'concatenate' = all side by side.",
    )


def _reads(config: CorrectConfig) -> Mapping[str, Read]:
    columns = ("label", "probability", "top_label", "top_probability", "exemplar", "outlier_score")
    return {
        "log": RunFile(CORRECTIONS),
        "features": Input(Embeddings, "{space}/features"),
        "id": Input(Embeddings, "id"),
        "digest": Input(Embeddings, "digest"),
        "method": Input(Assignments, "chosen"),
        **{name: Input(Assignments, f"{{chosen}}/{name}") for name in columns},
    }


def _skip(stages: Mapping[str, Any], read: Callable[[Any], Any]) -> str | None:
    """Without corrections the run stands by the clusters as assigned."""
    return None if read(RunFile(CORRECTIONS)) else "nothing was corrected"


def _arguments(log: Path | None, **others: Any) -> dict[str, Any]:
    return {"acts": read_log(log), **others}


@stage(
    version=1,
    config=CorrectConfig,
    reads=_reads,
    writes=Corrections,
    skip=_skip,
    arguments=_arguments,
)
def correct(
    features: Rows,
    label: IntArray,
    acts: Sequence[Act],
    config: CorrectConfig = CorrectConfig(),
    *,
    id: StringArray,
    digest: StringArray,
    probability: FloatArray,
    top_label: IntArray,
    top_probability: FloatArray,
    exemplar: IntArray,
    outlier_score: FloatArray,
    method: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> Corrections:
    """Replay a person's corrections onto the clusters of the chosen method.

    features: (n, d) as embedded, in which clusters are split, by spherical k-means; label (n,),
    probability (n,), top_label and top_probability (n, m), exemplar (k, q), outlier_score (n,): the
    chosen assignment; id and digest (n,): by which acts name images. An image is found by both, or
    by its digest alone if it was renamed; a cluster by its images (`numerics.replaying`). What does
    not apply any more is recorded with the reason. What the assignment says is not changed.

    Raises UsageError for lengths that do not agree.
    """
    from clusterpipe.stages.numerics.replaying import replay

    config, features = check(config), as_rows(features)
    n = len(label)
    if not len(id) == len(digest) == features.shape[0] == n:
        raise UsageError(f"{n} labels, but {len(id)} images and {features.shape[0]} features")
    places = _Places.of(id, digest)
    lines = [line for line, counts in enumerate(in_force(acts)) if counts]
    steps = [places.step(line + 1, acts[line]) for line in lines]

    def cut(rows: NDArray[np.int64], into: int) -> NDArray[np.int64]:
        return _cut(take(features, rows), into, seed)

    with progress("replaying", total=len(steps), unit="corrections") as advance:
        found = replay(steps, label, probability, top_label, len(exemplar), cut)
        advance(len(steps))
    likeliest = _likeliest(found.label, found.placed, found.piece, top_label, top_probability)
    starred = np.zeros(n, np.int8)
    starred[found.star] = 1
    return Corrections(
        label=found.label,
        probability=np.ascontiguousarray(likeliest[1][:, 0]),
        top_label=likeliest[0],
        top_probability=likeliest[1],
        exemplar=_exemplars(found.label, len(found.name), starred, exemplar, outlier_score),
        title=strings(found.name),
        piece=found.piece,
        placed=found.placed.astype(np.int8),
        starred=starred,
        kept=found.kept,
        line=np.array([step.line for step in steps], np.int64),
        act=strings(step.kind for step in steps),
        outcome=strings(found.outcome),
        method=method,
    )


# ---------------------------------------------------------------- from images to rows


@dataclass(frozen=True)
class _Places:
    """Rows of images, by id and by digest; a digest of several images means none of them."""

    id: Mapping[str, int]
    digest: Mapping[str, int]
    content: StringArray

    @classmethod
    def of(cls, id: StringArray, digest: StringArray) -> "_Places":
        of_content: dict[str, int] = {}
        for row, content in enumerate(digest):
            of_content[content] = -1 if content in of_content else row
        return cls({name: row for row, name in enumerate(id)}, of_content, digest)

    def rows(self, images: Images) -> NDArray[np.int64]:
        """Rows of those images that are there still, under this name or another one."""
        found = [self._row(name, content) for name, content in images.items()]
        return np.array([row for row in dict.fromkeys(found) if row >= 0], np.int64)

    def _row(self, name: str, content: str) -> int:
        row = self.id.get(name, -1)
        if row >= 0 and content in ("", self.content[row]):
            return row
        return self.digest.get(content, -1) if content else -1

    def step(self, line: int, act: Act) -> Any:
        from clusterpipe.stages.numerics.replaying import Step

        rows = self.rows(act.images)
        return Step(
            line=line,
            kind=act.kind,
            rows=rows,
            clusters=[self._reference(cluster) for cluster in act.clusters],
            name=act.name,
            into=act.into,
            lost=len(act.images) - len(rows),
        )

    def _reference(self, cluster: NamedCluster) -> Any:
        from clusterpipe.stages.numerics.replaying import Reference

        return Reference(self.rows(cluster.images), len(cluster.images), cluster.size)


# ---------------------------------------------------------------- the clusters that result


def _cut(rows: NDArray[Any], into: int, seed: int) -> NDArray[np.int64]:
    """Pieces 0, 1, ... of rows (r, d), the largest first."""
    from clusterpipe.stages.numerics.kmeans import kmeans

    return kmeans(normalise(rows), into, spherical=True, restarts=RESTARTS, seed=seed).label


def _likeliest(
    label: NDArray[np.int32],
    placed: NDArray[np.bool_],
    piece: NDArray[np.int64],
    top_label: IntArray,
    top_probability: FloatArray,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The label and the likeliest other clusters (n, m), and their probabilities.

    Clusters that were merged add up. Where a person decided, the probability is 1, of none 0.
    """
    became = np.full(int(piece[:, 0].max(initial=-1)) + 2, -1, np.int32)
    became[piece[::-1, 0]] = piece[::-1, 1]  # the first piece of each counts; the last entry is -1
    cluster, share = became[top_label], np.array(top_probability, np.float32)
    own = ~placed & (label >= 0)
    cluster[own, 0] = label[own]
    for later in range(1, cluster.shape[1]):
        for earlier in range(later):
            again = (cluster[:, later] == cluster[:, earlier]) & (cluster[:, later] >= 0)
            share[again, earlier] += share[again, later]
            cluster[again, later], share[again, later] = -1, 0
    first = cluster[:, 0] == label
    away = ~first | placed
    mine = np.where(away[:, None] & (cluster == label[:, None]), -1, cluster)
    cluster[away, 1:], share[away, 1:] = mine[away, :-1], 0
    cluster[away, 0] = label[away]
    share[away, 0] = label[away] >= 0
    return cluster, share


def _exemplars(
    label: NDArray[np.int32],
    k: int,
    starred: NDArray[np.int8],
    exemplar: IntArray,
    outlier_score: FloatArray,
) -> NDArray[np.int64]:
    """Rows (k, q) that stand for each cluster: starred, then exemplars of before, then others."""
    was = np.full(len(label), exemplar.shape[1])
    for row in exemplar:
        was[row[row >= 0]] = np.flatnonzero(row >= 0)
    order = np.lexsort((np.nan_to_num(outlier_score), was, -starred, label))
    start = np.searchsorted(label[order], np.arange(k + 1))
    found = np.full((k, exemplar.shape[1]), -1)
    for cluster, (first, end) in enumerate(pairwise(start)):
        best = order[first:end][: found.shape[1]]
        found[cluster, : len(best)] = best
    return found

"""levels: coarser groups of the clusters and finer parts of them, nested by construction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import Rows, normalise
from clusterpipe.cache.schema import (
    Assignments,
    Corrections,
    Embeddings,
    IntArray,
    KEstimate,
    Levels,
)
from clusterpipe.stages.declaration import Input, Read, check, option, stage
from clusterpipe.stages.sampling import as_column, as_rows, finite


@dataclass(frozen=True)
class LevelsConfig:
    """Settings of the levels stage."""

    table: ClassVar[str] = "levels"

    space: str = option(
        "",
        "Feature space to group and part clusters in, such as clip. Empty = the first, "
        "'concatenate' = all side by side.",
    )
    coarse: int = option(
        0,
        "Number of groups that clusters are put into. 0 = the next coarser level of estimate-k.",
        least=0,
    )
    fine: int = option(
        0,
        "Number of parts that clusters fall into. 0 = the next finer level of estimate-k.",
        least=0,
    )


def _reads(config: LevelsConfig) -> Mapping[str, Read]:
    return {
        "features": Input(Embeddings, "{space}/features"),
        "label": Input(Assignments, "{chosen}/label"),
        "corrected": Input(Corrections, "label", unless_skipped=True),
        "level": Input(KEstimate, "level", optional=True),
    }


@stage(version=1, config=LevelsConfig, reads=_reads, writes=Levels)
def levels(
    features: Rows,
    label: IntArray,
    config: LevelsConfig = LevelsConfig(),
    *,
    corrected: IntArray | None = None,
    level: IntArray | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Levels:
    """Group clusters into fewer, and part them into more: three levels, each nested in the next.

    features: (n, d) as embedded; label (n,): clusters, -1 in none; `corrected` (n,), if given, are
    the clusters instead; level (l,): numbers of clusters that stand out, of which the next below
    and above the number of clusters are taken where the settings name none. Without such a number
    a level is that of the clusters. Groups come from average linkage of the cosine distances
    between the clusters' centred means; parts from bisecting k-means, the part of largest inertia
    first (Steinbach, Karypis and Kumar 2000). Groups are numbered from the largest down, parts
    within the cluster they come from.

    Raises UsageError for settings on the wrong side of the number of clusters, or lengths that do
    not agree.
    """
    from clusterpipe.stages.numerics.nesting import grouped, parted

    config, features = check(config), as_rows(features)
    clusters = as_column(label if corrected is None else corrected, "the labels")
    if len(clusters) != features.shape[0]:
        raise UsageError(f"{features.shape[0]} rows of features, but {len(clusters)} labels")
    count = len(np.unique(clusters[clusters >= 0]))
    coarse, fine = _numbers(config, count, level)
    rows = normalise(np.asarray(finite(features)[:]))
    with progress("levels", total=2, unit="levels") as advance:
        group = grouped(rows, clusters, coarse)
        advance(1)
        part = parted(rows, clusters, fine, seed=seed)
        advance(1)
    return Levels(coarse=group, fine=part, number=np.array([coarse, count, fine]))


def _numbers(config: LevelsConfig, count: int, level: IntArray | None) -> tuple[int, int]:
    """Numbers of groups and of parts; `count` where there is no such level."""
    known: NDArray[np.int64] = np.asarray([] if level is None else level, np.int64)
    if config.coarse > count:
        raise UsageError(f"levels.coarse is {config.coarse}, but there are {count} clusters")
    if 0 < config.fine < count:
        raise UsageError(f"levels.fine is {config.fine}, but there are {count} clusters")
    below, above = known[(known < count) & (known > 1)], known[known > count]
    coarse = config.coarse or int(below.max(initial=0)) or count
    return coarse, config.fine or (int(above.min()) if len(above) else count)

"""estimate-k: how many clusters there are, by coding length and the gaps of a graph's spectrum."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.schema import Embeddings, KEstimate, Refined
from clusterpipe.stages.declaration import Input, check, option, stage
from clusterpipe.stages.sampling import as_rows, read_rows, sameness, sample_of

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.cluster_count import Curve
    from clusterpipe.stages.numerics.eigengap import Count

GROWTH = 0.1  # of the model cost with the size of a cluster
MOST_PUBLISHED = 100  # clusters that the published criterion is asked about
MOST_BY_EIGENGAP = 200  # clusters; for more, there are too many eigenvalues to find


@dataclass(frozen=True)
class EstimateKConfig:
    """Settings of the estimate-k stage."""

    table: ClassVar[str] = "estimate_k"

    space: str = option(
        "",
        "Feature space to count in, such as clip. Empty = the first, 'concatenate' = all side"
        " by side.",
    )
    features: str = option(
        "embeddings",
        "Count in the features as embedded, or in refined ones (refine then runs first).",
        choices=("embeddings", "refined"),
    )
    method: str = option(
        "eigengap",
        "Criterion: coding length of merged cells, then the eigengap near it; coding length "
        "alone; or CPP's published criterion.",
        choices=("eigengap", "coding-length", "paper"),
    )
    k_max: int = option(
        0,
        "Largest number tried. 0 = as many as the images allow.",
        least=0,
    )
    epsilon_squared: float = option(
        0.3,
        "Squared distortion of coding length. Smaller tells finer differences apart and gives"
        " more clusters.",
        above=0,
    )
    model_cost: float = option(
        0.32,
        "Cost of a cluster in coding length, as a share of the published cost. Larger gives "
        "fewer clusters.",
        least=0,
    )
    offset: float = option(
        0.2,
        "Constant coordinate of coding length, which tells opposite directions apart. 0 to 0.2.",
        least=0,
    )
    dimensions: int = option(
        32,
        "Principal components to keep, at most a tenth of the images.",
        least=1,
    )
    sample: int = option(
        5_000,
        "Sampled rows of the estimate. More finds finer clusters; several hundred clusters "
        "need more than the default.",
        least=2,
    )
    cells: int = option(
        400,
        "Small clusters that merging starts from. Raise it when k comes near.",
        least=2,
    )
    restarts: int = option(
        3, "Number of independent k-means runs to average over, at least 2.", least=2
    )
    resamples: int = option(
        20, "Bootstrap draws per run, for the interval; unused by 'paper'.", least=2
    )


def _reads(config: EstimateKConfig) -> Mapping[str, Input]:
    if config.features == "refined":
        return {"features": Input(Refined, "features")}
    return {"features": Input(Embeddings, "{space}/features")}


def _k_is_given(stages: Mapping[str, Any], read: Callable[[Input], Any]) -> str | None:
    given = stages["assign"].k
    return f"assign.k = {given} is given" if given > 0 else None


def _kept(previous: KEstimate, arguments: Mapping[str, Any], before: int) -> KEstimate:
    """Appended images join the clusters that are there, and do not change their number."""
    return previous


@stage(
    version=3,
    config=EstimateKConfig,
    reads=_reads,
    writes=KEstimate,
    skip=_k_is_given,
    extend=_kept,
)
def estimate_k(
    features: Rows,
    config: EstimateKConfig = EstimateKConfig(),
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> KEstimate:
    """Estimate the number of clusters by a short description and a gap in a spectrum.

    features: (n, d), of any length and precision. A sample of rows is centred, reduced to principal
    components and scaled to unit length, with a constant coordinate beside (`offset`). The
    description of a partition is the lossy code of each cluster's rows, plus the labels, plus what
    the clusters cost (numerics.coding_length). Where many clusters are found, pieces of the
    collection are counted by themselves (numerics.cluster_count). Near the number with the
    shortest description, `k` is the one after which the spectrum of neighbour graphs falls most
    (numerics.eigengap). `interval` is the spread of k, 5th to 95th percentile, under a bootstrap
    over images and doubt about the cost of a cluster: it says how far the criterion can tell, not
    that the criterion is right.
    `merge` and `cell_size` are the tree of merges, from which any number of clusters can be cut.
    `length` is in nats, for the distinct images of the sample; NaN if there was nothing to compare.
    Memory: a few times sample x d.

    Raises UsageError for an empty source, features that are not numbers, or an unusable setting.
    """
    config, features = check(config), as_rows(features)
    if features.shape[0] < 1:
        raise UsageError("there are no images to count clusters in")
    from clusterpipe.stages.numerics.cluster_count import cells_for
    from clusterpipe.stages.numerics.preparation import distinct_rows

    n = features.shape[0]
    sample = read_rows(features, sample_of(np.arange(n), config.sample, seed))
    if why := sameness(sample):
        return _one_cluster(why)
    rows = distinct_rows(sample)
    if cells_for(len(rows), config.cells) < 2:
        return _one_cluster(f"{len(rows)} different images are too few to tell clusters apart")
    curve = (_published if config.method == "paper" else _merged)(rows, config, seed, progress)
    count = _counted(curve, rows, config, seed, progress)
    tree = curve.tree
    return KEstimate(
        k=count.k,
        interval=np.array([count.low, count.high]),
        candidate=curve.candidate,
        length=curve.length,
        gap=count.gap,
        merge=tree.merge if tree else None,
        cell_size=np.bincount(tree.cell) if tree else None,
        reason=_reason(curve, count, len(rows), n),
    )


def _merged(
    rows: NDArray[np.float32], config: EstimateKConfig, seed: int, progress: Progress
) -> "Curve":
    """The curve by merging; again from twice as many cells as long as K is near their number."""
    from clusterpipe.stages.numerics.cluster_count import Space, cells_for, merged_curve
    from clusterpipe.stages.numerics.coding_length import Code

    most = cells_for(len(rows), len(rows))
    cells = min(config.cells, most)
    while True:
        with progress("merging clusters", total=config.restarts, unit="runs") as advance:
            curve = merged_curve(
                rows,
                Code(config.epsilon_squared, config.model_cost, GROWTH),
                Space(config.dimensions, config.offset),
                cells=cells,
                largest=config.k_max or len(rows),
                restarts=config.restarts,
                resamples=config.resamples,
                seed=seed,
                done=advance,
            )
        if cells == most or curve.k <= len(curve.candidate) // 3 or curve.k == config.k_max:
            return curve
        cells = min(2 * cells, most)


def _counted(
    curve: "Curve",
    rows: NDArray[np.float32],
    config: EstimateKConfig,
    seed: int,
    progress: Progress,
) -> "Count":
    """Count by neighbour graphs near the curve's k; the curve itself if k may be out of range."""
    from clusterpipe.stages.numerics.eigengap import Count, count_near

    most = min(MOST_BY_EIGENGAP, int(curve.candidate[-1]) - 1)
    if config.method != "eigengap" or curve.k > most:
        return Count(curve.k, *curve.interval())
    with progress("comparing neighbours", total=2, unit="graphs") as advance:
        return count_near(curve, rows, resamples=config.resamples, seed=seed, done=advance)


def _published(
    rows: NDArray[np.float32], config: EstimateKConfig, seed: int, progress: Progress
) -> "Curve":
    """CPP's criterion, over spectral partitions."""
    from clusterpipe.stages.numerics.cluster_count import Space, cells_for
    from clusterpipe.stages.numerics.published_count import published_curve

    most = cells_for(len(rows), MOST_PUBLISHED)
    with progress("coding partitions", total=config.restarts, unit="draws") as advance:
        return published_curve(
            Space(config.dimensions, offset=0).coordinates(rows),
            largest=min(config.k_max or most, most),
            restarts=config.restarts,
            seed=seed,
            done=advance,
        )


def _one_cluster(why: str) -> KEstimate:
    return KEstimate(
        k=1,
        interval=np.array([1, 1]),
        candidate=np.array([1]),
        length=np.array([np.nan]),
        reason=f"1 cluster: {why}",
    )


def _reason(curve: "Curve", count: "Count", rows: int, n: int) -> str:
    bits = curve.length / (rows * math.log(2))
    images = f"{rows:,} images" if rows == n else f"{rows:,} different images of {n:,}"
    reason = (
        f"{_clusters(curve.k)} describe{'s' if curve.k == 1 else ''} {images} shortest: "
        f"{bits.min():.2f} bits per image"
        + (f", against {bits[0]:.2f} as one cluster" if curve.k > 1 else "")
    )
    if count.gap is not None:
        reason += (
            "; near there the spectrum of the graph of nearest neighbours falls most after "
            f"{count.k}, so {_clusters(count.k)}"
        )
    reason += (
        f"; {count.low} to {count.high} by nine in ten draws of images and of the cost of a cluster"
    )
    if count.k == int(curve.candidate[-1]):
        reason += (
            ". This is the largest number tried: there may be more. Raise estimate_k.k_max, or "
            "estimate_k.sample if there are more images"
        )
    return reason


def _clusters(k: int) -> str:
    return "1 cluster" if k == 1 else f"{k} clusters"

"""estimate-k: how many clusters there are, by mutual neighbours, a spectrum, or coding length."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    from clusterpipe.stages.numerics.class_levels import Levels
    from clusterpipe.stages.numerics.cluster_count import Curve
    from clusterpipe.stages.numerics.eigengap import Count

GROWTH = 0.1  # of the model cost with the size of a cluster
MOST_PUBLISHED = 100  # clusters that the published criterion is asked about
MOST_BY_EIGENGAP = 200  # clusters; for more, there are too many eigenvalues to find
MORE_ROWS, STILL_GROWS = 4, 1.15  # times as many rows; so many more clusters call for yet more
COPIES = 3  # of each image on average: then each image may be a kind
KINDS_OF_COPIES = 20  # different images, at most, that are counted and not estimated
FEW_IMAGES, WIDE = 4, 6  # images to a cluster; high over low
FINER, A_FEW = 1.3, 5  # times as many as plain clusters; so few stand by themselves
PLAIN_FROM = 100  # images, from which plain clusters can be told from none


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
        "neighbours",
        "Criterion: where mutual neighbours get fewer; coding length and the eigengap near it; "
        "coding length alone; or CPP's published one.",
        choices=("neighbours", "eigengap", "coding-length", "paper"),
    )
    grain: str = option(
        "default",
        "Of the levels that 'neighbours' finds, the next coarser or finer one instead of the "
        "likeliest.",
        choices=("coarse", "default", "fine"),
        absent="default",
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
        "Sampled rows that the estimate starts from.",
        least=2,
    )
    sample_limit: int = option(
        60_000,
        "Most rows that 'neighbours' draws while more rows still show more clusters.",
        least=2,
        absent=60_000,
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
    version=6,
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
    """Estimate the number of clusters, with an interval and the levels that stand out.

    features: (n, d), of any length and precision. By `method`:
    "neighbours": up to the size of a cluster, images are each other's nearest, and beyond less so.
    Where that bends, the gaps of a spectrum and the count by "eigengap" give every number a
    probability (numerics.class_levels), unless as many Gaussian clusters as "eigengap" counts show
    the same (numerics.simulated_clusters): then it is their number. Otherwise `k` lies about the
    median, `interval` holds eight tenths, `level` has the coarser and finer numbers that stand out.
    More rows are drawn, up to `sample_limit`, while k grows with them.
    "coding-length": cells are merged as long as that shortens the description of the images
    (numerics.cluster_count). "eigengap": near that number, the one after which the spectrum of
    neighbour graphs falls most (numerics.eigengap). "paper": CPP's criterion. The interval of
    these is the spread over draws of images: it says nothing of what is wrong with the criterion.
    `candidate` and `length` are the curve of the coding length, in nats for the distinct images of
    the first sample; NaN if there was nothing to compare. `merge` and `cell_size` are its tree,
    from which any number of clusters can be cut. Memory: a few times the rows drawn.

    Raises UsageError for an empty source, features that are not numbers, or an unusable setting.
    """
    config, features = check(config), as_rows(features)
    if features.shape[0] < 1:
        raise UsageError("there are no images to count clusters in")
    from clusterpipe.stages.numerics.cluster_count import cells_for

    n = features.shape[0]
    sample = read_rows(features, sample_of(np.arange(n), config.sample, seed))
    if why := sameness(sample):
        return _one_cluster(why)
    rows = _different(sample)
    if len(rows) <= KINDS_OF_COPIES and len(rows) * COPIES <= len(sample):
        return _copies(len(rows), n)
    if cells_for(len(rows), config.cells) < 2:
        return _one_cluster(
            f"{len(rows)} different images are too few to tell clusters apart: give --k"
        )
    if config.method == "neighbours":
        return _by_neighbours(features, rows, len(sample), config, seed, progress)
    curve = (_published if config.method == "paper" else _merged)(rows, config, seed, progress)
    count = _counted(curve, rows, config, seed, progress)
    return _as_estimate(curve, count, _reason(curve, count, len(rows), n))


def _different(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows without what repeats others, exactly or nearly."""
    from clusterpipe.stages.numerics.near_copies import without_near_copies
    from clusterpipe.stages.numerics.preparation import distinct_rows

    return without_near_copies(distinct_rows(sample))


def _as_estimate(curve: "Curve", count: "Count", reason: str) -> KEstimate:
    """The count near the coding length's curve."""
    tree = curve.tree
    return KEstimate(
        k=count.k,
        interval=np.array([count.low, count.high]),
        candidate=curve.candidate,
        length=curve.length,
        gap=count.gap,
        merge=tree.merge if tree else None,
        cell_size=np.bincount(tree.cell) if tree else None,
        reason=reason,
    )


def _by_neighbours(
    features: Rows,
    rows: NDArray[np.float32],
    sampled: int,
    config: EstimateKConfig,
    seed: int,
    progress: Progress,
) -> KEstimate:
    """The number by neighbours; the curve and the tree are those of the coding length."""
    curve = _merged(rows, config, seed, progress)
    plain = _counted(curve, rows, config, seed, progress)
    levels, seen, as_plain = _levels(features, rows, plain.k, config, seed, progress)
    if as_plain:
        reason = _plain_reason(plain, seen, features.shape[0])
        return _with_doubt(_as_estimate(curve, plain, reason), levels)
    most = config.k_max or len(rows)
    k = min(_at_grain(levels, config.grain), most)
    low, high = (min(bound, most) for bound in levels.interval())
    if len(rows) * COPIES <= sampled:
        high = max(high, len(rows))
    low, high = min(low, k), max(high, k)
    tree = curve.tree
    return KEstimate(
        k=k,
        interval=np.array([low, high]),
        candidate=curve.candidate,
        length=curve.length,
        number=levels.number,
        probability=levels.probability,
        level=levels.level,
        level_evidence=levels.evidence,
        merge=tree.merge if tree else None,
        cell_size=np.bincount(tree.cell) if tree else None,
        reason=_why(k, low, high, levels, seen, features.shape[0], config),
    )


def _with_doubt(found: KEstimate, levels: "Levels") -> KEstimate:
    """The estimate, its interval widened to that of the levels, unless it is of a few clusters."""
    low, high = levels.interval()
    if found.k <= A_FEW or high <= found.interval[1]:
        return found
    wider = np.array([min(low, int(found.interval[0])), high])
    return replace(found, interval=wider, reason=f"{found.reason}; up to {high} is not ruled out")


def _levels(
    features: Rows,
    rows: NDArray[np.float32],
    plain: int,
    config: EstimateKConfig,
    seed: int,
    progress: Progress,
) -> "tuple[Levels, int, bool]":
    """Levels of the sample `rows`, or of larger ones as long as k grows; how many rows; and whether
    as many Gaussian clusters as `plain` says would show the same.
    """
    from clusterpipe.stages.numerics.class_levels import class_levels, curves

    n, size, before = features.shape[0], config.sample, 0.0
    while True:
        with progress("comparing neighbours", total=curves(len(rows)), unit="curves") as advance:
            found = class_levels(rows, spectrum=plain, seed=seed, done=advance)
        if not before and _is_of_plain_clusters(found, rows, plain, seed, progress):
            return found, len(rows), True
        if size >= min(n, config.sample_limit) or (before and found.k <= STILL_GROWS * before):
            return found, len(rows), False
        before, size = found.k, min(MORE_ROWS * size, config.sample_limit)
        rows = _different(read_rows(features, sample_of(np.arange(n), size, seed)))


def _is_of_plain_clusters(
    found: "Levels", rows: NDArray[np.float32], plain: int, seed: int, progress: Progress
) -> bool:
    """Test of `plain` clusters that alone stand out, or that as Gaussians would show the same."""
    from clusterpipe.stages.numerics.class_levels import CLEAR, class_levels, curves
    from clusterpipe.stages.numerics.simulated_clusters import simulated_clusters

    if found.k <= FINER * plain or len(rows) < PLAIN_FROM:
        return False
    if plain <= A_FEW and found.clarity < CLEAR and found.stands_out(plain, within=FINER):
        return True
    simulated = simulated_clusters(rows, plain, seed=seed)
    total = curves(len(rows))
    with progress("comparing with plain clusters", total=total, unit="curves") as advance:
        drawn = class_levels(simulated, spectrum=plain, seed=seed, done=advance)
    alike = drawn.k >= math.sqrt(found.k * plain)
    return alike and found.clarity < drawn.clarity + CLEAR


def _at_grain(levels: "Levels", grain: str) -> int:
    """The number of the levels, or the next one on that side if there is one."""
    coarser, finer = levels.level[levels.level < levels.k], levels.level[levels.level > levels.k]
    if grain == "coarse" and len(coarser):
        return int(coarser[-1])
    if grain == "fine" and len(finer):
        return int(finer[0])
    return levels.k


def _why(
    k: int, low: int, high: int, levels: "Levels", seen: int, n: int, config: EstimateKConfig
) -> str:
    images = f"{seen:,} images" if seen == n else f"{seen:,} different images of {n:,}"
    if levels.k == 1:
        reason = f"1 cluster: among {images} no size of cluster stands out"
    else:
        reason = (
            f"{images} stop being each other's neighbours beyond clusters of about "
            f"{seen / levels.k:.0f}, so {_clusters(levels.k)}"
        )
    others = [str(level) for level in levels.level if level != levels.k]
    if others:
        reason += f"; {' and '.join(others)} stand{'s' if len(others) == 1 else ''} out as well"
    if k != levels.k and config.grain != "default":
        reason += f"; estimate_k.grain = {config.grain} takes {k}"
    reason += f"; {low} to {high} hold eight tenths of the probability"
    if config.k_max and k >= config.k_max:
        reason += ". This is the largest number tried: there may be more. Raise estimate_k.k_max"
    elif high * FEW_IMAGES > seen or high > WIDE * low:
        reason += ". Too few images of a kind to count them surely: give --k if you know better"
    return reason


def _plain_reason(count: "Count", seen: int, n: int) -> str:
    images = f"{seen:,} images" if seen == n else f"{seen:,} different images of {n:,}"
    what = "one plain cluster" if count.k == 1 else f"{count.k} plain clusters"
    return (
        f"{_clusters(count.k)}: {images} are each other's neighbours as in {what}, and what looks "
        f"finer shows in such clusters as well; {count.low} to {count.high} by nine in ten draws "
        "of images and of the cost of a cluster"
    )


def _copies(kinds: int, n: int) -> KEstimate:
    reason = f"{_clusters(kinds)}: all {n:,} images are copies of {kinds} different ones"
    return replace(_one_cluster(""), k=kinds, interval=np.array([1, kinds]), reason=reason)


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
    if config.method in ("coding-length", "paper") or curve.k > most:
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

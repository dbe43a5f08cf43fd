"""assign: puts each image into one of k clusters, and says how sure that is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import Rows, blocks
from clusterpipe.cache.schema import (
    Assignment,
    Assignments,
    Embeddings,
    KEstimate,
    Refined,
    StringArray,
)
from clusterpipe.stages.declaration import Input, option, stage
from clusterpipe.stages.sampling import finite, read_rows, sample_of

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.kmeans import Clustering

METHODS = ("spherical-kmeans", "kmeans")
MOST_FITTED = 250_000
CALIBRATION_ROWS = 10_000
SUREST = 0.99
SMALLEST_MEDIAN = 1e-6


@dataclass(frozen=True)
class AssignConfig:
    """Settings of the assign stage."""

    features: str = option(
        "embeddings",
        "'embeddings' clusters features as the backbone gave them; 'refined' what refine made of "
        "them, which gained accuracy on every CLIP set tried and lost on one of the packaged "
        "backbone",
        choices=("embeddings", "refined"),
    )
    space: str = option(
        "",
        "the feature space to cluster when features = embeddings, such as clip; empty = the first "
        "one, 'concatenate' = all side by side",
    )
    k: int = option(0, "the number of clusters; 0 = as estimated. Give it when you know it")
    methods: tuple[str, ...] = option(
        ("spherical-kmeans",),
        "one or more of spherical-kmeans (compares directions: right for most backbones) and "
        "kmeans (compares positions). The run stands by the first",
    )
    seeds: int = option(
        5,
        "independent fits. The one of lowest inertia gives the labels; all are kept to tell how "
        "much chance decides",
    )
    restarts: int = option(
        4, "runs per fit, of which the one of lowest inertia counts. More is steadier and slower"
    )
    iterations: int = option(25, "k-means iterations per run")
    center: bool = option(
        True,
        "subtract the mean direction first (spherical-kmeans). Backbone features share a large "
        "common part; it helped on every data set tried",
    )
    temperature: float = option(
        0.0,
        "of the softmax over cosines that gives probabilities; larger is less sure. 0 = such that "
        "the mean probability is the share of images on which independent fits agree",
    )
    top: int = option(5, "how many clusters are kept per image, likeliest first")
    exemplars: int = option(16, "how many images nearest the centre are kept per cluster")
    fit_split: str = option(
        "", "fit on this split only, such as train; all images are assigned. Empty = fit on all"
    )
    sample: int = option(
        0,
        f"fit on so many images, drawn at random; 0 = all, up to {MOST_FITTED:,}. All images are "
        "assigned",
    )


def _reads(config: AssignConfig) -> Mapping[str, Input]:
    refined = config.features == "refined"
    features = Input(Refined, "features") if refined else Input(Embeddings, "{space}/features")
    inputs = {"features": features}
    if config.k == 0:
        inputs["k"] = Input(KEstimate, "k")
    if config.fit_split:
        inputs["split"] = Input(Embeddings, "split", optional=True)
    return inputs


@stage(version=1, config=AssignConfig, reads=_reads, writes=Assignments)
def assign(
    features: Rows,
    k: int = 0,
    config: AssignConfig = AssignConfig(),
    *,
    split: StringArray | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Assignments:
    """Assign every image to one of k clusters by k-means, with probabilities.

    features: (n, d), of any length and precision; `k` may stand in `config.k` instead. Centres are
    fitted on the rows of `config.fit_split` (or all), or a stated sample of them, held in memory as
    float32; every row is then assigned block by block. Clusters are numbered from the largest
    down (as fitted). `probability` is that of the label under `soft_assign`, the function that
    also assigns images not seen here: soft_assign(prepare(x, center, unit=normalised), centroid).
    None of the k clusters is empty on the rows of the fit if there are k distinct ones.

    Raises UsageError for a k that the rows cannot fill, a split that does not exist, features that
    are not numbers or all the same, or an unusable setting.
    """
    k = _number_of_clusters(k, config)
    _check(features, k, config)
    candidates = _fit_candidates(features.shape[0], split, config.fit_split)
    index = sample_of(candidates, config.sample or MOST_FITTED, seed)
    if k > len(index):
        raise UsageError(f"{len(index)} images cannot be fitted with {k} clusters; lower assign.k")
    rows = read_rows(features, index)
    _refuse_equal_rows(rows, k)
    fitted_on = _described(len(index), len(candidates), config.fit_split)
    methods = {}
    for method in config.methods:
        fit = _fit(method, rows, k, config, seed, progress)
        methods[method] = _assigned(features, fit, config, fitted_on, progress)
    return Assignments(chosen=config.methods[0], methods=methods)


# ---------------------------------------------------------------- what is asked for


def _number_of_clusters(k: int, config: AssignConfig) -> int:
    if k > 0 and config.k > 0 and k != config.k:
        raise UsageError(f"assign.k = {config.k}, but {k} clusters are asked for")
    if k <= 0 and config.k <= 0:
        raise UsageError("the number of clusters is missing: give assign.k, or run estimate-k")
    return int(k if k > 0 else config.k)


def _check(features: Rows, k: int, config: AssignConfig) -> None:
    for method in config.methods:
        if method not in METHODS:
            near = get_close_matches(method, METHODS, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"assign.methods: there is no {method!r}, only {METHODS}{hint}")
    if not config.methods or len(set(config.methods)) < len(config.methods):
        raise UsageError("assign.methods must name at least one method, and none twice")
    lowest = {"seeds": 1, "restarts": 1, "iterations": 1, "top": 1, "exemplars": 1}
    for name, least in {**lowest, "sample": 0, "temperature": 0}.items():
        if not getattr(config, name) >= least:
            raise UsageError(f"assign.{name} must be at least {least}")
    n = features.shape[0]
    if n < 2:
        raise UsageError(f"clustering needs at least 2 images, not {n}")
    if k > n:
        raise UsageError(f"{n:,} images cannot fill {k:,} clusters; lower assign.k")


def _fit_candidates(n: int, split: StringArray | None, wanted: str) -> NDArray[np.int64]:
    """The rows that centres may be fitted on."""
    if not wanted:
        return np.arange(n)
    names = sorted({str(name) for name in split if name}) if split is not None else []
    if wanted not in names:
        near = get_close_matches(wanted, names, n=1, cutoff=0.0)
        there = (
            f"did you mean {near[0]!r}? There are: {', '.join(names)}"
            if names
            else ("the source has no splits")
        )
        raise UsageError(f"assign.fit_split: there is no split {wanted!r}; {there}")
    return np.flatnonzero(np.asarray(split) == wanted)


def _refuse_equal_rows(rows: NDArray[np.float32], k: int) -> None:
    from clusterpipe.stages.numerics.preparation import are_equal

    if k > 1 and are_equal(rows):
        raise UsageError("all images have the same features: there is one cluster, not more")


def _described(fitted: int, candidates: int, split: str) -> str:
    whole = f"the {candidates:,} images" + (f" of split {split!r}" if split else "")
    return whole if fitted == candidates else f"{fitted:,} of {whole}, drawn at random"


# ---------------------------------------------------------------- the fit


@dataclass(frozen=True)
class _Fit:
    """Centres of one method: of every seed, and which is chosen."""

    clusterings: "tuple[Clustering, ...]"
    chosen: int
    center: NDArray[np.float32]
    unit: bool
    temperature: float

    @property
    def centroid(self) -> NDArray[np.float32]:
        return self.clusterings[self.chosen].centroid

    def prepared(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.preparation import prepare

        return prepare(block, self.center, unit=self.unit)


def _fit(
    method: str,
    rows: NDArray[np.float32],
    k: int,
    config: AssignConfig,
    seed: int,
    progress: Progress,
) -> _Fit:
    from clusterpipe.stages.numerics.kmeans import kmeans
    from clusterpipe.stages.numerics.preparation import center_of, prepare

    unit = method == "spherical-kmeans"
    center = center_of(rows, unit=unit)
    if not config.center:
        center = np.zeros_like(center)
    z = prepare(rows, center, unit=unit)
    seeds = np.random.SeedSequence(seed).generate_state(config.seeds)
    clusterings = []
    with progress(f"fitting {method}", total=config.seeds, unit="fits") as advance:
        for one in seeds:
            clusterings.append(
                kmeans(
                    z,
                    k,
                    spherical=unit,
                    restarts=config.restarts,
                    iterations=config.iterations,
                    seed=int(one),
                )
            )
            advance(1)
    chosen = int(np.argmin([c.inertia for c in clusterings]))
    temperature = config.temperature or _temperature(z, clusterings, chosen)
    return _Fit(tuple(clusterings), chosen, center, unit, temperature)


def _temperature(z: NDArray[np.float32], clusterings: "list[Clustering]", chosen: int) -> float:
    """Mean probability = agreement of the other seeds with the chosen one, at most `SUREST`."""
    from clusterpipe.stages.numerics.kmeans import calibrated_temperature
    from clusterpipe.stages.numerics.metrics import shared_labels

    best = clusterings[chosen]
    others = [c for c in clusterings if c is not best]
    shared = [shared_labels(best.label, other.label) for other in others]
    confidence = min(float(np.mean(shared)), SUREST) if shared else SUREST
    part = z[:: -(-len(z) // CALIBRATION_ROWS)]
    return calibrated_temperature(part, best.centroid, confidence)


# ---------------------------------------------------------------- the assignment


def _assigned(
    features: Rows, fit: _Fit, config: AssignConfig, fitted_on: str, progress: Progress
) -> Assignment:
    n, k = features.shape[0], len(fit.centroid)
    top = min(config.top, k)
    top_label = np.empty((n, top), np.int32)
    top_probability = np.empty((n, top), np.float32)
    label_per_seed = np.empty((len(fit.clusterings), n), np.int32)
    distance = np.empty(n, np.float32)
    for part, z in _prepared_blocks(features, fit, progress):
        top_label[part], top_probability[part] = _likeliest(z, fit, top)
        label_per_seed[:, part] = _labels_per_seed(z, fit, top_label[part, 0])
        distance[part] = np.linalg.norm(z - fit.centroid[top_label[part, 0]], axis=1)
    label = np.ascontiguousarray(top_label[:, 0])
    return Assignment(
        label=label,
        probability=np.ascontiguousarray(top_probability[:, 0]),
        top_label=top_label,
        top_probability=top_probability,
        centroid=fit.centroid,
        center=fit.center,
        exemplar=_exemplars(label, distance, k, config.exemplars),
        outlier_score=_outlier_scores(label, distance, k),
        label_per_seed=label_per_seed,
        objective_per_seed=np.array([c.inertia for c in fit.clusterings]),
        space=_space(config),
        normalised=fit.unit,
        temperature=fit.temperature,
        effective_k=len(np.unique(label)),
        fitted_on=fitted_on,
    )


def _space(config: AssignConfig) -> str:
    if config.features == "refined":
        return "refined"
    return f"embeddings/{config.space}" if config.space else "embeddings"


def _prepared_blocks(
    features: Rows, fit: _Fit, progress: Progress
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    start = 0
    with progress("assigning", total=features.shape[0], unit="images") as advance:
        for block in blocks(finite(features)):
            yield slice(start, start + len(block)), fit.prepared(block)
            start += len(block)
            advance(len(block))


def _likeliest(
    z: NDArray[np.float32], fit: _Fit, top: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The `top` likeliest clusters of each row, likeliest first, and their probabilities."""
    from clusterpipe.stages.numerics.kmeans import soft_assign

    left = soft_assign(z, fit.centroid, temperature=fit.temperature)
    label = np.empty((len(z), top), np.int32)
    probability = np.empty((len(z), top), np.float32)
    for place in range(top):
        label[:, place] = left.argmax(axis=1)
        probability[:, place] = left.max(axis=1)
        np.put_along_axis(left, label[:, place, None], -1, axis=1)
    return label, probability


def _labels_per_seed(
    z: NDArray[np.float32], fit: _Fit, chosen: NDArray[np.int32]
) -> NDArray[np.int32]:
    from clusterpipe.stages.numerics.kmeans import nearest

    labels = [nearest(z, clustering.centroid).label for clustering in fit.clusterings]
    labels[fit.chosen] = chosen.astype(np.int64)
    return np.stack(labels).astype(np.int32)


def _exemplars(
    label: NDArray[np.int32], distance: NDArray[np.float32], k: int, count: int
) -> NDArray[np.int64]:
    exemplar = np.full((k, count), -1)
    for cluster in range(k):
        members = np.flatnonzero(label == cluster)
        best = members[np.argsort(distance[members], kind="stable")][:count]
        exemplar[cluster, : len(best)] = best
    return exemplar


def _outlier_scores(
    label: NDArray[np.int32], distance: NDArray[np.float32], k: int
) -> NDArray[np.float32]:
    floor = SMALLEST_MEDIAN + SMALLEST_MEDIAN * float(distance.max())
    median = np.ones(k, np.float32)
    for cluster in np.unique(label):
        median[cluster] = max(float(np.median(distance[label == cluster])), floor)
    return np.asarray(distance / median[label], np.float32)

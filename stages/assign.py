"""assign: puts each image into one of k clusters, and says how sure that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import LaterRows, Rows, blocks, take, widths_of
from clusterpipe.cache.schema import (
    Assignment,
    Assignments,
    Embeddings,
    KEstimate,
    Refined,
    StringArray,
)
from clusterpipe.stages import heads
from clusterpipe.stages.declaration import Input, option, stage
from clusterpipe.stages.heads import HEADS, Fits, Head, Member, Training
from clusterpipe.stages.sampling import (
    described_rows,
    finite,
    read_rows,
    read_views,
    rows_of_split,
    sample_of,
)

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.selection import Selection

AUTO, CONSENSUS = "auto", "consensus"
MOST_FITTED = 250_000
MOST_SCORED = 20_000  # images that methods are compared on
SMALLEST_MEDIAN = 1e-6


@dataclass(frozen=True)
class AssignConfig:
    """Settings of the assign stage."""

    features: str = option(
        "refined",
        "'refined' clusters what refine made of the features, which gained accuracy on nearly "
        "every data set tried; 'embeddings' clusters them as the backbone gave them",
        choices=("embeddings", "refined"),
    )
    space: str = option(
        "",
        "the feature space to cluster when features = embeddings, such as clip; empty = the first "
        "one, 'concatenate' = all side by side. Refined features are of refine.space",
    )
    k: int = option(0, "the number of clusters; 0 = as estimated. Give it when you know it")
    methods: tuple[str, ...] = option(
        ("spherical-kmeans",),
        "one or more of "
        + ", ".join(f"{name} ({method.about})" for name, method in HEADS.items())
        + ". The run stands by the first; 'auto' alone runs those of `candidates`, and stands by "
        "the one that scores best without labels",
    )
    candidates: tuple[str, ...] = option(
        ("spherical-kmeans", "spectral", "coding-length"), "the methods that 'auto' chooses from"
    )
    seeds: int = option(
        5,
        "independent fits. The one of lowest inertia (or what else a method minimises) gives the "
        "labels; all are kept to tell how much chance decides",
    )
    restarts: int = option(
        4, "runs per fit, of which the one of lowest inertia counts. More is steadier and slower"
    )
    iterations: int = option(25, "k-means iterations per run")
    center: bool = option(
        True,
        "subtract the mean (kmeans) or the mean direction (all others) first. Backbone features "
        "share a large common part; it helped on every data set tried",
    )
    temperature: float = option(
        0.0,
        "of the softmax that gives probabilities; larger is less sure. 0 = such that the mean "
        "probability is the share of images on which independent fits agree",
    )
    neighbours: int = option(
        15,
        "of spectral: images that each image is joined to. More merges small clusters, fewer "
        "splits large ones",
    )
    exact_up_to: int = option(
        10_000,
        "of spectral: up to so many images (of the fit) the graph joins images to each other; "
        "beyond, to landmarks, in time and memory that grow with their number only",
    )
    landmarks: int = option(
        1024, "of spectral: how many there are beyond exact_up_to; at least 5 per cluster are taken"
    )
    components: int = option(
        32,
        "of coding-length: principal components that are coded; at most half as many as the "
        "average cluster has images",
    )
    rounds: int = option(
        15, "of coding-length: times that images may move to the cluster that codes them best"
    )
    scp_preset: str = option(
        "fast",
        "of scp: 'fast' is a narrow network that starts from k-means: seconds to minutes. 'paper' "
        "is the one published, from a random start: for tens of thousands of images",
        choices=("fast", "paper"),
    )
    scp_positives: str = option(
        "neighbours",
        "of scp: what is to be alike: an image and its neighbours, 'views' of an image (embed with "
        "embed.views = 4 first; only with features = embeddings), or an image with 'noise'",
        choices=("neighbours", "views", "noise"),
    )
    scp_epochs: int = option(30, "of scp: passes over the images")
    scp_alpha: float = option(
        0.0,
        "of scp: weight of balance, which draws clusters to the sizes of scp_prior; too little and "
        "clusters die out. 0 = of two that are tried, the one on whose labels neighbours agree "
        "best, unless a cluster comes out tiny",
    )
    scp_prior: float = option(
        0.5,
        "of scp, 'fast': 1 = the sizes that k-means found, 0 = equal sizes, as 'paper' always has; "
        "between, a power of the former",
    )
    scp_consistency: float = option(1.0, "of scp: weight of the two of a pair being alike")
    scp_confidence: float = option(1.0, "of scp: weight of being sure")
    temi_preset: str = option(
        "fast",
        "of temi: 'fast' has narrow heads that start from k-means: minutes. 'paper' is the recipe "
        "as published, from a random start: hours without a GPU",
        choices=("fast", "paper"),
    )
    temi_heads: int = option(
        0, "of temi: heads per fit, of which that of least loss counts; 0 = 4 ('paper': 50)"
    )
    temi_epochs: int = option(0, "of temi: passes over the images; 0 = 20 ('paper': 200)")
    temi_beta: float = option(0.6, "of temi: the smaller, the more equal clusters become; 0 to 1")
    turtle_preset: str = option(
        "fast",
        "of turtle: 'fast' starts from annealed k-means in components that are white between "
        "neighbours: seconds to minutes. 'paper' is the recipe as published, from a random start: "
        "minutes to hours, and for clusters of about equal size",
        choices=("fast", "paper"),
    )
    turtle_steps: int = option(
        0, "of turtle: outer steps; 0 = 40 ('fast') or the published 6,000 ('paper')"
    )
    turtle_balance: float = option(
        10.0, "of turtle: how firmly clusters are held to the sizes of turtle_prior; 0 = not at all"
    )
    turtle_prior: float = option(
        1.0,
        "of turtle, 'fast': 1 = the sizes that the start found, 0 = equal sizes, as 'paper' always "
        "has; between, a power of the former",
    )
    top: int = option(5, "how many clusters are kept per image, likeliest first")
    exemplars: int = option(16, "how many images nearest the centre are kept per cluster")
    fit_split: str = option(
        "",
        "fit on this split only, such as train; all images are assigned. Empty = fit on all. For "
        "refined features set refine.fit_split alike",
    )
    sample: int = option(
        0,
        f"fit on so many images, drawn at random; 0 = all, up to {MOST_FITTED:,}. All images are "
        "assigned",
    )


def _reads(config: AssignConfig) -> Mapping[str, Input]:
    refined = config.features == "refined"
    if refined and config.space:
        raise UsageError(
            f"assign.space = {config.space!r} names a space of the embeddings: set refine.space, "
            "or assign.features = embeddings"
        )
    features = Input(Refined, "features") if refined else Input(Embeddings, "{space}/features")
    inputs = {"features": features}
    if refined:
        inputs["refined_on"] = Input(Refined, "@fitted_on")
    if config.k == 0:
        inputs["k"] = Input(KEstimate, "k")
    if config.scp_positives == "views" and "scp" in _methods(config):
        inputs["views"] = _views(refined)
    if config.fit_split:
        inputs["split"] = Input(Embeddings, "split", optional=True)
    return inputs


def _views(refined: bool) -> Input:
    if refined:
        raise UsageError(
            "assign.scp_positives = 'views' learns from features as embedded: set "
            "assign.features = embeddings"
        )
    return Input(Embeddings, "{space}/views", optional=True)


def _extended(previous: Assignments, arguments: Mapping[str, Any], before: int) -> Assignments:
    """Appended images are assigned by the heads as they are; nothing else changes."""
    features = arguments["features"]
    methods = {
        name: _with_appended(method, features, before) for name, method in previous.methods.items()
    }
    return replace(previous, methods=methods)


@stage(version=3, config=AssignConfig, reads=_reads, writes=Assignments, extend=_extended)
def assign(
    features: Rows,
    k: int = 0,
    config: AssignConfig = AssignConfig(),
    *,
    split: StringArray | None = None,
    views: Rows | None = None,
    refined_on: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> Assignments:
    """Assign every image to one of k clusters, with probabilities.

    features: (n, d), of any length and precision; `k` may stand in `config.k` instead. Each method
    (stages.heads) is fitted on the rows of `config.fit_split` (or all), or a stated sample of them,
    held in memory as float32; every row is then assigned block by block. Clusters are numbered from
    the largest down (as fitted). Images not seen here are assigned by the same code: see
    `heads.load`. Of k-means no cluster is empty on the rows of the fit if k of them are distinct;
    how many clusters hold images is `effective_k`. `refined_on` says which rows refined features
    were fitted on. views: (n, v, d) augmented views of the images, for heads that learn from them.

    Where several methods ran, each is measured without labels (`_selection`).

    Raises UsageError for a k that the rows cannot fill, a split that does not exist, features that
    are not numbers or all the same, or an unusable setting.
    """
    k = _number_of_clusters(k, config)
    names = _methods(config)
    _check(features, k, config)
    data = _read(features, views, split, config, refined_on, seed)
    if k > len(data.index):
        raise UsageError(
            f"{len(data.index)} images cannot be fitted with {k} clusters; lower assign.k"
        )
    _refuse_equal_rows(data.rows, k)
    fitted = _fitted(names, data, k, config, seed, progress)
    methods = {name: _assigned(name, data, fitted[name], config, progress) for name in names}
    selection = _selection(data, methods, seed, progress) if len(names) > 1 else None
    chosen = names[0]
    if selection and config.methods == (AUTO,):
        chosen = names[int(selection.score.argmax())]
    return Assignments(chosen=chosen, methods=methods, **_recorded(selection, methods))


# ---------------------------------------------------------------- what is asked for


def _number_of_clusters(k: int, config: AssignConfig) -> int:
    if k > 0 and config.k > 0 and k != config.k:
        raise UsageError(f"assign.k = {config.k}, but {k} clusters are asked for")
    if k <= 0 and config.k <= 0:
        raise UsageError("the number of clusters is missing: give assign.k, or run estimate-k")
    return int(k if k > 0 else config.k)


def _methods(config: AssignConfig) -> tuple[str, ...]:
    """The methods that are to run: those of `assign.candidates` for auto."""
    if config.methods == (AUTO,):
        return _known(config.candidates, setting="assign.candidates")
    if AUTO in config.methods:
        raise UsageError(
            "assign.methods: 'auto' stands alone, and chooses from assign.candidates, which are "
            + ", ".join(config.candidates)
        )
    return _known(config.methods, setting="assign.methods")


def _known(methods: tuple[str, ...], *, setting: str) -> tuple[str, ...]:
    for method in methods:
        if method not in HEADS:
            near = get_close_matches(method, [*HEADS, AUTO], n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else ""
            there = ", ".join(HEADS)
            raise UsageError(f"{setting}: there is no {method!r}, only {there}{hint}")
    if not methods or len(set(methods)) < len(methods):
        raise UsageError(f"{setting} must name at least one method, and none twice")
    return methods


def _check(features: Rows, k: int, config: AssignConfig) -> None:
    lowest = {"seeds": 1, "restarts": 1, "iterations": 1, "top": 1, "exemplars": 1}
    spectral = {"neighbours": 1, "exact_up_to": 0, "landmarks": 2}
    coding = {"components": 1, "rounds": 0}
    turtle = {"turtle_steps": 0, "turtle_balance": 0, "turtle_prior": 0}
    limits = {**lowest, **spectral, **coding, **turtle, "sample": 0, "temperature": 0}
    for name, least in limits.items():
        if not getattr(config, name) >= least:
            raise UsageError(f"assign.{name} must be at least {least}")
    n = features.shape[0]
    if n < 2:
        raise UsageError(f"clustering needs at least 2 images, not {n}")
    if k > n:
        raise UsageError(f"{n:,} images cannot fill {k:,} clusters; lower assign.k")


def _refuse_equal_rows(rows: NDArray[np.float32], k: int) -> None:
    from clusterpipe.stages.numerics.preparation import are_equal

    if k > 1 and are_equal(rows):
        raise UsageError("all images have the same features: there is one cluster, not more")


# ---------------------------------------------------------------- the fit


@dataclass(frozen=True)
class _Data:
    """All rows of `features` (n, d), of spaces of these widths, and those of the fit in memory.

    index: (m,) their numbers, rows: (m, d); fitted_on: the same in words; views: (m, v, d).
    """

    features: Rows
    widths: tuple[int, ...]
    index: NDArray[np.int64]
    rows: NDArray[np.float32]
    fitted_on: str
    views: NDArray[np.float32] | None


def _read(
    features: Rows,
    views: Rows | None,
    split: StringArray | None,
    config: AssignConfig,
    refined_on: str,
    seed: int,
) -> _Data:
    candidates = rows_of_split(
        features.shape[0], split, config.fit_split, setting="assign.fit_split"
    )
    index = sample_of(candidates, config.sample or MOST_FITTED, seed)
    fitted_on = described_rows(len(index), len(candidates), config.fit_split)
    if refined_on not in ("", fitted_on):
        fitted_on += f" (the features refined on {refined_on})"
    rows = read_rows(features, index)
    seen = None if views is None else read_views(views, index)
    return _Data(features, widths_of(features), index, rows, fitted_on, seen)


@dataclass(frozen=True)
class _Fitted:
    """What one method made of the rows of the fit: a model per seed, and the head of the chosen."""

    head: Head
    fits: Fits
    minimised: str


def _fitted(
    names: Sequence[str],
    data: _Data,
    k: int,
    config: AssignConfig,
    seed: int,
    progress: Progress,
) -> dict[str, _Fitted]:
    """All methods that are named, and what a consensus is made of."""
    members = [name for name in names if name != CONSENSUS]
    others = [name for name in config.candidates if name != CONSENSUS]
    members = members or list(_known(tuple(others), setting="assign.candidates"))
    fitted = {name: _fit(name, data, k, config, seed, progress) for name in members}
    if CONSENSUS in names:
        plain = replace(config, center=False)  # its members prepare the rows, each in its way
        fits = _members(fitted)
        fitted[CONSENSUS] = _fit(CONSENSUS, data, k, plain, seed, progress, members=fits)
    return fitted


def _members(fitted: Mapping[str, _Fitted]) -> tuple[Member, ...]:
    """Every fit of every method."""
    return tuple(
        Member(name, seed, replace(one.head, model=model))
        for name, one in fitted.items()
        for seed, model in enumerate(one.fits.models)
    )


def _fit(
    name: str,
    data: _Data,
    k: int,
    config: AssignConfig,
    seed: int,
    progress: Progress,
    *,
    members: tuple[Member, ...] = (),
) -> _Fitted:
    from clusterpipe.stages.numerics.preparation import center_of, prepare

    method = heads.method(name, config)
    center = center_of(data.rows, unit=method.unit, widths=data.widths)
    if not config.center:
        center = np.zeros_like(center)
    seeds = np.random.SeedSequence(seed).generate_state(config.seeds)

    def prepared(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = prepare(rows.reshape(-1, len(center)), center, unit=method.unit, widths=data.widths)
        return flat.reshape(rows.shape)

    views = None if data.views is None else prepared(data.views)
    training = Training(prepared(data.rows), data.widths, views, members)
    fits = method.fit(training, k, [int(one) for one in seeds], progress)
    every = np.arange(len(fits.model.centroid))
    head = Head(fits.model, center, method.unit, data.widths, every)
    return _Fitted(head, fits, method.minimised)


# ---------------------------------------------------------------- the assignment


@dataclass(frozen=True)
class _Labelled:
    """What is known of every row: its likeliest clusters, its label by each seed, its distance."""

    top_label: NDArray[np.int32]
    top_probability: NDArray[np.float32]
    label_per_seed: NDArray[np.int32]
    distance: NDArray[np.float32]


def _assigned(
    name: str, data: _Data, fitted: _Fitted, config: AssignConfig, progress: Progress
) -> Assignment:
    from clusterpipe.stages.numerics.metrics import mutual_agreement

    found = _labelled(data.features, fitted, config.top, progress)
    filled = np.unique(found.top_label[:, 0])
    if len(filled) < len(fitted.head.clusters):
        fitted = replace(fitted, head=replace(fitted.head, clusters=filled))
        found = _labelled(data.features, fitted, config.top, progress)
    head, label = fitted.head, np.ascontiguousarray(found.top_label[:, 0])
    return Assignment(
        label=label,
        probability=np.ascontiguousarray(found.top_probability[:, 0]),
        top_label=found.top_label,
        top_probability=found.top_probability,
        centroid=head.centroid,
        center=head.center,
        width=np.array(head.widths),
        cluster=head.clusters,
        exemplar=_exemplars(label, found.distance, len(filled), config.exemplars),
        outlier_score=_outlier_scores(label, found.distance, len(filled)),
        label_per_seed=found.label_per_seed,
        objective_per_seed=fitted.fits.objective,
        parameters=head.parameters(),
        head=name,
        objective=fitted.minimised,
        space=_space(config),
        normalised=head.normalised,
        temperature=float(head.model.temperature),
        effective_k=len(filled),
        stability=float(mutual_agreement(list(found.label_per_seed)).mean()),
        fitted_on=data.fitted_on,
    )


def _labelled(features: Rows, fitted: _Fitted, top: int, progress: Progress) -> _Labelled:
    n, fits, head = features.shape[0], fitted.fits, fitted.head
    centroid = head.centroid
    top = min(top, len(centroid))
    found = _Labelled(
        np.empty((n, top), np.int32),
        np.empty((n, top), np.float32),
        np.empty((len(fits.models), n), np.int32),
        np.empty(n, np.float32),
    )
    for part, z in _prepared_blocks(features, head, progress):
        count = part.stop - part.start
        for seed, soft in enumerate(fits.soft(z)):
            found.label_per_seed[seed, part] = soft[:count].argmax(axis=1)
            if seed == fits.chosen:
                likeliest = _likeliest(head.kept(soft[:count]), top)
                found.top_label[part], found.top_probability[part] = likeliest
        own = centroid[found.top_label[part, 0]]
        found.distance[part] = np.linalg.norm(z[:count] - own, axis=1)
    for labels in found.label_per_seed:
        labels[:] = np.unique(labels, return_inverse=True)[1]
    return found


def _prepared_blocks(
    features: Rows, head: Head, progress: Progress
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Which rows, and the same prepared, as `Head.soft` would see them."""
    start = 0
    with progress("assigning", total=features.shape[0], unit="images") as advance:
        for block in blocks(finite(features), heads.BLOCK):
            yield slice(start, start + len(block)), head.prepared(block)
            start += len(block)
            advance(len(block))


def _likeliest(
    soft: NDArray[np.float32], top: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The `top` likeliest clusters of each row, likeliest first, and their probabilities."""
    left = soft.copy()
    label = np.empty((len(left), top), np.int32)
    probability = np.empty((len(left), top), np.float32)
    for place in range(top):
        label[:, place] = left.argmax(axis=1)
        probability[:, place] = left.max(axis=1)
        np.put_along_axis(left, label[:, place, None], -1, axis=1)
    return label, probability


# ---------------------------------------------------------------- images that come later


def _with_appended(method: Assignment, features: Rows, before: int) -> Assignment:
    """The assignment of all rows of `features`, of which it knows the first `before`.

    What the fits of other seeds would say of the others is not known: they have -1 there.
    """
    later, head = LaterRows(features, before), heads.load(method)
    soft = head.soft(later)
    top_label, top_probability = _likeliest(soft, method.top_label.shape[1])
    label = np.ascontiguousarray(top_label[:, 0])
    score = _distances(later, head, label) / _medians(method, features, head)[label]
    unknown = np.full((len(method.label_per_seed), len(label)), -1, np.int32)
    return replace(
        method,
        label=np.concatenate([method.label, label]),
        probability=np.concatenate([method.probability, top_probability[:, 0]]),
        top_label=np.concatenate([method.top_label, top_label]),
        top_probability=np.concatenate([method.top_probability, top_probability]),
        outlier_score=np.concatenate([method.outlier_score, score.astype(np.float32)]),
        label_per_seed=np.concatenate([method.label_per_seed, unknown], axis=1),
    )


def _medians(method: Assignment, features: Rows, head: Head) -> NDArray[np.float32]:
    """The median distance (k,) of each cluster's images of the fit to its centre.

    By one image each: its distance over its outlier score.
    """
    median = np.ones(len(method.centroid), np.float32)
    label, score = method.label, method.outlier_score
    order = np.argsort(np.where(np.isfinite(score), score, -1), kind="stable")
    row = np.full(len(median), -1)
    row[label[order]] = order  # the last of a cluster counts: its highest score
    filled = np.flatnonzero((row >= 0) & (score[row] > 0))
    distance = _distances(take(features, row[filled]), head, filled)
    median[filled] = distance / score[row[filled]]
    return np.maximum(median, SMALLEST_MEDIAN)


def _distances(features: Rows, head: Head, label: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The distance (n,) of each row, prepared, to the centre of its cluster."""
    found, centroid = np.empty(features.shape[0], np.float32), head.centroid
    for part, z in _prepared_blocks(features, head, silent):
        own = centroid[label[part]]
        found[part] = np.linalg.norm(z[: len(own)] - own, axis=1)
    return found


# ---------------------------------------------------------------- the choice


def _selection(
    data: _Data, methods: Mapping[str, Assignment], seed: int, progress: Progress
) -> "Selection":
    """How good the labels of each method are by themselves, on the rows of the fit."""
    from clusterpipe.stages.numerics.preparation import center_of, prepare
    from clusterpipe.stages.numerics.selection import selection

    place = sample_of(np.arange(len(data.index)), MOST_SCORED, seed)
    rows, widths = data.rows[place], data.widths
    z = prepare(rows, center_of(rows, unit=True, widths=widths), unit=True, widths=widths)
    labels = [np.asarray(method.label)[data.index[place]] for method in methods.values()]
    with progress("comparing methods", total=len(labels), unit="methods") as advance:
        found = selection(Training(z, widths).spaces, labels, seed=seed)
        advance(len(labels))
    return found


def _recorded(selection: "Selection | None", methods: Mapping[str, Assignment]) -> dict[str, Any]:
    if selection is None:
        return {}
    return {
        "selection_method": np.array(list(methods), dtype=object),
        "selection_measure": np.array(selection.measure, dtype=object),
        "selection_value": selection.value,
        "selection_score": selection.score,
    }


# ---------------------------------------------------------------- what is told of the clusters


def _space(config: AssignConfig) -> str:
    if config.features == "refined":
        return "refined"
    return f"embeddings/{config.space}" if config.space else "embeddings"


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

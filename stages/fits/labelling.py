"""Puts every image into a cluster of a fitted head, and tells of the clusters what there is."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import LaterRows, Rows, take
from clusterpipe.cache.schema import Assignment, StringArray
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.stages import heads
from clusterpipe.stages.fits.fitting import Data, Fitted
from clusterpipe.stages.heads.protocol import Head
from clusterpipe.stages.heads.zero_shot import ZeroShot
from clusterpipe.stages.sampling import finite

SMALLEST_MEDIAN = 1e-6


@dataclass(frozen=True)
class _Labelled:
    """Labels of every row: its likeliest clusters, its label by each seed, its distance."""

    top_label: NDArray[np.int32]
    top_probability: NDArray[np.float32]
    label_per_seed: NDArray[np.int32]
    distance: NDArray[np.float32]


def assigned(
    name: str, data: Data, fitted: Fitted, *, top: int, exemplars: int, progress: Progress
) -> Assignment:
    """Assignment of all rows by the method called `name`; empty clusters are left out.

    top: clusters kept per image, likeliest first; exemplars: images kept per cluster, nearest
    first.
    """
    from clusterpipe.stages.numerics.metrics import mutual_agreement

    found = _labelled(data.features, fitted, top, progress)
    filled = np.unique(found.top_label[:, 0])
    if len(filled) < len(fitted.head.clusters):
        fitted = replace(fitted, head=replace(fitted.head, clusters=filled))
        found = _labelled(data.features, fitted, top, progress)
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
        name=_names(name, data, head),
        exemplar=_exemplars(label, found.distance, len(filled), exemplars),
        outlier_score=_outlier_scores(label, found.distance, len(filled)),
        label_per_seed=found.label_per_seed,
        objective_per_seed=fitted.fits.objective,
        parameters=head.parameters(),
        head=fitted.kind,
        finishes="" if fitted.kind == heads.kind_of(name) else name,
        objective=fitted.minimised,
        chosen_seed=fitted.fits.chosen,
        space=data.space,
        normalised=head.normalised,
        temperature=float(head.model.temperature),
        effective_k=len(filled),
        asked_k=len(fitted.head.model.centroid),
        stability=float(mutual_agreement(list(found.label_per_seed)).mean()),
        fitted_on=data.fitted_on,
    )


def _labelled(features: Rows, fitted: Fitted, top: int, progress: Progress) -> _Labelled:
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
    """Blocks of rows, as slices and prepared as `Head.soft` would see them."""
    with progress("assigning", total=features.shape[0], unit="images") as advance:
        for part, z in head.prepared_blocks(finite(features)):
            yield part, z
            advance(part.stop - part.start)


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


def _names(method: str, data: Data, head: Head) -> StringArray | None:
    if data.words is None or method != ZeroShot.name:
        return None
    return strings(data.words.name[cluster] for cluster in head.clusters)


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


def without_rows(method: Assignment, out: NDArray[np.bool_]) -> Assignment:
    """The assignment with the rows of a mask (n,) in no cluster: -1, of probability 0.

    They are no exemplars, and keep their likeliest clusters.
    """
    label = np.where(out, -1, method.label).astype(method.label.dtype)
    exemplar = np.full_like(method.exemplar, -1)
    for cluster, rows in enumerate(method.exemplar):
        left = [row for row in rows if row >= 0 and not out[row]]
        exemplar[cluster, : len(left)] = left
    return replace(
        method,
        label=label,
        probability=np.where(out, 0, method.probability).astype(np.float32),
        label_per_seed=np.where(out, -1, method.label_per_seed).astype(np.int32),
        exemplar=exemplar,
        effective_k=len(np.unique(label[label >= 0])),
    )


# ---------------------------------------------------------------- images that come later


def with_appended(method: Assignment, features: Rows, before: int) -> Assignment:
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
    order = order[label[order] >= 0]
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

"""Data for the page's scripts: the shown images and the clusters, as plain values."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.escaping import escaped
from clusterpipe.cache.schema import Captions, Naming
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.pipeline.results.reading import Results
from clusterpipe.pipeline.results.standing import YOU

PHRASES = 5
_STRIDE = 2_654_435_761  # coprime to most n: so many steps apart, rows of a cluster spread evenly


def kinds(results: Results, *, doubtful_below: float) -> NDArray[np.str_]:
    """For each image (n,) "outlier" if curate says so, else "doubtful", else ""."""
    found = np.where(results.clusters.probability < doubtful_below, "doubtful", "")
    if results.curation:
        found[results.curation.outlier > 0] = "outlier"
    return found


def shown_rows(results: Results, kind: NDArray[np.str_], limit: int) -> NDArray[np.intp]:
    """At most `limit` rows, ascending: exemplars, then what stands out, then an even spread."""
    n = len(kind)
    if n <= limit:
        return np.arange(n)
    apart = kind != ""
    if results.curation:
        apart |= (results.curation.group >= 0) | (results.curation.outlier > 0)
    priority = np.where(results.exemplar_rank > 0, 0, np.where(apart, 1, 2))
    spread = np.empty(n, np.intp)
    spread[np.argsort(results.clusters.label, kind="stable")] = np.arange(n) * _STRIDE % n
    return np.sort(np.lexsort((spread, priority))[:limit])


def image_columns(
    results: Results,
    rows: NDArray[np.intp],
    kind: NDArray[np.str_],
    points: NDArray[np.float32],
    thumbnails: Sequence[str],
    folder: Path,
) -> dict[str, list[Any]]:
    """The shown images, column by column; `folder` is where links start from."""
    clusters, index = results.clusters, results.index
    several = clusters.top_label.shape[1] > 1
    second = clusters.top_label[rows, 1] if several else np.full(len(rows), -1)
    second_probability = clusters.top_probability[rows, 1] if several else np.zeros(len(rows))
    label = np.full(len(rows), -1) if index.label is None else index.label[rows]
    start = os.path.realpath(folder)
    gone = [results.is_gone(int(row)) for row in rows]
    ids = index.id[rows].tolist()
    names = [escaped(name) for name in ids]
    return {
        "name": names,
        **({} if names == ids else {"id": ids}),
        "digest": index.digest[rows].tolist(),
        "thumb": [int(bool(name)) for name in thumbnails],
        "original": [
            "" if missing else _link(results.file(int(row)), start)
            for row, missing in zip(rows, gone, strict=True)
        ],
        "gone": [int(missing) for missing in gone],
        "width": index.width[rows].tolist(),
        "height": index.height[rows].tolist(),
        "cluster": clusters.label[rows].tolist(),
        "probability": _rounded(clusters.probability[rows], 4),
        "second": second.tolist(),
        "secondProbability": _rounded(second_probability, 4),
        "distance": _rounded(clusters.outlier_score[rows], 3),
        "rank": results.exemplar_rank[rows].tolist(),
        "kind": kind[rows].tolist(),
        "label": label.tolist(),
        "x": _rounded(points[:, 0], 4),
        "y": _rounded(points[:, 1], 4),
        **_curation(results, rows),
        **_parts(results, rows),
        **_exif(results, rows),
    }


def _exif(results: Results, rows: NDArray[np.intp]) -> dict[str, list[Any]]:
    """Of each shown image when it was taken and the camera, where any image says it; never where.

    A report may be handed on.
    """
    columns = {"taken": results.index.taken, "camera": results.index.camera}
    return {
        name: [escaped(text) for text in column[rows]]
        for name, column in columns.items()
        if column is not None and any(column)
    }


def _parts(results: Results, rows: NDArray[np.intp]) -> dict[str, list[Any]]:
    """Of each shown image the finer part of its cluster that it is in."""
    return {} if results.levels is None else {"part": results.levels.fine[rows].tolist()}


def _curation(results: Results, rows: NDArray[np.intp]) -> dict[str, list[Any]]:
    """Of each shown image its group of near-duplicates, and how alone it is; outliers are apart."""
    curation = results.curation
    if curation is None:
        return {}
    copies = np.bincount(curation.copy_of, minlength=len(curation.copy_of))[curation.copy_of]
    return {
        "group": curation.group[rows].tolist(),
        "kept": results.is_representative[rows].tolist(),
        "copied": (copies[rows] > 1).tolist(),
        "similarity": _rounded(curation.similarity[rows], 3),
        "isolation": _rounded(curation.isolation[rows], 3),
        "alone": (curation.outlier[rows] > 0).tolist(),
    }


def cluster_columns(results: Results) -> list[dict[str, Any]]:
    """Each cluster: caption, and whether a person gave it, group, size, phrases with scores, mean
    probability, main true class."""
    phrases = _phrases(results)
    k = len(results.captions)
    group = [-1] * k if results.levels is None else results.levels.coarse.tolist()
    return [
        {
            "caption": escaped(caption),
            "named": results.origins[cluster] == YOU if results.origins else False,
            "group": group[cluster],
            "phrases": phrases[cluster],
            **_makeup(results, results.members(cluster)),
        }
        for cluster, caption in enumerate(results.captions)
    ]


def _makeup(results: Results, members: NDArray[Any]) -> dict[str, Any]:
    mean = float(results.clusters.probability[members].mean()) if len(members) else 0.0
    found = {"size": len(members), "confidence": round(mean, 4), "majority": "", "share": 0.0}
    label, names = results.index.label, results.index.class_name
    if label is None or names is None:
        return found
    counts = np.bincount(label[members][label[members] >= 0], minlength=len(names))
    if not counts.sum():
        return found
    top = int(counts.argmax())
    share = round(float(counts[top] / counts.sum()), 4)
    return {**found, "majority": escaped(str(names[top])), "share": share}


def _phrases(results: Results) -> list[list[tuple[str, float]]]:
    k = len(results.captions)
    if not describes(Captions, results.run):
        return [[] for _ in range(k)]
    captions = artifact.read(results.run.artifact(Captions), Captions)
    naming: Naming = captions.methods[captions.chosen]
    return [
        [
            (escaped(str(text)), round(float(score), 4))
            for text, score in zip(texts[:PHRASES], scores[:PHRASES], strict=True)
            if text and score > 0  # an unsure caption stands first with score 0
        ]
        for texts, scores in zip(naming.text[:k], naming.score[:k], strict=True)
    ]


def _rounded(values: NDArray[Any], decimals: int) -> list[float]:
    finite = np.nan_to_num(np.asarray(values, np.float64), posinf=1e9)
    return [float(value) for value in finite.round(decimals)]


def _link(file: Path | None, start: str) -> str:
    """A relative URL, so that run and images can be moved together."""
    if file is None:
        return ""
    try:
        return quote(os.fsencode(Path(os.path.relpath(file, start)).as_posix()))
    except ValueError:  # another drive
        return file.as_uri()

"""Coarser and finer partitions than a given one, nested with it by construction."""

import heapq

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from clusterpipe.stages.numerics.kmeans import kmeans

RESTARTS = 2


def grouped(rows: NDArray[np.float32], label: NDArray[np.integer], count: int) -> NDArray[np.int32]:
    """The group (k,) of each cluster, of `count` groups from the largest down; -1 of empty ones.

    rows: (n, d) of unit length; label: (n,) 0..k-1, or -1. Average linkage of the cosine distances
    between the clusters' centred means.
    """
    k = int(label.max(initial=-1)) + 1
    size = np.bincount(label[label >= 0], minlength=k)
    filled = np.flatnonzero(size)
    group = np.full(k, -1, np.int32)
    if count >= len(filled) or len(filled) < 3:
        group[filled] = np.argsort(np.argsort(-size[filled], kind="stable"), kind="stable")
        return group
    means = np.stack([rows[label == cluster].mean(axis=0) for cluster in filled])
    centred = means - rows[label >= 0].mean(axis=0)
    of = fcluster(linkage(pdist(centred, "cosine"), "average"), count, "maxclust") - 1
    images = np.bincount(of, weights=size[filled])
    group[filled] = np.argsort(np.argsort(-images, kind="stable"), kind="stable")[of]
    return group


def parted(
    rows: NDArray[np.float32], label: NDArray[np.integer], count: int, *, seed: int
) -> NDArray[np.int32]:
    """The part (n,) of each row, of about `count` in all; -1 where the label is.

    rows: (n, d) of unit length; label: (n,) 0..k-1, or -1. Bisecting k-means, the part of largest
    inertia first. Parts are numbered by their cluster, then by size. There are fewer than `count`
    where the rows of every part are the same.
    """
    parts = [np.flatnonzero(label == cluster) for cluster in np.unique(label[label >= 0])]
    queue = [(-_inertia(rows[part]), place) for place, part in enumerate(parts)]
    heapq.heapify(queue)
    while queue and len(parts) < count:
        inertia, place = heapq.heappop(queue)
        part = parts[place]
        if -inertia <= 0 or len(part) < 2:
            break
        half = kmeans(rows[part], 2, spherical=True, restarts=RESTARTS, seed=seed).label == 1
        if not half.any() or half.all():
            continue
        parts[place], new = part[~half], part[half]
        parts.append(new)
        heapq.heappush(queue, (-_inertia(rows[parts[place]]), place))
        heapq.heappush(queue, (-_inertia(rows[new]), len(parts) - 1))
    found = np.full(len(label), -1, np.int32)
    for number, part in enumerate(sorted(parts, key=lambda part: (label[part[0]], -len(part)))):
        found[part] = number
    return found


def _inertia(rows: NDArray[np.float32]) -> float:
    """Sum of squared distances to the mean; rounding counts as none."""
    total = float(((rows - rows.mean(axis=0)) ** 2).sum())
    return total if total > 1e-6 * len(rows) else 0.0

"""Rows that are nearly the same, and rows that are like few others, from lists of neighbours."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clusterpipe.stages.numerics.nearest import Nearest

FROM_ALL = 2 / 3  # weight of the distance from all rows, beside that from neighbours
LEAST = 1e-4  # squared length below which a centred row is rounding


@dataclass(frozen=True)
class Centring:
    """Effect of subtracting the mean of unit rows, in three numbers per pair.

    along: (n,) product of each row with the mean; squared: (n,) squared length of the row, 1, or 0
    for a zero row; mean: squared length of the mean.
    """

    along: NDArray[np.float64]
    squared: NDArray[np.float64]
    mean: float


def centring(blocks: Callable[[], Iterable[NDArray[np.float32]]]) -> Centring:
    """The centring of unit rows; `blocks` gives successive parts (b, d) of them, twice."""
    n, total = 0, np.float64(0)
    for block in blocks():
        n += len(block)
        total = total + block.sum(axis=0, dtype=np.float64)
    mean = np.asarray(total / n)
    products = [(block @ mean, np.square(block).sum(axis=1, dtype=float)) for block in blocks()]
    along, squared = (np.concatenate(column) for column in zip(*products, strict=True))
    return Centring(along, squared, float(mean @ mean))


def centred_cosine(near: Nearest, centring: Centring) -> NDArray[np.float32]:
    """The cosine (n, q) of each row with its neighbours after the mean was subtracted from all.

    (x y - x m - y m + m m) / (|x - m| |y - m|). Where a row is hardly off the mean, no direction is
    left: the cosine is as it was.
    """
    along, length = centring.along, centring.squared - 2 * centring.along + centring.mean
    product = near.cosine - along[:, None] - along[near.index] + centring.mean
    known = (length > LEAST)[:, None] & (length > LEAST)[near.index]
    scale = np.sqrt(np.maximum(length, LEAST))
    cosine = np.where(known, product / scale[:, None] / scale[near.index], near.cosine)
    return np.asarray(np.clip(cosine, -1, 1), np.float32)


def linked(near: Nearest, alike: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The component (n,) of each row, when rows are joined to the neighbours `alike` (n, q) marks.

    What is joined by a chain is one component, even if its ends are not alike.
    """
    n = len(near.index)
    row, place = np.nonzero(alike)
    edges = coo_array((np.ones(len(row), bool), (row, near.index[row, place])), (n, n))
    _, component = connected_components(edges, directed=False)
    return np.asarray(component, np.int32)


def isolation(near: Nearest, component: NDArray[np.int32]) -> NDArray[np.float32]:
    """Mean cosine distance (n,) of each row to its neighbours outside its component.

    A row whose neighbours are all of its component has at least the distance of the last of them,
    which is what it gets; one without neighbours has 0.
    """
    n, q = near.index.shape
    if not q:
        return np.zeros(n, np.float32)
    outside = component[near.index] != component[:, None]
    outside[~outside.any(axis=1), -1] = True
    distance = np.where(outside, 1 - near.cosine, 0).sum(axis=1) / outside.sum(axis=1)
    return np.asarray(np.maximum(distance, 0), np.float32)


def apartness(
    near: Nearest, component: NDArray[np.int32], centring: Centring
) -> NDArray[np.float32]:
    """Distance (n,) of each row from the others, 0 to 2: the weighted mean of two by cosine.

    That from its neighbours (`isolation`) tells what is like no other. What comes from elsewhere in
    numbers has neighbours, but is far from all rows on average. Ours.
    """
    from_all = 1 - centring.along
    apart = (1 - FROM_ALL) * isolation(near, component) + FROM_ALL * from_all
    return np.asarray(np.maximum(apart, 0), np.float32)

"""Spectral clustering: the leading eigenvectors of a normalised affinity, and k-means in them.

Sources: Ng, Jordan and Weiss (2002), "On spectral clustering", for the normalised affinity
D^-1/2 A D^-1/2 and unit rows; von Luxburg (2007), "A tutorial on spectral clustering", for its
relation to the Laplacian (the eigenvectors of I - D^-1/2 A D^-1/2 that belong to the smallest
eigenvalues); CPP (Chu et al. 2024) for spectral clustering of a membership.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import block_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.nearest import Nearest, nearest_rows
from clusterpipe.stages.numerics.preparation import mean_directions, unit_rows

if TYPE_CHECKING:
    from torch import Tensor

Affinity: TypeAlias = "NDArray[np.floating[Any]] | csr_array"

SCALE_RANK = 7
LEAST_RADIUS = 1e-3  # of unit rows: nearer ones count as equal
LEAST_VALUE = 1e-3
DENSE_UP_TO = 2000  # rows; beyond, Lanczos finds the few eigenvectors that are wanted


@dataclass(frozen=True)
class Spectrum:
    """The largest eigenvalues of a normalised affinity, (q,) descending, and their vectors (n, q).

    Both float64; the vectors are orthonormal. The values lie in [-1, 1], and the first is 1.
    """

    value: NDArray[np.float64]
    vector: NDArray[np.float64]


def spectrum(
    affinity: Affinity, count: int, *, seed: int = 0, dense_up_to: int = DENSE_UP_TO
) -> Spectrum:
    """The `count` leading eigenpairs of D^-1/2 A D^-1/2, A = (affinity + its transpose) / 2.

    affinity: (n, n), dense or sparse, not negative. A row without any affinity has eigenvalue 0. If
    the graph falls into more than `count` pieces, the vectors are those of the heaviest ones, by
    degree, and other rows are in none of them.
    Dense decomposition up to `dense_up_to` rows or if many pairs are wanted, otherwise Lanczos with
    a start vector drawn from `seed`, to the square root of the precision of `affinity`. Raises
    ValueError unless 1 <= count <= n.
    """
    n = affinity.shape[0]
    if not 1 <= count <= n:
        raise ValueError(f"{count} eigenvectors of {n} rows")
    symmetric = (affinity + affinity.T) / 2
    degree = np.asarray(symmetric.sum(axis=1, dtype=np.float64))
    normal = _normalised(symmetric, degree)
    known = _component_vectors(normal, degree)[:, :count]
    if known.shape[1] == count:
        return Spectrum(np.ones(count), known)
    if n <= dense_up_to or count > n // 5:
        return _by_decomposition(normal, count)
    return _by_lanczos(normal, known, count, seed)


def local_radius(cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scale at a row, (m,): the distance to its 7th nearest of `cosine` (m, q), descending.

    To the last if there are fewer. Zelnik-Manor and Perona (2004), with their constant.
    """
    distance = np.sqrt(np.maximum(2 - 2 * cosine[:, min(SCALE_RANK, cosine.shape[1]) - 1], 0))
    return np.maximum(distance, LEAST_RADIUS)


def nearest_landmarks(
    rows: NDArray[np.float32], landmark: NDArray[np.float32], count: int
) -> Nearest:
    """The `count` nearest landmarks of each row by cosine, nearest first.

    rows: (b, d), landmark: (p, d), both of unit length; takes b x p numbers. Plain algebra, so that
    equal blocks give equal bits.
    """
    cosine = rows @ landmark.T
    count = min(count, len(landmark))
    some = np.argpartition(cosine, -count, axis=1)[:, -count:] if count < len(landmark) else None
    index = np.tile(np.arange(count), (len(rows), 1)) if some is None else some
    found = np.take_along_axis(cosine, index, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return Nearest(
        np.take_along_axis(index, order, axis=1).astype(np.int64),
        np.take_along_axis(found, order, axis=1),
    )


def local_affinity(near: Nearest, radius: NDArray[np.float32]) -> csr_array:
    """Affinity of b rows to p landmarks, (b, p) sparse: exp(-distance^2 / (radius_i radius_j)).

    near: the landmarks of each row; radius: of the landmarks, (p,). Zelnik-Manor and Perona (2004),
    "Self-tuning spectral clustering", eq. 1, between the rows and their nearest landmarks only.
    """
    b, count = near.index.shape
    own = local_radius(near.cosine)[:, None]
    weight = np.exp(-np.maximum(2 - 2 * near.cosine, 0) / (own * radius[near.index]))
    start = np.arange(b + 1) * count
    return csr_array((weight.ravel(), near.index.ravel(), start), (b, len(radius)))


def row_coordinates(affinity: csr_array, count: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Contribution of each row to the place of the rows it is like, (n, q), from affinities (n, n).

    A row's place is `embedded(its affinities, coordinates)`: the Nystroem extension of the `count`
    leading eigenvectors, which gives a row of the n its own entries as far as its affinities are
    those of the symmetric graph. Bengio et al. (2004), "Out-of-sample extensions", eq. 8.
    """
    found = spectrum(affinity, count, seed=seed)
    degree = np.asarray((affinity + affinity.T).sum(axis=1, dtype=np.float64)) / 2
    return _coordinates(found.vector, degree, found.value)


def landmark_coordinates(affinity: csr_array, count: int, *, seed: int = 0) -> NDArray[np.float32]:
    """The same for p landmarks, (p, q), from the affinities (n, p) of rows to landmarks.

    The graph joins rows to landmarks and nothing else. Its leading singular vectors come from the
    p x p matrix of two steps, row to landmark to row; a row's place in them is exactly
    `embedded(its affinities, coordinates)`. Li, Wu and Chang (2012), "Segmentation using
    superpixels: a bipartite graph partitioning approach"; Cai and Chen (2011) for landmarks.
    """
    step = csr_array(diags_array(1 / np.asarray(affinity.sum(axis=1))) @ affinity)
    found = spectrum(csr_array(step.T @ step), count, seed=seed)
    degree = np.asarray(step.sum(axis=0, dtype=np.float64))
    return _coordinates(found.vector, degree, np.sqrt(np.maximum(found.value, 0)))


def embedded(affinity: csr_array, coordinate: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places of rows in the leading eigenvectors, (b, q), unit rows: Ng, Jordan and Weiss (2002).

    affinity: (b, p) of the rows to p landmarks, coordinate: (p, q).
    """
    return unit_rows(affinity @ coordinate)


def joined(
    coordinate: NDArray[np.float32], landmark: NDArray[np.float32], affinity: csr_array
) -> NDArray[np.float32]:
    """Coordinates (p, q) in which no piece of the graph is without: it takes those of the nearest.

    landmark: (p, d) unit rows; affinity: (n, p), the graph that the coordinates are of. A piece for
    which no eigenvector was left is joined as a whole, by its mean direction. Ours.
    """
    without = ~coordinate.any(axis=1)
    if without.all() or not without.any():
        return coordinate
    _, orphan = np.unique(_pieces(affinity)[without], return_inverse=True)
    mean = mean_directions(landmark[without], orphan, int(orphan.max()) + 1)
    near = nearest_rows(mean, landmark[~without], 1).index[:, 0]
    coordinate = coordinate.copy()
    coordinate[without] = coordinate[~without][near][orphan]
    return coordinate


def _pieces(affinity: csr_array) -> NDArray[np.int64]:
    """Connected component, of the graph between rows and landmarks, of each landmark, (p,)."""
    both = block_array([[None, affinity], [affinity.T, None]])
    return np.asarray(connected_components(both, directed=False)[1][affinity.shape[0] :])


def _coordinates(
    vector: NDArray[np.float64], degree: NDArray[np.float64], value: NDArray[np.float64]
) -> NDArray[np.float32]:
    """D^-1/2 V / value; what has no degree, or too small a value to divide by, is left out."""
    usable = value > LEAST_VALUE
    inverse = np.where(usable, 1 / np.where(usable, value, 1), 0)
    root = np.sqrt(np.where(degree > 0, degree, np.inf))
    return np.asarray(vector / root[:, None] * inverse, np.float32)


def spectral_partitions(
    membership: "Tensor | NDArray[np.floating[Any]]",
    candidates: Sequence[int],
    *,
    seed: int,
    restarts: int = 10,
    dense_up_to: int = DENSE_UP_TO,
) -> dict[int, NDArray[np.int64]]:
    """Partitions (n,) of one membership into each number of clusters of `candidates`.

    membership: (n, n), not negative, such as `sinkhorn.doubly_stochastic` gives; only its symmetric
    part counts. One eigendecomposition, as `spectrum` makes it, serves all candidates: for k
    clusters, the k leading eigenvectors are scaled to unit rows and clustered by k-means, the best
    of `restarts` runs. Clusters are 0..k-1 from the largest down. Raises ValueError for a candidate
    outside 1..n. CPP's labelling (Chu et al. 2024, section 3.3) with its 10 restarts.
    """
    if not candidates:
        return {}
    n = membership.shape[0]
    if not 1 <= min(candidates) <= max(candidates) <= n:
        raise ValueError(f"candidates must lie between 1 and the number of rows, {n}")
    most = max(candidates)
    vector = spectrum(_array(membership), most, seed=seed, dense_up_to=dense_up_to).vector
    return {
        k: kmeans(unit_rows(vector[:, :k]), k, spherical=False, restarts=restarts, seed=seed).label
        for k in candidates
    }


def _array(values: "Tensor | NDArray[np.floating[Any]]") -> NDArray[np.floating[Any]]:
    return np.asarray(values if isinstance(values, np.ndarray) else values.detach().cpu())


def _normalised(symmetric: Affinity, degree: NDArray[np.float64]) -> Affinity:
    """D^-1/2 A D^-1/2 in the precision of A; a row without any affinity stays zero."""
    scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    scale = scale.astype(symmetric.dtype)
    if isinstance(symmetric, np.ndarray):
        symmetric *= scale[:, None]
        symmetric *= scale
        return symmetric
    return csr_array(diags_array(scale) @ symmetric @ diags_array(scale))


def _by_decomposition(normal: Affinity, count: int) -> Spectrum:
    dense = normal if isinstance(normal, np.ndarray) else normal.toarray()
    n = len(dense)
    value, vector = eigh(dense.astype(np.float64), subset_by_index=[n - count, n - 1])
    return Spectrum(value[::-1], np.ascontiguousarray(vector[:, ::-1]))


def _by_lanczos(normal: Affinity, known: NDArray[np.float64], count: int, seed: int) -> Spectrum:
    """Lanczos on what is left without the known vectors: it would miss repeated eigenvalues."""
    wanted = count - known.shape[1]
    precision = normal.dtype

    def times(x: NDArray[np.float64]) -> NDArray[np.float64]:
        image = normal @ x.ravel().astype(precision, copy=False)
        return np.asarray(image - 2 * known @ (known.T @ x.ravel()), np.float64)

    n = len(known)
    start = np.random.default_rng(seed).normal(size=n)
    tolerance = float(np.sqrt(np.finfo(precision).eps))
    rest = LinearOperator((n, n), matvec=times, dtype=np.float64)
    value, vector = eigsh(rest, wanted, which="LA", v0=start, tol=tolerance)
    order = np.argsort(-value, kind="stable")
    return Spectrum(
        np.concatenate([np.ones(count - wanted), value[order]]),
        np.hstack([known, vector[:, order]]),
    )


def _component_vectors(normal: Affinity, degree: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthonormal vectors of eigenvalue 1, (n, c): one per component, the heaviest first."""
    label = np.zeros(len(degree), np.int64)
    if not (isinstance(normal, np.ndarray) and normal.min() > 0):
        label = connected_components(csr_array(normal), directed=False)[1]
    weight = np.bincount(label, weights=degree)
    heaviest = np.argsort(-weight, kind="stable")[: np.count_nonzero(weight)]
    member = label[:, None] == heaviest
    return np.asarray(member * np.sqrt(degree[:, None] / weight[heaviest]))

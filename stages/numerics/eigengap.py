"""Eigengaps of neighbour graphs, which tell the number of clusters near a guess.

A graph of k clusters with few edges between them has k eigenvalues near 1 and then a gap; where
clusters lie in groups, there is another gap after the number of groups. So gaps alone may take
cats and dogs for their breeds, and the coding length says which of the gaps is meant.

Sources: von Luxburg (2007), "A tutorial on spectral clustering", section 8.3, for the eigengap. Its
weight by the coding length, the graph after whitening, and the resampling are ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

from clusterpipe.stages.numerics.cluster_count import Curve
from clusterpipe.stages.numerics.coding_length import Array
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import principal_rows, unit_rows
from clusterpipe.stages.numerics.spectral import Spectrum, spectrum
from clusterpipe.stages.numerics.whitening import neighbourhood_scatter, whitening

COMPONENTS, WHITENED_OVER, SHRINKAGE = 128, 8, 0.2  # of the whitened graph: those of refinement
NEIGHBOURS = 15  # that each row is joined to; never more than half a cluster
REACH = 0.6  # standard deviation of the logarithm of the number of clusters around the guess
BEYOND, MORE = 3, 15  # as many times the guess, and so many more, are looked at
SPARE = 0.9  # share of resampled eigenvalues that is trusted: the last ones are too small
TINY = 1e-9


@dataclass(frozen=True)
class Gaps:
    """Falls of the spectrum after the 1st, 2nd, ... eigenvalue, (m,), and resampled (r, m)."""

    width: Array
    drawn: Array

    def __add__(self, other: "Gaps") -> "Gaps":
        m = min(len(self.width), len(other.width))
        return Gaps(self.width[:m] + other.width[:m], self.drawn[:, :m] + other.drawn[:, :m])


@dataclass(frozen=True)
class Count:
    """The number of clusters, how far it spreads under resampling, and the gaps (m,) behind it.

    low, high: 5th and 95th percentile of what was drawn, k included. gap: None if not looked at.
    """

    k: int
    low: int
    high: int
    gap: Array | None = None


def count_near(
    curve: Curve,
    rows: NDArray[np.float32],
    *,
    resamples: int = 20,
    seed: int = 0,
    done: Callable[[int], None] = lambda graphs: None,
) -> Count:
    """The number of clusters with the widest eigengap, weighted by nearness to the curve's `k`.

    rows: (n, d), those of the curve. The gap after the k-th eigenvalue, summed over two graphs (of
    principal components, and of whitened ones), is weighted by a normal density of log k around
    the logarithm of the number of shortest coding length. The same is done around each number that
    the curve drew, with the gaps of one of `resamples` bootstrap draws of rows. `done` hears of
    both graphs.
    """
    most = min(BEYOND * curve.k + MORE, len(curve.candidate))
    degree = min(NEIGHBOURS, max(1, len(rows) // (2 * curve.k)))
    components = principal_rows(rows, COMPONENTS)
    gaps = []
    for space in (components, whitened(components)):
        graph = neighbour_graph(space, degree)
        gaps.append(eigengaps(graph, most, resamples=resamples, seed=seed))
        done(1)
    both = gaps[0] + gaps[1]
    k = _widest(both.width, curve.k)
    drawn = [
        _widest(both.drawn[number % resamples], int(guess))
        for number, guess in enumerate(curve.drawn)
    ]
    low, high = np.percentile(drawn, [5, 95])
    return Count(k, min(math.floor(low), k), max(math.ceil(high), k), both.width)


def _widest(gap: Array, guess: int) -> int:
    distance = np.log(np.arange(1, len(gap) + 1) / guess) / REACH
    return int(((gap + TINY) * np.exp(-(distance**2) / 2)).argmax()) + 1


def whitened(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows (n, e) after which differences between neighbours vary alike in all directions."""
    index = neighbours(rows, WHITENED_OVER).index
    return unit_rows(rows @ whitening(neighbourhood_scatter(rows, index), shrinkage=SHRINKAGE))


def neighbour_graph(rows: NDArray[np.float32], degree: int) -> csr_array:
    """(n, n) 0/1: rows that are among the `degree` nearest of one another, either way."""
    index = neighbours(rows, degree).index
    n, degree = index.shape
    start = np.arange(n + 1) * degree
    directed = csr_array((np.ones(n * degree), index.ravel(), start), (n, n))
    return csr_array(directed.maximum(directed.T))


def eigengaps(graph: csr_array, most: int, *, resamples: int, seed: int) -> Gaps:
    """The gaps after the `most` leading eigenvalues of the normalised graph, or fewer if small.

    Each of `resamples` draws counts every row as often as a Poisson variable says; its eigenvalues
    are those within the span of the leading vectors of the whole (Rayleigh and Ritz), which needs
    no new decomposition of the graph.
    """
    n = graph.shape[0]
    leading = spectrum(graph, min(n, int(most / SPARE) + 2), seed=seed)
    generator = np.random.default_rng([seed, n])
    weights = generator.poisson(1, (resamples, n)).astype(np.float64)
    drawn = [reweighted_values(graph, leading, weight) for weight in weights]
    most = min(most, len(leading.value) - 1)
    return Gaps(-np.diff(leading.value)[:most], -np.diff(drawn)[:, :most])


def reweighted_values(graph: csr_array, leading: Spectrum, weight: Array) -> Array:
    """The leading eigenvalues (q,), descending, had row i been there `weight[i]` times.

    leading: those of the normalised graph (n, n), with weights 1. Exact if it holds all n vectors;
    otherwise each value is at most the true one.
    """
    vector = leading.vector / np.sqrt(np.asarray(graph.sum(axis=1)))[:, None]
    drawn = vector * weight[:, None]
    kept = drawn.T @ (graph @ drawn)
    mass = drawn.T @ (vector * (graph @ weight)[:, None])
    floor = TINY * max(np.trace(mass), TINY) * np.eye(len(mass))
    values = eigh((kept + kept.T) / 2, (mass + mass.T) / 2 + floor, eigvals_only=True)
    return np.asarray(values[::-1])

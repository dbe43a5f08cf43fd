"""CPP's own criterion for the number of clusters: the coding length of spectral partitions."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clusterpipe.stages.numerics.cluster_count import Curve
from clusterpipe.stages.numerics.coding_length import (
    Array,
    Code,
    group_statistics,
    partition_length,
)
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic
from clusterpipe.stages.numerics.spectral import spectral_partitions

CODE = Code(epsilon_squared=0.1, model_cost=1.0)
TEMPERATURE, HALF_STEPS = 0.15, 5  # of the membership that clusters are counted in
SHARE, MOST_ROWS = 0.8, 2000  # that one membership is made of
GRID = 24  # numbers of clusters that are tried


def published_curve(
    rows: NDArray[np.float32],
    *,
    largest: int,
    restarts: int = 3,
    seed: int = 0,
    done: Callable[[int], None] = lambda draws: None,
) -> Curve:
    """The length of spectral partitions of one membership, and the mean over `restarts` draws.

    rows: (n, p) unit rows. Of each random draw (four fifths of the rows, 2,000 at most) the
    membership is made doubly stochastic from |Z Z^T|, and one eigendecomposition serves all
    candidates: 1..`largest` in 24 growing steps. `done` hears of every draw. Chu et al. (2024),
    section 3.4, with its constants; it draws 15,000 rows once.
    """
    size = min(MOST_ROWS, max(2, int(SHARE * len(rows))))
    candidates = sorted({int(k) for k in np.round(np.geomspace(1, min(largest, size), GRID))})
    lengths = []
    for number in range(restarts):
        generator = np.random.default_rng([seed, number])
        drawn = rows[np.sort(generator.choice(len(rows), size, replace=False))]
        lengths.append(published_lengths(drawn, candidates, seed=seed))
        done(1)
    candidate = np.array(candidates)
    return Curve(candidate, np.mean(lengths, axis=0), candidate[np.argmin(lengths, axis=1)])


def published_lengths(
    rows: NDArray[np.float32], candidates: Sequence[int], *, seed: int = 0
) -> Array:
    """Nats that the spectral partition of rows (n, p) takes, for each number of clusters."""
    z = torch.from_numpy(rows)
    membership = doubly_stochastic(
        (z @ z.T).abs(), temperature=TEMPERATURE, half_steps=HALF_STEPS
    ).numpy()
    partitions = spectral_partitions(membership, candidates, seed=seed, restarts=3)
    groups = [group_statistics(rows, partitions[k]) for k in candidates]
    return np.array([partition_length(each, CODE) for each in groups])

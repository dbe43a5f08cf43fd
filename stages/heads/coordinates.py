"""The coordinates that heads which learn work in: white components, or the features' own axes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.heads.protocol import Training
from clusterpipe.stages.sampling import sample_of

WIDTH = 128  # principal components of each space
NEIGHBOURS, SHRINKAGE = 8, 0.2  # of the whitening, as in refine
STUDIED, STUDIED_PER_CLUSTER = 20_000, 64  # rows that coordinates and a start are found from


@dataclass(frozen=True)
class Axes:
    """direction: (d, e) of all spaces side by side; width: (r,) how many belong to each."""

    direction: NDArray[np.float32]
    width: NDArray[np.int64]

    def placed(self, z: NDArray[np.float32], length: float) -> list[NDArray[np.float32]]:
        """Prepared rows (b, d) in each space, (b, width), all of one `length`; zeros stay."""
        from clusterpipe.stages.numerics.preparation import unit_rows

        spaces = np.split(z @ self.direction, np.cumsum(self.width)[:-1], axis=1)
        return [unit_rows(rows) * np.float32(length) for rows in spaces]

    def rows(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same side by side, (b, e), together of unit length."""
        return np.hstack(self.placed(z, 1 / np.sqrt(len(self.width))))


@dataclass(frozen=True)
class Placed:
    """Prepared rows z (n, d), the axes they are learnt in, and the rows along these, (n, e)."""

    z: NDArray[np.float32]
    axes: Axes
    rows: NDArray[np.float32]
    seed: int

    @classmethod
    def of(cls, training: Training, k: int, seed: int, *, white: bool) -> Self:
        axes = white_axes(training, k, seed) if white else own_axes(training)
        return cls(training.z, axes, axes.rows(training.z), seed)

    def near(self, count: int) -> NDArray[np.int64]:
        """The nearest other rows of each, (n, count)."""
        from clusterpipe.stages.numerics.neighbours import neighbours

        return np.asarray(neighbours(self.rows, count, seed=self.seed).index, np.int64)

    def annealed(self, k: int, *, iterations: int, seed: int) -> NDArray[np.int64]:
        """Labels (n,) of annealed k-means, fitted on a sample of the rows."""
        from clusterpipe.stages.numerics.annealing import annealed_kmeans

        part = self.rows[studied(len(self.rows), k, seed)]
        direction = annealed_kmeans(part, k, iterations=iterations, seed=seed)
        return np.asarray((self.rows @ direction.T).argmax(axis=1))


def own_axes(training: Training) -> Axes:
    """The prepared features as they are."""
    return Axes(np.eye(training.z.shape[1], dtype=np.float32), np.array(training.widths))


def white_axes(training: Training, k: int, seed: int) -> Axes:
    """The leading components of every space, along which all rows differ alike from neighbours.

    See numerics.whitening; found from a sample of the rows.
    """
    from scipy.linalg import block_diag

    part = studied(len(training.z), k, seed)
    directions = [_white(space[part], seed) for space in training.spaces]
    width = np.array([direction.shape[1] for direction in directions])
    return Axes(np.asarray(block_diag(*directions), np.float32), width)


def studied(n: int, k: int, seed: int) -> NDArray[np.int64]:
    """The numbers of rows to find coordinates or a start from: all, or a large enough sample."""
    return sample_of(np.arange(n), max(STUDIED, STUDIED_PER_CLUSTER * k), seed)


def _white(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """The white axes (d, e), e <= 128, of rows (n, d)."""
    from clusterpipe.stages.numerics.neighbours import neighbours
    from clusterpipe.stages.numerics.preparation import principal_directions, unit_rows
    from clusterpipe.stages.numerics.whitening import neighbourhood_scatter, whitening

    direction = principal_directions(rows, WIDTH)
    projected = unit_rows(rows @ direction)
    scatter = neighbourhood_scatter(projected, neighbours(projected, NEIGHBOURS, seed=seed).index)
    return np.asarray(direction @ whitening(scatter, shrinkage=SHRINKAGE), np.float32)

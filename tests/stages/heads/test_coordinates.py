"""Coordinates: white between neighbours, each space for itself, all rows of unit length."""

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.heads.coordinates import own_axes, studied, white_axes
from clusterpipe.stages.heads.protocol import Training
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.whitening import neighbourhood_scatter

STRETCH = np.array([6, 3, 1, 1, 1, 1, 1, 1])


def stretched() -> NDArray[np.float32]:
    """Groups in other directions than those along which their rows differ most."""
    rng = np.random.default_rng(0)
    rows = 20 * np.eye(8)[3 + np.arange(400) % 4] + STRETCH * rng.normal(size=(400, 8))
    return unit_rows(rows - rows.mean(axis=0))


def test_white_axes_make_neighbours_differ_alike() -> None:
    z = stretched()
    near = neighbours(z, 8).index

    def spread(rows: NDArray[np.float32]) -> float:
        values = np.linalg.eigvalsh(neighbourhood_scatter(rows, near))
        return float(values[-1] / values.mean())

    assert spread(z @ white_axes(Training.of(z), 4, 0).direction) < 1.2 < spread(z)


def test_rows_are_of_unit_length_each_space_alike_and_zeros_stay() -> None:
    one = stretched()
    z = np.hstack([one, one[:, :5]])
    axes = white_axes(Training(z, (8, 5)), 4, 0)
    rows = axes.rows(np.vstack([z, np.zeros((1, 13), np.float32)]))
    assert axes.width.tolist() == [8, 5]
    np.testing.assert_allclose(np.linalg.norm(rows[:-1, :8], axis=1), np.sqrt(0.5), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows[:-1, 8:], axis=1), np.sqrt(0.5), rtol=1e-5)
    assert not rows[-1].any()


def test_own_axes_leave_rows_as_they_are() -> None:
    z = stretched()
    np.testing.assert_allclose(own_axes(Training.of(z)).rows(z), z, atol=1e-6)


def test_large_collections_are_studied_in_part() -> None:
    assert len(studied(500, 4, 0)) == 500
    assert len(studied(30_000, 4, 0)) == 20_000
    assert len(studied(30_000, 400, 0)) == 25_600

"""The membership on a neighbour graph against the dense one, and its temperature."""

import numpy as np
import pytest
import torch

from clusterpipe.stages.numerics.membership import neighbour_membership
from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic


def rows(n: int, p: int = 16) -> np.ndarray:
    return unit_rows(np.random.default_rng(0).normal(size=(n, p)))


def test_with_all_neighbours_it_is_the_dense_membership() -> None:
    z = rows(40)
    nearest = neighbours(z, 39)
    sparse = neighbour_membership(nearest.index, nearest.cosine, temperature=0.15)
    dense = np.zeros((40, 40))
    np.put_along_axis(dense, sparse.support, sparse.weight, axis=1)
    similarity = torch.from_numpy(np.abs(z @ z.T))
    expected = doubly_stochastic(similarity, temperature=0.15, half_steps=5)
    np.testing.assert_allclose(dense, expected, atol=1e-5)


def test_rows_sum_to_one_and_begin_with_the_row_itself() -> None:
    nearest = neighbours(rows(300), 6)
    found = neighbour_membership(nearest.index, nearest.cosine)
    assert found.support.shape == found.weight.shape == (300, 7)
    np.testing.assert_array_equal(found.support[:, 0], np.arange(300))
    np.testing.assert_allclose(found.weight.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.3, 0.6])
def test_temperature_gives_the_wanted_diagonal_share(share: float) -> None:
    nearest = neighbours(rows(300), 8)
    found = neighbour_membership(nearest.index, nearest.cosine, diagonal_share=share)
    assert np.median(found.weight[:, 0]) == pytest.approx(share, abs=0.02)


def test_equal_rows_share_alike_whatever_the_temperature() -> None:
    index = np.array([[1, 2], [0, 2], [0, 1]])
    found = neighbour_membership(index, np.ones((3, 2), np.float32))
    np.testing.assert_allclose(found.weight, 1 / 3, atol=1e-6)

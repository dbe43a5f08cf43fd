"""The map that makes neighbourhoods white."""

import numpy as np
import pytest
import torch

from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.rate import coding_rate, membership_coding_rate
from clusterpipe.stages.numerics.whitening import (
    neighbourhood_scatter,
    whitening,
)


@pytest.mark.parametrize("at_once", [7, 30, 8192])
def test_scatter_is_the_mean_outer_product_of_the_differences(at_once: int) -> None:
    rng = np.random.default_rng(0)
    rows, index = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(30, size=(30, 3))
    expected = np.zeros((4, 4))
    for i in range(30):
        for j in index[i]:
            expected += np.outer(rows[j] - rows[i], rows[j] - rows[i]) / 90
    found = neighbourhood_scatter(rows, index, at_once=at_once)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_whitened_scatter_is_the_identity() -> None:
    half = np.random.default_rng(0).normal(size=(5, 5))
    scatter = half @ half.T
    w = whitening(scatter, shrinkage=0)
    scale = np.trace(scatter) / 5
    np.testing.assert_allclose(w @ scatter @ w.T, scale * np.eye(5), atol=1e-3)
    np.testing.assert_array_equal(w, w.T)


def test_shrinkage_leads_back_to_where_the_rows_were() -> None:
    scatter = np.diag([4.0, 1.0, 0.01])

    def ratio(shrinkage: float) -> float:
        w = whitening(scatter, shrinkage=shrinkage)
        return float(w[2, 2] / w[0, 0])

    ratios = [ratio(shrinkage) for shrinkage in (0, 0.2, 1, 1e6)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(20, rel=1e-3)
    assert ratios[-1] == pytest.approx(1, rel=1e-3)


def test_equal_neighbours_leave_the_rows_as_they_are() -> None:
    np.testing.assert_array_equal(whitening(np.zeros((3, 3)), shrinkage=0.2), np.eye(3))


def test_turning_the_rows_turns_the_whitened_rows() -> None:
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.normal(size=(200, 6)))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)

    def whitened(z: np.ndarray) -> np.ndarray:
        index = neighbours(z, 5).index
        return unit_rows(z @ whitening(neighbourhood_scatter(z, index), shrinkage=0.1))

    z, turned = whitened(rows), whitened(rows @ turn)
    np.testing.assert_allclose(turned @ turned.T, z @ z.T, atol=1e-3)


def test_rate_reduction_stands_still_at_the_whitening() -> None:
    """For groups whose members hardly differ, both forces cancel for some weight of R_c.

    A group of two is c/2 |W d|^2 dearer than its mean alone, to first order, so that any direction
    in which W moves changes R and R_c in one proportion: their gradients are parallel.
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 5))
    spread = rng.normal(size=(60, 5)) * [1e-3, 2e-3, 4e-3, 1e-3, 5e-4]
    pairs = torch.tensor(np.concatenate([centres + spread, centres - spread]))
    membership = torch.eye(60, dtype=torch.float64).repeat(1, 2) / 2
    scatter = (2 * spread).T @ (2 * spread) / 60

    def cosine(start: np.ndarray) -> float:
        w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        z = pairs @ w
        rate = coding_rate(z, epsilon_squared=1e-9)
        of_groups = membership_coding_rate(z, membership, epsilon_squared=1e-1)
        of_means = membership_coding_rate(
            torch.tensor(np.concatenate([centres, centres])) @ w, membership, epsilon_squared=1e-1
        )
        (push,) = torch.autograd.grad(rate, w, retain_graph=True)
        (pull,) = torch.autograd.grad(of_groups - of_means, w)
        return float((push * pull).sum() / push.norm() / pull.norm())

    assert cosine(whitening(scatter, shrinkage=0)) > 0.98
    assert cosine(np.eye(5)) < 0.8

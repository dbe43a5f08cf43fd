"""doubly_stochastic against plain Sinkhorn, against CPP's values, and at its limits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic

REFERENCE = np.load(Path(__file__).with_name("cpp_reference_small.npz"), allow_pickle=False)


def similarity(b: int = 12, seed: int = 0) -> torch.Tensor:
    y = torch.randn(b, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = torch.nn.functional.normalize(y, dim=1)
    return (y @ y.T).abs()


def plain_sinkhorn(kernel: np.ndarray, half_steps: int) -> np.ndarray:
    """Alternate division by row and column sums, rows first (for an odd number of half-steps)."""
    for i in range(half_steps):
        kernel = kernel / kernel.sum(axis=1 - i % 2, keepdims=True)
    return kernel


@pytest.mark.parametrize("temperature", [0.1, 0.175])
def test_equals_cpp(temperature: float) -> None:
    z = torch.from_numpy(REFERENCE["small/Z"])
    pi = doubly_stochastic((z @ z.T).abs(), temperature=temperature, half_steps=5)
    np.testing.assert_allclose(pi, REFERENCE[f"small/sinkhorn_eta{temperature}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("half_steps", [1, 3, 5, 21])
def test_equals_plain_sinkhorn(half_steps: int) -> None:
    s = similarity()
    expected = plain_sinkhorn(np.exp(s.numpy() / 0.2), half_steps)
    pi = doubly_stochastic(s, temperature=0.2, half_steps=half_steps)
    np.testing.assert_allclose(pi, expected, rtol=1e-10)


@pytest.mark.parametrize("half_steps", [1, 2, 4, 5])
def test_rows_sum_to_one_after_any_number_of_half_steps(half_steps: int) -> None:
    pi = doubly_stochastic(similarity(), temperature=0.1, half_steps=half_steps)
    torch.testing.assert_close(pi.sum(dim=1), torch.ones(12, dtype=torch.float64))


def test_columns_approach_one_with_more_half_steps() -> None:
    def excess(half_steps: int) -> float:
        pi = doubly_stochastic(similarity(), temperature=0.3, half_steps=half_steps)
        return float((pi.sum(dim=0) - 1).abs().max())

    assert excess(1) > excess(5) > excess(51)
    assert excess(51) < 1e-6


def test_low_temperature_leaves_each_sample_alone_and_high_mixes_all() -> None:
    cold = doubly_stochastic(similarity(), temperature=1e-3, half_steps=5)
    hot = doubly_stochastic(similarity(), temperature=1e3, half_steps=5)
    torch.testing.assert_close(cold, torch.eye(12, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(hot, torch.full_like(hot, 1 / 12), atol=1e-4, rtol=0)


def test_order_of_samples_does_not_matter() -> None:
    s, order = similarity(), torch.tensor([3, 1, 0, 2, 11, 5, 4, 6, 10, 8, 7, 9])
    pi = doubly_stochastic(s, temperature=0.1, half_steps=5)
    shuffled = doubly_stochastic(s[order][:, order], temperature=0.1, half_steps=5)
    torch.testing.assert_close(shuffled, pi[order][:, order])


def test_gradient_holds_the_column_potential_fixed() -> None:
    """With columns fixed Pi is a softmax of each row, so its gradient along a row sums to 0."""
    s = similarity().requires_grad_()
    pi = doubly_stochastic(s, temperature=0.1, half_steps=5)
    (gradient,) = torch.autograd.grad(pi[0, 0], s)
    expected = torch.zeros_like(s)
    expected[0] = -pi[0, 0] * pi[0] / 0.1
    expected[0, 0] += pi[0, 0] / 0.1
    torch.testing.assert_close(gradient, expected)


def test_half_precision_is_promoted() -> None:
    pi = doubly_stochastic(similarity().half(), temperature=0.01, half_steps=5)
    assert pi.dtype == torch.float32
    torch.testing.assert_close(pi.sum(dim=1), torch.ones(12))


@pytest.mark.parametrize(
    ("shape", "temperature", "half_steps"),
    [((3, 4), 0.1, 5), ((3,), 0.1, 5), ((3, 3), 0.0, 5), ((3, 3), 0.1, 0)],
)
def test_refuses_what_has_no_membership(
    shape: tuple[int, ...], temperature: float, half_steps: int
) -> None:
    with pytest.raises(ValueError, match="must be"):
        doubly_stochastic(torch.ones(shape), temperature=temperature, half_steps=half_steps)

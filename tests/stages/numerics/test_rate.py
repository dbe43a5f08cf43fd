"""Rates against CPP's values, closed forms, NumPy's log-determinant, and their invariances."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clusterpipe.stages.numerics.rate import (
    coding_rate,
    log_det_identity_plus,
    membership_coding_rate,
    partition_coding_length,
    sparse_membership_coding_rate,
)

REFERENCE = np.load(Path(__file__).with_name("cpp_reference_small.npz"), allow_pickle=False)
EPSILON_SQUARED = 0.1


def unit_rows(n: int, p: int, seed: int = 0) -> Tensor:
    z = torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(z, dim=1)


def positive(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(name: str) -> Tensor:
    return torch.from_numpy(np.asarray(REFERENCE[f"small/{name}"]))


def numpy_group_rate(z: np.ndarray, weights: np.ndarray) -> float:
    """1/2 logdet(I + p/(t eps^2) Z^T Diag(w) Z), written out."""
    p = z.shape[1]
    scatter = z.T @ np.diag(weights) @ z
    return np.linalg.slogdet(np.eye(p) + p / (weights.sum() * 0.1) * scatter)[1] / 2


# ---- CPP's own values ---------------------------------------------------------------------


def test_rate_equals_cpp() -> None:
    rate = coding_rate(reference("Z"), epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(rate, reference("R"), rtol=1e-9, atol=0)


@pytest.mark.parametrize("eta", [0.1, 0.175])
def test_membership_rate_and_gradient_equal_cpp(eta: float) -> None:
    """CPP's groups are the columns of its Sinkhorn matrix, whose rows sum to 1."""
    z = reference("Z").requires_grad_()
    groups = reference(f"sinkhorn_eta{eta}").T
    membership_rate = membership_coding_rate(z, groups, epsilon_squared=EPSILON_SQUARED)
    loss = membership_rate - coding_rate(z, epsilon_squared=EPSILON_SQUARED)
    (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(membership_rate, reference(f"Rc_eta{eta}"), rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, reference(f"grad_eta{eta}"), rtol=1e-9, atol=1e-12)


def test_coding_length_equals_cpp() -> None:
    z, labels = reference("Z"), reference("labels")
    length = partition_coding_length(z, labels, epsilon_squared=EPSILON_SQUARED)
    whole = partition_coding_length(z, 0 * labels, epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(length, reference("coding_length_nats"), rtol=1e-9, atol=0)
    torch.testing.assert_close(
        whole, reference("coding_length_one_cluster_nats"), rtol=1e-9, atol=0
    )


# ---- independent truths -------------------------------------------------------------------


def test_rate_of_orthonormal_samples_in_closed_form() -> None:
    """n = p orthonormal rows: Z^T Z = I, so R = p/2 log(1 + 1/eps^2)."""
    rate = coding_rate(torch.eye(6, dtype=torch.float64), epsilon_squared=0.5)
    assert float(rate) == pytest.approx(6 / 2 * math.log(1 + 1 / 0.5))


def test_rate_of_one_direction_in_closed_form() -> None:
    z = torch.eye(6, dtype=torch.float64)[:1].expand(9, -1)
    assert float(coding_rate(z, epsilon_squared=0.1)) == pytest.approx(math.log(1 + 60) / 2)


@pytest.mark.parametrize(("n", "p"), [(20, 5), (5, 20)])
def test_both_gram_sides_equal_numpy(n: int, p: int) -> None:
    z, membership = unit_rows(n, p), positive(4, n)
    expected = sum(w.sum() / n * numpy_group_rate(z.numpy(), w) for w in membership.numpy())
    rate = membership_coding_rate(z, membership, epsilon_squared=EPSILON_SQUARED)
    assert float(rate) == pytest.approx(expected, rel=1e-6)
    whole = numpy_group_rate(z.numpy(), np.ones(n))
    assert float(coding_rate(z, epsilon_squared=EPSILON_SQUARED)) == pytest.approx(whole)


def test_hard_membership_is_the_weighted_rate_of_its_clusters() -> None:
    z, labels = unit_rows(12, 4), torch.tensor([0, 1, 2] * 4)
    groups = torch.nn.functional.one_hot(labels).T.double()
    expected = sum(
        coding_rate(z[labels == k], epsilon_squared=EPSILON_SQUARED) / 3 for k in range(3)
    )
    rate = membership_coding_rate(z, groups, epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(rate, expected, rtol=1e-6, atol=0)


def test_coding_length_counts_samples_subspaces_and_labels() -> None:
    z, labels = unit_rows(30, 4), torch.tensor([7, -3, 7] * 10)
    sizes = {7: 20, -3: 10}
    expected = sum(
        (m + 4) * float(coding_rate(z[labels == k], epsilon_squared=0.1)) - m * math.log(m / 30)
        for k, m in sizes.items()
    )
    length = partition_coding_length(z, labels, epsilon_squared=0.1)
    assert float(length) == pytest.approx(expected)


def test_coding_length_prefers_the_true_partition() -> None:
    """Two orthogonal planes, 100 samples each."""
    z = torch.zeros(200, 4, dtype=torch.float64)
    z[:100, :2], z[100:, 2:] = unit_rows(100, 2), unit_rows(100, 2, seed=1)
    truth = torch.arange(200) // 100
    lengths = [
        float(partition_coding_length(z, labels, epsilon_squared=0.1))
        for labels in (truth, 0 * truth, torch.arange(200) % 2, torch.arange(200))
    ]
    assert lengths.index(min(lengths)) == 0


# ---- sparse groups ------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(16, 5), (6, 9)])
def test_sparse_equals_dense_when_every_entry_is_kept(n: int, p: int) -> None:
    z, membership = unit_rows(n, p), positive(n, n)
    order = torch.argsort(positive(n, n, seed=2), dim=1)
    sparse = sparse_membership_coding_rate(
        z, order, membership.gather(1, order), epsilon_squared=EPSILON_SQUARED
    )
    dense = membership_coding_rate(z, membership, epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(sparse, dense, rtol=1e-10, atol=0)


def test_sparse_equals_dense_with_zeros_elsewhere() -> None:
    z, weights = unit_rows(16, 5), positive(16, 3)
    support = torch.argsort(positive(16, 16, seed=2), dim=1)[:, :3]
    membership = torch.zeros(16, 16, dtype=torch.float64).scatter(1, support, weights)
    sparse = sparse_membership_coding_rate(z, support, weights, epsilon_squared=EPSILON_SQUARED)
    dense = membership_coding_rate(z, membership, epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(sparse, dense, rtol=1e-10, atol=0)


# ---- invariances --------------------------------------------------------------------------


def test_rotation_and_permutation_change_nothing() -> None:
    z, membership, labels = unit_rows(20, 5), positive(4, 20), torch.arange(20) % 3
    rotation = torch.linalg.qr(positive(5, 5, seed=3)).Q
    order = torch.randperm(20, generator=torch.Generator().manual_seed(4))
    turned = (z @ rotation)[order]

    def rates(z: Tensor, membership: Tensor, labels: Tensor) -> Tensor:
        return torch.stack(
            [
                coding_rate(z, epsilon_squared=0.1),
                membership_coding_rate(z, membership, epsilon_squared=0.1),
                partition_coding_length(z, labels, epsilon_squared=0.1),
            ]
        )

    torch.testing.assert_close(
        rates(turned, membership[:, order], labels[order]), rates(z, membership, labels)
    )


def test_one_group_of_everything_is_the_plain_rate() -> None:
    z = unit_rows(20, 5)
    whole = membership_coding_rate(z, torch.ones(1, 20), epsilon_squared=0.1)
    torch.testing.assert_close(whole, coding_rate(z, epsilon_squared=0.1), rtol=1e-6, atol=0)


def test_an_empty_group_costs_nothing() -> None:
    z, membership = unit_rows(20, 5), positive(4, 20)
    padded = torch.cat([membership, torch.zeros(1, 20)])
    torch.testing.assert_close(
        membership_coding_rate(z, padded, epsilon_squared=0.1),
        membership_coding_rate(z, membership, epsilon_squared=0.1),
    )


# ---- gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(9, 4), (4, 9)])
def test_gradients_equal_finite_differences(n: int, p: int) -> None:
    z, membership = unit_rows(n, p).requires_grad_(), positive(3, n).requires_grad_()
    support = torch.tensor([[0, 1], [2, 3], [1, 3]])
    weights = positive(3, 2).requires_grad_()
    labels = torch.arange(n) % 2
    assert torch.autograd.gradcheck(lambda z: coding_rate(z, epsilon_squared=0.1), z)
    assert torch.autograd.gradcheck(
        lambda z, m: membership_coding_rate(z, m, epsilon_squared=0.1), (z, membership)
    )
    assert torch.autograd.gradcheck(
        lambda z, w: sparse_membership_coding_rate(z, support, w, epsilon_squared=0.1),
        (z, weights),
    )
    assert torch.autograd.gradcheck(
        lambda z: partition_coding_length(z, labels, epsilon_squared=0.1), z
    )


def test_gradient_at_weight_zero_equals_that_of_numpys_determinant() -> None:
    """The square root of the weights has no derivative at 0; the log-determinant has."""
    gram = (lambda a: a @ a.T)(unit_rows(3, 5))
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_det_identity_plus(gram, weight), weight)
    torch.testing.assert_close(slope, gram.diagonal())


# ---- precision and refusals ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted(dtype: torch.dtype) -> None:
    z, membership, labels = unit_rows(40, 8).to(dtype), positive(40, 40).to(dtype), torch.arange(40)
    for rate, exact in (
        (coding_rate(z, epsilon_squared=0.1), coding_rate(z.double(), epsilon_squared=0.1)),
        (
            membership_coding_rate(z, membership, epsilon_squared=0.1),
            membership_coding_rate(z.double(), membership.double(), epsilon_squared=0.1),
        ),
        (
            partition_coding_length(z, labels % 2, epsilon_squared=0.1),
            partition_coding_length(z.double(), labels % 2, epsilon_squared=0.1),
        ),
    ):
        assert rate.dtype == torch.float32
        assert float(rate) == pytest.approx(float(exact), rel=1e-5)


def test_autocast_does_not_reach_the_gram_matrix() -> None:
    z = unit_rows(40, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = coding_rate(z, epsilon_squared=0.1)
    assert inside.dtype == torch.float32
    assert float(inside) == float(coding_rate(z, epsilon_squared=0.1))


def test_arrays_are_welcome() -> None:
    z = unit_rows(10, 4)
    rate = coding_rate(z.numpy(), epsilon_squared=0.1)
    assert rate.ndim == 0
    assert float(rate) == float(coding_rate(z, epsilon_squared=0.1))


def test_refuses_shapes_that_do_not_fit() -> None:
    z = unit_rows(10, 4)
    with pytest.raises(ValueError, match="z must be"):
        coding_rate(z[0], epsilon_squared=0.1)
    with pytest.raises(ValueError, match="z must be"):
        coding_rate(z[:0], epsilon_squared=0.1)
    with pytest.raises(ValueError, match="membership must be"):
        membership_coding_rate(z, torch.ones(10, 3), epsilon_squared=0.1)
    with pytest.raises(ValueError, match="labels must be"):
        partition_coding_length(z, torch.zeros(3), epsilon_squared=0.1)
    with pytest.raises(ValueError, match="support is"):
        sparse_membership_coding_rate(
            z, torch.zeros(2, 3, dtype=torch.int64), torch.ones(3, 2), epsilon_squared=0.1
        )

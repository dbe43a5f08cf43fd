"""The losses against the formulas written out in numpy, and what they are least for."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor

from clusterpipe.stages.numerics.cluster_losses import (
    balance_loss,
    confidence_loss,
    consistency_loss,
    distillation_loss,
    pair_likelihood,
)

B, K = 7, 4
RNG = np.random.default_rng(0)
P, Q = (softmax(RNG.normal(size=(B, K)), axis=1) for _ in range(2))


def tensor(values: object) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def test_consistency_is_the_mean_cross_entropy_both_ways() -> None:
    expected = -sum(
        P[i, c] * np.log(Q[i, c]) + Q[i, c] * np.log(P[i, c]) for i in range(B) for c in range(K)
    ) / (2 * B)
    assert float(consistency_loss(tensor(P), tensor(Q))) == pytest.approx(expected)
    assert float(consistency_loss(tensor(P), tensor(P))) == pytest.approx(entropy(P, axis=1).mean())


def test_consistency_draws_rows_together_and_makes_none_surer() -> None:
    logits = torch.randn(2, B, K, dtype=torch.float64, requires_grad=True)
    p, q = logits.softmax(dim=2)
    (slope,) = torch.autograd.grad(consistency_loss(p, q), logits)
    apart = (p - q).detach() / (2 * B)  # softmax less target, as of any cross-entropy
    torch.testing.assert_close(slope, torch.stack([apart, -apart]))


def test_confidence_is_minus_the_log_of_the_chance_to_agree() -> None:
    expected = np.mean([-np.log(P[i] @ Q[i]) for i in range(B)])
    assert float(confidence_loss(tensor(P), tensor(Q))) == pytest.approx(expected)
    sure = tensor(np.eye(K)[[0, 2, 1]])
    assert float(confidence_loss(sure, sure)) == 0
    assert float(confidence_loss(sure, sure.flip(0))) > 5


def test_weights_say_how_much_each_pair_counts() -> None:
    weight = RNG.random(B)
    for loss in (consistency_loss, confidence_loss):
        each = [float(loss(tensor(P[i : i + 1]), tensor(Q[i : i + 1]))) for i in range(B)]
        found = float(loss(tensor(P), tensor(Q), tensor(weight)))
        assert found == pytest.approx(np.mean(weight * each))


def test_balance_is_the_divergence_of_the_mean_from_the_prior() -> None:
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    assert float(balance_loss(tensor(P), tensor(prior))) == pytest.approx(
        entropy(P.mean(axis=0), prior)
    )
    equal = np.log(K) - entropy(P.mean(axis=0))
    assert float(balance_loss(tensor(P), tensor(np.full(K, 1 / K)))) == pytest.approx(equal)
    assert float(balance_loss(tensor([prior, prior]), tensor(prior))) == pytest.approx(0, abs=1e-9)


def test_distillation_is_temis_formula() -> None:
    heads, beta = 3, 0.6
    student, teacher = (softmax(RNG.normal(size=(heads, B, K)), axis=2) for _ in range(2))
    prior, weight = softmax(RNG.normal(size=(heads, K)), axis=1), RNG.random(B)
    expected = [
        np.mean(
            [
                -weight[i]
                * np.log(
                    sum(
                        (student[h, i, c] * teacher[h, i, c]) ** beta / prior[h, c]
                        for c in range(K)
                    )
                )
                for i in range(B)
            ]
        )
        for h in range(heads)
    ]
    found = distillation_loss(*map(tensor, (student, teacher, weight, prior)), beta=beta)
    np.testing.assert_allclose(found, expected)
    likely = [np.mean([student[h, i] @ teacher[h, i] for h in range(heads)]) for i in range(B)]
    np.testing.assert_allclose(pair_likelihood(tensor(student), tensor(teacher)), likely)


def test_gradients_are_finite_where_probabilities_vanish() -> None:
    logits = torch.tensor([[200.0, 0, 0], [0, 200.0, 0]], requires_grad=True)
    p = logits.softmax(dim=1)
    loss = consistency_loss(p, p.flip(0)) + confidence_loss(p, p.flip(0))
    (loss + balance_loss(p, torch.full((3,), 1 / 3))).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())

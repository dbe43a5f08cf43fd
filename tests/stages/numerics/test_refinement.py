"""The objectives against their formulas, and training."""

import math
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from clusterpipe.stages.numerics.feature_map import linear_network, published_network
from clusterpipe.stages.numerics.rate import membership_coding_rate
from clusterpipe.stages.numerics.refinement import (
    Neighbourhoods,
    Terms,
    TrainingRun,
    balance,
    expansion,
    grouped_objective,
    is_collapsed,
    neighbourhood_objective,
    neighbourhoods,
    on_groups,
    on_neighbourhoods,
    published_objective,
    published_settings,
    shuffled_batches,
    train_balanced,
    train_published,
)
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic

EPSILON_SQUARED = 0.1


def unit_rows(n: int, p: int, seed: int = 0) -> Tensor:
    z = torch.randn(n, p, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(z, dim=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- the objective ------------------------------------------------------------------------


def test_published_objective_is_its_formula() -> None:
    z, y = unit_rows(20, 6), unit_rows(20, 6, seed=1)
    terms = published_objective(z, y, epsilon_squared=EPSILON_SQUARED, temperature=0.15)
    gram = z.numpy().astype(np.float64).T @ z.numpy() * 6 / (20 * EPSILON_SQUARED)
    pi = doubly_stochastic((y @ y.T).abs(), temperature=0.15, half_steps=5)
    rate = np.linalg.slogdet(np.eye(6) + gram)[1] / 2
    membership_rate = float(membership_coding_rate(z, pi.T, epsilon_squared=EPSILON_SQUARED))
    assert float(terms.rate) == pytest.approx(rate, rel=1e-5)
    assert float(terms.membership_rate) == pytest.approx(membership_rate)
    expected = membership_rate - rate + 0.025 * float(pi.square().sum())
    assert float(terms.loss) == pytest.approx(expected, rel=1e-5)


def whole(z: Tensor) -> Neighbourhoods:
    """Every row's group holds all rows, by the dense membership."""
    pi = doubly_stochastic((z @ z.T).abs(), temperature=0.15, half_steps=5)
    support = torch.arange(len(z)).expand(len(z), -1)
    return neighbourhoods(support, pi.detach(), torch.arange(len(z)))


def test_neighbourhood_objective_is_the_published_when_every_neighbour_is_kept() -> None:
    """But for the regulariser, and rows in the place of columns of the (nearly symmetric) Pi."""
    z = unit_rows(20, 6)
    terms = neighbourhood_objective(z, whole(z), epsilon_squared=EPSILON_SQUARED)
    pi = doubly_stochastic((z @ z.T).abs(), temperature=0.15, half_steps=5)
    dense = membership_coding_rate(z, pi, epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(terms.membership_rate, dense)
    torch.testing.assert_close(terms.loss, terms.membership_rate - terms.rate)


def test_some_seeds_estimate_the_rate_of_all_groups() -> None:
    z = unit_rows(400, 6)
    nearest = (z @ z.T).topk(5, dim=1).indices
    weight = torch.full(nearest.shape, 0.2)

    def rate(seeds: Tensor) -> float:
        groups = neighbourhoods(nearest, weight, seeds)
        found = neighbourhood_objective(z[groups.rows], groups, epsilon_squared=EPSILON_SQUARED)
        return float(found.membership_rate)

    assert rate(torch.arange(0, 400, 4)) == pytest.approx(rate(torch.arange(400)), rel=0.05)


def test_seeds_bring_their_neighbours_along() -> None:
    support = torch.tensor([[0, 3], [1, 2], [2, 1], [3, 0], [4, 3]])
    weight = torch.rand(5, 2)
    groups = neighbourhoods(support, weight, torch.tensor([4, 0]))
    assert groups.rows.tolist() == [0, 3, 4]
    assert groups.rows[groups.support].tolist() == [[4, 3], [0, 3]]
    torch.testing.assert_close(groups.weight, weight[[4, 0]])


def test_grouped_objective_is_the_rate_of_soft_groups() -> None:
    z, logits = unit_rows(30, 6), torch.randn(30, 4, generator=generator())
    terms = grouped_objective(z, logits, epsilon_squared=EPSILON_SQUARED, weight=2.0)
    membership = torch.softmax(logits, dim=1).T
    expected = membership_coding_rate(z, membership, epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(terms.membership_rate, expected)
    torch.testing.assert_close(terms.loss, 2 * expected - terms.rate)


def test_gradients_of_the_neighbourhood_objective_are_right() -> None:
    z = unit_rows(12, 5).double().requires_grad_()
    groups = whole(z)
    assert torch.autograd.gradcheck(
        lambda z: neighbourhood_objective(z, groups, epsilon_squared=EPSILON_SQUARED).loss, (z,)
    )


def test_balance_makes_both_forces_equal_in_strength() -> None:
    z = torch.nn.Parameter(unit_rows(40, 6))
    groups = neighbourhoods(
        (z @ z.T).topk(5, dim=1).indices, torch.full((40, 5), 0.2), torch.arange(40)
    )

    def terms() -> Terms:
        return neighbourhood_objective(z, groups, epsilon_squared=EPSILON_SQUARED)

    weight = balance(terms(), [z])
    (push,) = torch.autograd.grad(terms().rate, z)
    (pull,) = torch.autograd.grad(weight * terms().membership_rate, z)
    assert float(push.norm()) == pytest.approx(float(pull.norm()), rel=1e-4)
    assert weight > 1


def test_balance_of_a_force_that_is_not_there() -> None:
    """In one dimension every unit row stays where it is."""
    z = torch.nn.Parameter(torch.tensor([[1.0], [-1.0]]))
    unit = torch.nn.functional.normalize(z, dim=1)
    assert balance(neighbourhood_objective(unit, whole(unit), epsilon_squared=0.1), [z]) == 1.0


def test_expansion_is_the_rate_alone() -> None:
    terms = expansion(unit_rows(20, 6), epsilon_squared=EPSILON_SQUARED)
    assert float(terms.loss) == -float(terms.rate)
    assert math.isnan(float(terms.membership_rate))


def test_collapse_is_one_direction_or_not_a_number() -> None:
    line = unit_rows(1, 8).expand(30, -1) * torch.tensor([1.0, -1.0]).repeat(15)[:, None]
    plane = torch.cat([unit_rows(30, 2), torch.zeros(30, 6)], dim=1)

    def collapsed(z: Tensor) -> bool:
        rate = float(expansion(z, epsilon_squared=EPSILON_SQUARED).rate)
        return is_collapsed(rate, width=8, epsilon_squared=EPSILON_SQUARED)

    assert collapsed(line)
    assert collapsed(line.abs())
    assert not collapsed(plane)
    assert not collapsed(unit_rows(30, 8))
    assert is_collapsed(math.nan, width=8, epsilon_squared=EPSILON_SQUARED)
    assert not is_collapsed(1.0, width=1, epsilon_squared=EPSILON_SQUARED)


# ---- training -----------------------------------------------------------------------------


def test_each_pass_shows_every_row_once_and_drops_the_remainder() -> None:
    batches = list(islice(shuffled_batches(10, 3, generator()), 6))
    assert [len(batch) for batch in batches] == [3] * 6
    for one_pass in (batches[:3], batches[3:]):
        assert len(set(torch.cat(one_pass).tolist())) == 9
    assert not torch.equal(torch.cat(batches[:3]), torch.cat(batches[3:]))


def test_fewer_rows_than_a_batch_make_one_batch() -> None:
    (batch,) = islice(shuffled_batches(5, 1024, generator()), 1)
    assert sorted(batch.tolist()) == list(range(5))


def test_warm_up_raises_the_rate_and_leaves_the_membership_head_to_be_copied() -> None:
    rows = unit_rows(64, 8)
    network = published_network(8, hidden=32, width=6, seed=0)
    untouched = network.membership_head.weight.detach().clone()
    training = train_published(
        network,
        rows,
        shuffled_batches(64, 64, generator()),
        warmup_steps=30,
        steps=1,
        epsilon_squared=EPSILON_SQUARED,
        temperature=0.2,
        learning_rate=1e-2,
    )
    warm_up = list(islice(training, 30))
    assert warm_up[-1].rate > warm_up[0].rate
    assert all(math.isnan(step.membership_rate) for step in warm_up)
    assert torch.equal(network.membership_head.weight, untouched)
    feature_head = network.feature_head.weight.detach().clone()
    (joint,) = training
    assert joint.membership_rate < joint.rate
    torch.testing.assert_close(network.membership_head.weight, feature_head, atol=0.1, rtol=0)
    assert not torch.equal(network.membership_head.weight, untouched)


def balanced(seed: int, groups: int = 0) -> TrainingRun:
    rows = unit_rows(100, 8)
    centres = unit_rows(groups, 8, seed=1).numpy() if groups else None
    network = linear_network(8, groups=centres)
    nearest = (rows @ rows.T).topk(6, dim=1).indices
    weight = torch.full(nearest.shape, 1 / 6)
    objective = (
        on_groups(network, rows, epsilon_squared=EPSILON_SQUARED)
        if groups
        else on_neighbourhoods(network, rows, nearest, weight, epsilon_squared=EPSILON_SQUARED)
    )
    return train_balanced(
        network,
        objective,
        shuffled_batches(100, 32, generator(seed)),
        steps=20,
        compression=1.0,
        learning_rate=1e-2,
    )


def published(rows: Tensor, *, warmup_steps: int, steps: int) -> TrainingRun:
    return train_published(
        published_network(8, hidden=32, width=6, seed=0),
        rows,
        shuffled_batches(len(rows), 32, generator()),
        warmup_steps=warmup_steps,
        steps=steps,
        epsilon_squared=EPSILON_SQUARED,
        temperature=0.2,
        learning_rate=1e-2,
    )


@pytest.mark.parametrize("groups", [0, 5])
def test_training_lowers_the_objective(groups: int) -> None:
    losses = [step.loss for step in balanced(0, groups)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.parametrize("groups", [0, 5])
def test_same_seed_same_steps(groups: int) -> None:
    assert list(balanced(0, groups)) == list(balanced(0, groups))
    assert list(balanced(0, groups)) != list(balanced(1, groups))


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 5, 7, 14])
@pytest.mark.parametrize(
    "begin",
    [
        lambda: balanced(0),
        lambda: balanced(0, groups=5),
        lambda: published(unit_rows(100, 8), warmup_steps=7, steps=13),
    ],
    ids=["neighbourhoods", "groups", "published"],
)
def test_a_resumed_training_goes_on_to_the_bit(begin: Callable[[], TrainingRun], done: int) -> None:
    """In warm-up, at the copy of the head and after it; batches, momenta and step sizes, too."""
    whole, broken, resumed = begin(), begin(), begin()
    steps, before = list(whole), list(islice(broken, done))
    resumed.resume(broken.state(), done=done)
    broken.step()  # what was kept is a copy
    assert repr([*before, *resumed]) == repr(steps)  # as text, NaN is NaN
    expected = whole.state()
    found = resumed.state()
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_the_state_of_another_network_is_refused() -> None:
    with pytest.raises(RuntimeError, match="hidden"):
        published(unit_rows(64, 8), warmup_steps=1, steps=1).resume(balanced(0).state(), done=1)


def test_settings_follow_the_size_of_the_collection() -> None:
    small, medium, large = (published_settings(n) for n in (4_000, 50_000, 1_281_167))
    assert (small.temperature, medium.temperature, large.temperature) == (0.10, 0.175, 0.12)
    assert (large.hidden, large.width, large.warmup_steps) == (2048, 1024, 2000)

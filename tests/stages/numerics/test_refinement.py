"""Training on unions of subspaces, the map as arrays against the network, and its pieces."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from clusterpipe.stages.numerics.preparation import center_of, prepare
from clusterpipe.stages.numerics.rate import membership_coding_rate
from clusterpipe.stages.numerics.refinement import (
    Step,
    alignment,
    apply_map,
    balance,
    expansion,
    is_collapsed,
    linear_network,
    map_parameters,
    parallel_analysis,
    principal_directions,
    published_network,
    published_objective,
    published_settings,
    shuffled_batches,
    sparse_objective,
    temperature_for,
    train_published,
    train_sparse,
    while_aligned,
)
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic

EPSILON_SQUARED = 0.1


def unit_rows(n: int, p: int, seed: int = 0) -> Tensor:
    z = torch.randn(n, p, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(z, dim=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- preparing, and principal directions --------------------------------------------------


def test_prepared_rows_have_unit_length_around_the_mean_direction() -> None:
    features = np.random.default_rng(0).normal(3, 1, (50, 6)).astype(np.float16)
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    center = center_of(features, unit=True)
    np.testing.assert_allclose(center, (features / lengths).mean(axis=0), atol=1e-6)
    prepared = prepare(features, center, unit=True)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(prepared, axis=1), 1, atol=1e-6)
    expected = features / lengths - center
    cosines = (prepared * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_principal_directions_equal_scikit_learns() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    rows = rows * np.arange(1, 7, dtype=np.float32)
    rows -= rows.mean(axis=0)
    ours, theirs = principal_directions(rows, 3), PCA(3).fit(rows).components_
    np.testing.assert_allclose(np.abs((ours * theirs).sum(axis=1)), 1, atol=1e-4)


def test_principal_directions_stop_at_the_rank() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(200, 3)) @ rng.normal(size=(3, 10))).astype(np.float32)
    assert principal_directions(rows, 8).shape == (3, 10)


def test_equal_rows_have_no_direction() -> None:
    with pytest.raises(ValueError, match="all rows are the same"):
        principal_directions(np.zeros((5, 3), np.float32), 2)


@pytest.mark.parametrize("components", [1, 4, 12])
def test_parallel_analysis_counts_the_components_above_the_noise(components: int) -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(60, components)))[0].T
    rows = (
        3 * rng.normal(size=(400, components)) @ directions + rng.normal(size=(400, 60))
    ).astype(np.float32)
    assert parallel_analysis(rows, seed=0) == components


def test_parallel_analysis_finds_little_in_noise_of_unequal_columns() -> None:
    """One in two leading components of noise varies more than its flipped counterpart."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(400, 60)) * rng.uniform(0.1, 3, size=60)).astype(np.float32)
    assert np.mean([parallel_analysis(rows, seed=seed) for seed in range(10)]) < 5


def test_parallel_analysis_draws_from_its_seed() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    counts = [parallel_analysis(rows, seed=seed) for seed in (*range(10), *range(10))]
    assert counts[:10] == counts[10:]


# ---- the map as arrays --------------------------------------------------------------------


def test_linear_map_starts_as_projection_on_the_principal_components() -> None:
    features = np.random.default_rng(0).normal(size=(60, 10)).astype(np.float32)
    center = center_of(features, unit=True)
    prepared = prepare(features, center, unit=True)
    directions = principal_directions(prepared, 4)
    refined = apply_map(map_parameters(linear_network(directions), center, directions), features)
    expected = prepared @ directions.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(refined, expected, atol=1e-5)


def trained_published_network(features: NDArray[np.float32], center: NDArray[np.float32]):  # type: ignore[no-untyped-def]
    """A published network whose running statistics have left their start."""
    network = published_network(features.shape[1], hidden=16, width=5, seed=0)
    rows = torch.from_numpy(prepare(features, center, unit=True))
    batches = shuffled_batches(len(rows), 32, generator())
    settings = {"epsilon_squared": EPSILON_SQUARED, "temperature": 0.2, "learning_rate": 1e-2}
    list(train_published(network, rows, batches, warmup_steps=5, steps=5, **settings))
    return network.eval()


@pytest.mark.parametrize("head", ["feature", "membership"])
def test_published_map_equals_the_network_in_evaluation_mode(head: str) -> None:
    features = np.random.default_rng(0).normal(1, 1, (100, 8)).astype(np.float32)
    center = center_of(features, unit=True)
    network = trained_published_network(features, center)
    with torch.no_grad():
        hidden = network.hidden(torch.from_numpy(prepare(features, center, unit=True)))
        expected = (
            network.features(hidden) if head == "feature" else network.membership_features(hidden)
        )
    mapped = apply_map(map_parameters(network, center), features, head=head)  # type: ignore[arg-type]
    np.testing.assert_allclose(mapped, expected.numpy(), atol=1e-5)
    alone = apply_map(map_parameters(network, center), features[:1], head=head)  # type: ignore[arg-type]
    np.testing.assert_allclose(alone, mapped[:1], atol=1e-6)


def test_published_network_is_cpps() -> None:
    network = published_network(768, hidden=64, width=16, seed=0)
    kinds = [type(layer).__name__ for layer in network.hidden]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "ReLU"]
    trunk = 768 * 64 + 64 + 2 * 64 + 64 * 64 + 64
    assert sum(p.numel() for p in network.parameters()) == trunk + 2 * (64 * 16 + 16)


def test_network_is_drawn_from_its_seed_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (published_network(4, hidden=3, width=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.hidden[0].weight, again.hidden[0].weight)
    assert not torch.equal(first.hidden[0].weight, other.hidden[0].weight)


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


def test_sparse_objective_equals_the_published_when_every_neighbour_is_kept() -> None:
    """But for the regulariser, and rows in the place of columns of the (nearly symmetric) Pi."""
    z = unit_rows(20, 6)
    sparse = sparse_objective(
        z, epsilon_squared=EPSILON_SQUARED, temperature=0.15, neighbours=99, weight=1.0
    )
    pi = doubly_stochastic((z @ z.T).abs(), temperature=0.15, half_steps=5)
    dense = membership_coding_rate(z, pi, epsilon_squared=EPSILON_SQUARED)
    torch.testing.assert_close(sparse.membership_rate, dense)
    torch.testing.assert_close(sparse.loss, sparse.membership_rate - sparse.rate)


def test_balance_makes_both_forces_equal_in_strength() -> None:
    z = torch.nn.Parameter(unit_rows(40, 6))
    objective = partial(
        sparse_objective, epsilon_squared=EPSILON_SQUARED, temperature=0.15, neighbours=5
    )
    weight = balance(objective(z), [z])
    (push,) = torch.autograd.grad(objective(z).rate, z)
    (pull,) = torch.autograd.grad(weight * objective(z).membership_rate, z)
    assert float(push.norm()) == pytest.approx(float(pull.norm()), rel=1e-4)
    assert weight > 1


def test_balance_of_a_force_that_is_not_there() -> None:
    """In one dimension every unit row stays where it is."""
    z = torch.nn.Parameter(torch.tensor([[1.0], [-1.0]]))
    unit = torch.nn.functional.normalize(z, dim=1)
    terms = sparse_objective(unit, epsilon_squared=0.1, temperature=0.15, neighbours=2)
    assert balance(terms, [z]) == 1.0


def test_alignment_is_that_of_the_centred_cosine_matrices() -> None:
    first, second = unit_rows(30, 6), unit_rows(30, 4, seed=1)
    centring = np.eye(30) - 1 / 30
    k, other = (centring @ (z @ z.T).double().numpy() @ centring for z in (first, second))
    expected = (k * other).sum() / (np.linalg.norm(k) * np.linalg.norm(other))
    assert alignment(first, second) == pytest.approx(expected, rel=1e-4)


def test_turning_and_shifting_keep_the_alignment() -> None:
    z, turn = unit_rows(30, 6), torch.linalg.qr(unit_rows(6, 6, seed=1)).Q
    assert alignment(z, z @ turn + 1) == pytest.approx(1)
    assert alignment(torch.ones(5, 3), torch.ones(5, 3)) == 1.0


def test_expansion_is_the_rate_alone() -> None:
    terms = expansion(unit_rows(20, 6), epsilon_squared=EPSILON_SQUARED)
    assert float(terms.loss) == -float(terms.rate)
    assert math.isnan(float(terms.membership_rate))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_temperature_gives_the_wanted_diagonal_share(share: float) -> None:
    z = unit_rows(200, 32)
    temperature = temperature_for(z, diagonal_share=share)
    pi = doubly_stochastic((z @ z.T).abs(), temperature=temperature, half_steps=5)
    assert float(pi.diagonal().median()) == pytest.approx(share, rel=0.05)


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


def trained(seed: int) -> list[Step]:
    rows = unit_rows(100, 8)
    network = linear_network(np.eye(8, dtype=np.float32))
    return list(
        train_sparse(
            network,
            rows,
            shuffled_batches(100, 32, generator(seed)),
            max_steps=8,
            retain=0.0,
            epsilon_squared=EPSILON_SQUARED,
            temperature=0.3,
            neighbours=6,
            compression=1.0,
            learning_rate=1e-2,
        )
    )


def test_training_stops_once_the_features_have_turned_too_far() -> None:
    """A circle squeezed along one axis by s has alignment (1 + s^2) / sqrt(2 (1 + s^4))."""
    circle = torch.linspace(0, 2 * math.pi, 13)[:-1]
    z = torch.stack([circle.cos(), circle.sin()], dim=1)
    scale = torch.ones(2)

    def squeeze() -> Iterator[Step]:
        while True:
            scale[1] *= 0.8
            yield Step(0.0, 0.0, 0.0)

    def expected(s: float) -> float:
        return (1 + s**2) / math.sqrt(2 * (1 + s**4))

    assert expected(0.8**2) > 0.9 > expected(0.8**3)
    assert len(list(while_aligned(squeeze(), lambda: z * scale, retain=0.9))) == 3


def test_same_seed_same_steps() -> None:
    assert trained(0) == trained(0)
    assert trained(0) != trained(1)


def test_settings_follow_the_size_of_the_collection() -> None:
    small, medium, large = (published_settings(n) for n in (4_000, 50_000, 1_281_167))
    assert (small.temperature, medium.temperature, large.temperature) == (0.10, 0.175, 0.12)
    assert (large.hidden, large.width, large.warmup_steps) == (2048, 1024, 2000)

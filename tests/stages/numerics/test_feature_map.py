"""The map as arrays against the network it was trained as."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clusterpipe.stages.numerics.feature_map import (
    apply_map,
    linear_network,
    map_parameters,
    published_network,
)
from clusterpipe.stages.numerics.preparation import center_of, prepare, principal_directions
from clusterpipe.stages.numerics.refinement import shuffled_batches, train_published

EPSILON_SQUARED = 0.1


def test_linear_map_starts_as_projection_on_the_principal_components() -> None:
    features = np.random.default_rng(0).normal(size=(60, 10)).astype(np.float32)
    center = center_of(features, unit=True)
    prepared = prepare(features, center, unit=True)
    directions = principal_directions(prepared, 4).T
    refined = apply_map(map_parameters(linear_network(4), center, directions), features)
    expected = prepared @ directions.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(refined, expected, atol=1e-5)


def trained_published_network(features: NDArray[np.float32], center: NDArray[np.float32]):  # type: ignore[no-untyped-def]
    """A published network whose running statistics have left their start."""
    network = published_network(features.shape[1], hidden=16, width=5, seed=0)
    rows = torch.from_numpy(prepare(features, center, unit=True))
    batches = shuffled_batches(len(rows), 32, torch.Generator().manual_seed(0))
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


def test_logits_of_groups_start_where_they_are_told() -> None:
    centres = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    network = linear_network(5, groups=centres)
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.membership_head(rows), rows @ torch.from_numpy(centres).T)
    assert network.membership_head is not network.feature_head

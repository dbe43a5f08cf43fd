"""A trained network and its plain arrays are the same function."""

import numpy as np
import pytest
import torch

from clusterpipe.stages.numerics.perceptron import logits, perceptron, plain_layers

ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


@pytest.mark.parametrize("layers", [2, 5])
def test_the_folded_layers_are_the_network_in_evaluation(layers: int) -> None:
    network = perceptron(6, 3, layers=layers, width=8, seed=1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(20):
        loss = (
            network(torch.from_numpy(ROWS)).square().sum() - network(torch.from_numpy(ROWS)).sum()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    plain = plain_layers(network)
    assert plain.middle.shape == (layers - 2, 8, 8)
    with torch.no_grad():
        expected = network(torch.from_numpy(ROWS)).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(logits(ROWS, plain), expected, rtol=1e-3, atol=1e-5)


def test_the_seed_decides_the_weights_and_the_global_generator_does_not() -> None:
    first = plain_layers(perceptron(6, 3, layers=5, width=8, seed=1))
    torch.manual_seed(5)
    np.testing.assert_array_equal(
        plain_layers(perceptron(6, 3, layers=5, width=8, seed=1)).last, first.last
    )
    assert (plain_layers(perceptron(6, 3, layers=5, width=8, seed=2)).last != first.last).any()
    assert np.abs(first.weight).max() <= 0.04

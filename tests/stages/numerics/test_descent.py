"""A step of descent against one done by hand."""

import torch

from clusterpipe.stages.numerics.descent import descend


def test_each_step_follows_its_own_gradient_alone() -> None:
    x = torch.tensor([3.0, -1.0], requires_grad=True)
    optimiser = torch.optim.SGD([x], lr=0.1)
    for expected in ([2.4, -0.8], [1.92, -0.64]):  # x - 0.1 * 2 x, twice
        descend(optimiser, x.square().sum())
        torch.testing.assert_close(x.detach(), torch.tensor(expected))

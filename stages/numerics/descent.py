"""One step of gradient descent, as every head that is trained takes it."""

import torch
from torch import Tensor
from torch.optim import Optimizer


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """One step of the optimiser down the gradient of `loss` (); earlier gradients do not count."""
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()

"""Doubly stochastic membership: which samples belong together, by entropic optimal transport."""

import torch
from torch import Tensor


def doubly_stochastic(similarity: Tensor, *, temperature: float, half_steps: int) -> Tensor:
    """Membership Pi from similarities: rows sum to 1, columns nearly so.

    Entropic optimal transport with cost -similarity and equal marginals, in the log domain: row
    and column normalisations alternate, `half_steps` of them in all, and the last is one of rows
    (5 in CPP: three of rows, two of columns). As in CPP, the column potentials are held fixed in
    the gradient.

    similarity: (b, b), |Y Y^T| in CPP, in [0, 1]; temperature: > 0, CPP uses 0.1 to 0.175: the
    smaller, the more of a row stays on its largest entry. Returns (b, b) in float32 or better.
    CPP section 3.2; Sinkhorn (1964), Cuturi (2013).
    """
    if temperature <= 0 or half_steps < 1:
        raise ValueError("temperature must be above 0 and half_steps at least 1")
    similarity = torch.as_tensor(similarity)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"similarity must be (b, b), not {tuple(similarity.shape)}")
    scores = similarity.to(torch.promote_types(similarity.dtype, torch.float32)) / temperature
    return (scores + _column_potential(scores.detach(), half_steps)).softmax(dim=1)


def _column_potential(scores: Tensor, half_steps: int) -> Tensor:
    """(b,) what to add to each column before the last normalisation of rows."""
    row, column = torch.zeros_like(scores[:, 0]), torch.zeros_like(scores[0])
    for remaining in range(half_steps - 1, 0, -1):
        if remaining % 2:
            column = -(scores + row[:, None]).logsumexp(dim=0)
        else:
            row = -(scores + column).logsumexp(dim=1)
    return column

"""Coding rates of unit vectors: how many nats it takes to store them up to a given distortion.

Notation: z (n, p) holds one unit row per sample, membership (g, n) one soft group per row,
epsilon squared is the squared distortion allowed (0.1 in CPP). All results are 0-d tensors in
nats, on the device of z, in float32 or better (half precision is promoted, autocast is switched
off), and differentiable once.

Sources: Ma, Derksen, Hong and Wright (2007), "Segmentation of multivariate mixed data via lossy
data coding and compression"; Yu et al. (2020), "Maximal coding rate reduction"; Chu et al. (2024),
"Image clustering via the principle of rate reduction in the age of pretrained models" (CPP).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")

TOTAL_FLOOR = 1e-8  # added to every group's total membership, so that an empty group costs 0 nats
OUTER_PRODUCT_ENTRIES = 2**24  # outer products formed at a time: 64 MiB in float32


def _in_full_precision(rate: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Keeps autocast from running the Gram matrices of `rate` in half precision."""

    @wraps(rate)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return rate(*args, **kwargs)

    return wrapper


@_in_full_precision
def coding_rate(z: Tensor, *, epsilon_squared: float) -> Tensor:
    """R(Z) = 1/2 logdet(I + p/(n eps^2) Z^T Z), the rate of all samples as one group.

    z: (n, p). Returns nats per sample, at least 0. CPP eq. 1.
    """
    z = _samples(z)
    n, p = z.shape
    gram = z.T @ z if p <= n else z @ z.T
    return log_det_identity_plus(gram * (p / (n * epsilon_squared))) / 2


@_in_full_precision
def membership_coding_rate(z: Tensor, membership: Tensor, *, epsilon_squared: float) -> Tensor:
    """R_c(Z, Pi), the rate when each soft group is coded by itself.

    Sum over groups j of t_j/(2n) logdet(I + p/(t_j eps^2) Z^T Diag(Pi_j) Z), where t_j is the total
    of row j. z: (n, p); membership: (g, n), non-negative; in CPP every sample is a group (g = n)
    and rows sum to 1. Returns nats per sample, at least 0. CPP eq. 5.
    """
    z, membership = _together(z, membership)
    n, p = z.shape
    if membership.ndim != 2 or membership.shape[1] != n:
        raise ValueError(f"membership must be (g, {n}), not {tuple(membership.shape)}")
    total = membership.sum(dim=1) + TOTAL_FLOOR
    scale = p / (total * epsilon_squared)
    if p <= n:
        log_det = log_det_identity_plus(scale[:, None, None] * _group_grams(z, membership))
    else:
        log_det = log_det_identity_plus(z @ z.T, scale[:, None] * membership)
    return (total * log_det).sum() / (2 * n)


@_in_full_precision
def sparse_membership_coding_rate(
    z: Tensor, support: Tensor, weights: Tensor, *, epsilon_squared: float
) -> Tensor:
    """R_c(Z, Pi) for groups that hold only s samples each: g determinants of s x s.

    z: (n, p); support: (g, s), the samples of each group, no sample twice in a row; weights:
    (g, s), their membership, every other entry being 0. Equals `membership_coding_rate` of the
    dense membership by Sylvester's identity logdet(I + A B) = logdet(I + B A). Returns nats.
    """
    z, weights = _together(z, weights)
    if support.shape != weights.shape or support.ndim != 2:
        raise ValueError(f"support is {tuple(support.shape)}, weights {tuple(weights.shape)}")
    n, p = z.shape
    total = weights.sum(dim=1) + TOTAL_FLOOR
    scale = p / (total * epsilon_squared)
    members = z.index_select(0, support.flatten()).view(*support.shape, p)  # deterministic backward
    log_det = log_det_identity_plus(members @ members.mT, scale[:, None] * weights)
    return (total * log_det).sum() / (2 * n)


@_in_full_precision
def partition_coding_length(z: Tensor, labels: Tensor, *, epsilon_squared: float) -> Tensor:
    """L(Z, labels), the nats that store all samples when each cluster is coded by itself.

    Sum over clusters of (m_k + p)/2 logdet(I + p/(m_k eps^2) Z_k^T Z_k) - m_k log(m_k/n): the
    samples and their subspace, then the labels. z: (n, p); labels: (n,) integers, each distinct
    value one cluster. Returns nats for the whole collection (not per sample). Ma et al. eq. 12
    without its mean term, as CPP uses it to choose the number of clusters.
    """
    z = _samples(z)
    labels = torch.as_tensor(labels, device=z.device)
    if labels.shape != z.shape[:1]:
        raise ValueError(f"labels must be ({len(z)},), not {tuple(labels.shape)}")
    _, cluster = torch.unique(labels, return_inverse=True)
    ends = cluster.bincount().cumsum(dim=0)[:-1].cpu()
    clusters = z[cluster.argsort()].tensor_split(ends)
    lengths = [_cluster_coding_length(c, len(z), epsilon_squared) for c in clusters]
    return torch.stack(lengths).sum()


def _cluster_coding_length(z: Tensor, n: int, epsilon_squared: float) -> Tensor:
    m, p = z.shape
    rate = coding_rate(z, epsilon_squared=epsilon_squared)
    return (m + p) * rate + m * torch.tensor(n / m, dtype=z.dtype, device=z.device).log()


def _group_grams(z: Tensor, membership: Tensor) -> Tensor:
    """Z^T Diag(Pi_j) Z of every group, (g, p, p), as one matrix product per block of samples."""
    n, p = z.shape
    block = max(1, OUTER_PRODUCT_ENTRIES // p**2)
    grams = z.new_zeros(len(membership), p * p)
    for start in range(0, n, block):
        rows = z[start : start + block]
        outer = (rows[:, :, None] * rows[:, None, :]).reshape(-1, p * p)
        grams = grams + membership[:, start : start + block] @ outer
    return grams.reshape(-1, p, p)


def log_det_identity_plus(gram: Tensor, weight: Tensor | None = None) -> Tensor:
    """logdet(I + W^(1/2) G W^(1/2)) by Cholesky, batched over leading dimensions.

    gram: (..., s, s), positive semidefinite; weight: (..., s), non-negative, 1 when left out; the
    leading dimensions broadcast. Returns (...). Differentiable once, at weight 0 too, and several
    times cheaper than differentiating the Cholesky factor.
    """
    if weight is None:
        weight = torch.ones(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.as_tensor(_LogDetIdentityPlus.apply(gram, weight))


class _LogDetIdentityPlus(torch.autograd.Function):
    """With B = W^(1/2) (I + W^(1/2) G W^(1/2))^-1 W^(1/2): d/dG = B and d/dw = diag(G - G B G)."""

    @staticmethod
    def forward(ctx: Any, gram: Tensor, weight: Tensor) -> Tensor:
        root = weight.sqrt()
        matrix = root[..., :, None] * gram * root[..., None, :]
        matrix.diagonal(dim1=-2, dim2=-1).add_(1)
        factor: Tensor = torch.linalg.cholesky(matrix)
        ctx.save_for_backward(gram, root, factor)
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None]:
        gram, root, factor = ctx.saved_tensors
        inverse = torch.cholesky_inverse(factor)
        b = root[..., :, None] * inverse * root[..., None, :]
        along_gram = (upstream[..., None, None] * b).sum_to_size(gram.shape)
        if not ctx.needs_input_grad[1]:
            return along_gram, None
        slope = gram.diagonal(dim1=-2, dim2=-1) - ((gram @ b) * gram).sum(dim=-1)
        return along_gram, (upstream[..., None] * slope).sum_to_size(root.shape)


def _samples(z: Tensor) -> Tensor:
    """z as a floating matrix of at least float32; arrays are welcome."""
    z = torch.as_tensor(z)
    if z.ndim != 2 or len(z) == 0:
        raise ValueError(f"z must be (n, p) with n > 0, not {tuple(z.shape)}")
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _together(z: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """Samples and membership in the wider of their precisions."""
    z, membership = _samples(z), torch.as_tensor(membership)
    dtype = torch.promote_types(z.dtype, membership.dtype)
    return z.to(dtype), membership.to(z.device, dtype)

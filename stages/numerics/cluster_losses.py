"""Losses of soft cluster assignments: pairs agree, are sure, and leave no cluster empty.

Rows of p and q are probabilities of k clusters, (b, k), of two pictures of the same thing each.
Formulas: SCP (Li et al., arXiv 2502.04226), equations 3 to 6, reconstructed; the prior is ours.
"""

from torch import Tensor

LEAST = 1e-8  # no probability counts as less


def consistency_loss(p: Tensor, q: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Mean cross-entropy between the two rows of each pair, in nats; each is the other's target.

    -(1/2b) sum_i w_i sum_k (p_ik log q_ik + q_ik log p_ik), with weights of 1 at least the mean
    entropy of the rows. No gradient flows through the targets: rows are to be alike, and that they
    be sure is left to `confidence_loss`.
    """
    crossed = p.detach() * q.clamp_min(LEAST).log() + q.detach() * p.clamp_min(LEAST).log()
    return -(weight * crossed.sum(dim=1)).mean() / 2


def confidence_loss(p: Tensor, q: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Mean of -w_i log(p_i . q_i): 0 where both rows of a pair put all weight on one cluster."""
    return -(weight * (p * q).sum(dim=1).clamp_min(LEAST).log()).mean()


def balance_loss(p: Tensor, prior: Tensor) -> Tensor:
    """KL divergence of the mean row of p from `prior` (k,), in nats; 0 where they are equal.

    With equal shares as prior this is log k less the entropy of the mean row.
    """
    mean = p.mean(dim=0).clamp_min(LEAST)
    return (mean * (mean / prior.clamp_min(LEAST)).log()).sum()


def distillation_loss(
    student: Tensor, teacher: Tensor, weight: Tensor, prior: Tensor, *, beta: float
) -> Tensor:
    """TEMI's loss of h heads: the mean over pairs of -w log sum_k (p_s p_t)^beta / prior, (h,).

    student, teacher: (h, b, k) probabilities of the two rows of each pair; weight: (b,) how likely
    a pair is one thing; prior: (h, k) shares of the clusters. Adaloglou et al., BMVC 2023.
    """
    likeness = (student * teacher).clamp_min(LEAST**2).pow(beta) / prior[:, None].clamp_min(LEAST)
    return -(weight * likeness.sum(dim=2).log()).mean(dim=1)


def pair_likelihood(first: Tensor, second: Tensor) -> Tensor:
    """TEMI's weight of each pair, (b,): the mean over heads of sum_k p(k | x) p(k | x').

    first, second: (h, b, k) of the teachers.
    """
    return (first * second).sum(dim=2).mean(dim=0)

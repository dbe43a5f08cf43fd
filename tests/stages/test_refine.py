"""refine on unions of subspaces of known structure, on hostile input, and as a declared stage."""

import math

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.refine import RefineConfig

SMALL_PAPER = RefineConfig(preset="paper", hidden=64, width=16, epochs=20, learning_rate=3e-3)


def subspaces(
    n: int = 600, *, k: int = 6, d: int = 48, rank: int = 3, noise: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows near k random subspaces, off the origin as real features are, and their subspaces."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    bases = np.linalg.qr(rng.normal(size=(k, d, rank)))[0]
    means = np.einsum("kdr,kr->kd", bases, rng.normal(size=(k, rank)))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    inside = np.einsum("ndr,nr->nd", bases[labels], rng.normal(size=(n, rank)) / 2)
    rows = means[labels] + inside + noise * rng.normal(size=(n, d)) / math.sqrt(d)
    return (rows + rng.normal(size=d) / 2).astype(np.float32), labels

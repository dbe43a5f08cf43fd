"""CPP's criterion: its lengths against those of `rate`, and where it counts right."""

import numpy as np
import pytest
import torch

from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.published_count import published_curve, published_lengths
from clusterpipe.stages.numerics.rate import partition_coding_length
from clusterpipe.stages.numerics.sinkhorn import doubly_stochastic
from clusterpipe.stages.numerics.spectral import spectral_partitions


def subspaces(k: int, size: int, *, d: int, noise: float) -> np.ndarray:
    """Unit rows near k random planes."""
    rng = np.random.default_rng(0)
    bases = np.linalg.qr(rng.normal(size=(k, d, 2)))[0]
    inside = unit_rows(rng.normal(size=(k * size, 2))).reshape(k, size, 2)
    rows = np.einsum("kdr,ksr->ksd", bases, inside).reshape(-1, d)
    return unit_rows(rows + noise * unit_rows(rng.normal(size=rows.shape)))


def test_lengths_are_those_that_cpp_defines() -> None:
    rows = subspaces(4, 40, d=12, noise=0.2)
    z = torch.from_numpy(rows).double()
    pi = doubly_stochastic((z @ z.T).abs(), temperature=0.15, half_steps=5)
    found = published_lengths(rows, [1, 2, 4, 9])
    for length, k in zip(found, [1, 2, 4, 9], strict=True):
        label = torch.from_numpy(spectral_partitions(pi, [k], seed=0, restarts=3)[k])
        expected = float(partition_coding_length(z, label, epsilon_squared=0.1))
        assert length == pytest.approx(expected, rel=1e-5)


def test_counts_large_clusters_far_apart() -> None:
    curve = published_curve(subspaces(6, 120, d=24, noise=0.15), largest=20)
    assert curve.k == 6
    assert curve.interval() == (6, 6)
    assert curve.candidate[0] == 1
    assert curve.candidate[-1] == 20


def test_one_subspace_is_one_cluster() -> None:
    assert published_curve(subspaces(1, 200, d=16, noise=0.2), largest=12).k == 1


def test_progress_hears_of_every_draw() -> None:
    heard: list[int] = []
    published_curve(subspaces(2, 30, d=8, noise=0.1), largest=4, restarts=2, done=heard.append)
    assert heard == [1, 1]

"""Mutual neighbours against a count by hand, and where their curve bends."""

import numpy as np

from clusterpipe.stages.numerics.mutual_neighbours import bends, mutual_pairs, structureless
from clusterpipe.stages.numerics.preparation import unit_rows


def clusters(k: int, size: int, *, d: int = 32, noise: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(0)
    centre = np.repeat(unit_rows(rng.normal(size=(k, d))), size, axis=0)
    return unit_rows(centre + noise * rng.normal(size=centre.shape) / np.sqrt(d))


def test_counts_mutual_pairs_as_by_hand() -> None:
    rows = unit_rows(np.random.default_rng(1).normal(size=(30, 5)))
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, np.inf)
    rank = np.argsort(np.argsort(-cosine, axis=1), axis=1)
    mutual = np.maximum(rank, rank.T)
    np.fill_diagonal(mutual, 99)
    by_hand = [(mutual <= r).sum(axis=1).mean() for r in range(30)]
    np.testing.assert_allclose(mutual_pairs(rows, np.arange(30)), by_hand, atol=0.1)


def test_a_sample_of_pairs_tells_about_the_same() -> None:
    rows = clusters(20, 40)
    probe = np.sort(np.random.default_rng(0).permutation(800)[:400])
    all_pairs, some = mutual_pairs(rows, np.arange(800)), mutual_pairs(rows, probe)
    np.testing.assert_allclose(some[20:], all_pairs[20:], rtol=0.05)


def test_the_curve_bends_most_at_the_size_of_a_cluster() -> None:
    candidate = np.array([2, 5, 10, 14, 20, 28, 40, 80])
    found, _, _ = bends(clusters(20, 40), candidate, probes=800, random=np.random.default_rng(0))
    assert candidate[found.bend.mean(axis=0)[1].argmax()] == 20
    assert (found.noise > 0).all()


def test_what_is_structureless_keeps_mean_and_covariance() -> None:
    rows = clusters(3, 2000, d=8)
    drawn = structureless(rows, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), rows.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(rows.T), atol=0.05)

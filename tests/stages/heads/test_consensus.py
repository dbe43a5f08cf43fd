"""Consensus: what it agrees on, who has a say, what is stored."""

from itertools import combinations

import numpy as np
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.schema import Assignment
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads import load
from clusterpipe.stages.heads.consensus import ConsensusClusters
from clusterpipe.stages.numerics.metrics import shared_labels

K = 4
TRUTH = np.arange(240) % K


def rows(noise: float = 1.2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray(3 * np.eye(K, 12)[TRUTH] + noise * rng.normal(size=(240, 12)), np.float32)


def agreed(*members: str, seeds: int = 3) -> Assignment:
    config = AssignConfig(methods=("consensus", *members), seeds=seeds, restarts=1)
    return assign(rows(), K, config).methods["consensus"]


def model(found: Assignment) -> ConsensusClusters:
    return load(found).model  # type: ignore[no-any-return]


def test_images_are_as_near_as_members_put_them_together() -> None:
    found = model(agreed("kmeans", "spectral", seeds=1))
    labels = [m.head.soft(rows()).argmax(axis=1) for m in found.members]
    together = np.mean([one[:, None] == one for one in labels], axis=0)
    places = np.hstack([np.eye(K)[one] for one in labels]) * found.weight
    np.testing.assert_allclose(places @ places.T, together, atol=1e-6)


def test_a_seed_leaves_its_own_members_out() -> None:
    found = agreed("kmeans", "spectral")
    chosen = int(found.objective_per_seed.argmin())
    silent = [m.seed for m in model(found).members for _ in range(K)]
    np.testing.assert_array_equal(model(found).weight == 0, np.array(silent) == chosen)


def test_it_agrees_with_members_more_than_they_with_one_another_and_is_as_sure() -> None:
    found = agreed("kmeans", "spherical-kmeans", "spectral")
    labels = [m.head.soft(rows()).argmax(axis=1) for m in model(found).members]
    among = np.mean([adjusted_rand_score(a, b) for a, b in combinations(labels, 2)])
    assert among < np.mean([adjusted_rand_score(found.label, one) for one in labels]) < 1
    shared = np.mean([shared_labels(found.label, one) for one in labels])
    assert abs(found.probability.mean() - shared) < 0.02


def test_what_members_share_is_stored_once_and_all_comes_back() -> None:
    found = agreed("spectral")
    assert sum(name.endswith("=landmark") for name in found.parameters) == 1
    members = model(found).members
    assert [m.seed for m in members] == [0, 1, 2]
    assert all(m.head.model.landmark.shape == (240, 12) for m in members)

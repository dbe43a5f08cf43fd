"""Choosing among fits without labels: what linear probes miss of each."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterpipe.stages.heads import Training
from clusterpipe.stages.heads.probing import most_typical, probe_errors, probed
from clusterpipe.stages.heads.protocol import Common

K, N = 3, 300
TRUTH = np.arange(N) % K


def rows() -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=(N, 6))
    return np.asarray(2 * np.eye(K, 6)[TRUTH] + 0.3 * noise, np.float32)


def mixed(share: float) -> NDArray[np.int64]:
    """The truth, but for a share of the rows, whose labels are dealt out again at random."""
    rng, label = np.random.default_rng(1), TRUTH.copy()
    dealt = rng.random(N) < share
    label[dealt] = rng.permutation(label[dealt])
    return label


@dataclass(frozen=True)
class Known:
    """A model that knows the label of every row."""

    label: NDArray[np.int64]
    temperature: float = 1.0
    centroid: ClassVar[NDArray[np.float32]] = np.zeros((K, 6), np.float32)

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.eye(K)[self.label[: len(z)]], np.float32)


def test_a_labelling_is_missed_as_far_as_it_does_not_follow_from_the_rows() -> None:
    none, some, all_ = probe_errors([mixed(s) for s in (0, 0.3, 1)], Training.of(rows()), 0)
    assert none == pytest.approx(0, abs=0.01)
    assert some == pytest.approx(0.3, abs=0.12)
    assert all_ == pytest.approx(1, abs=0.15)


def test_numbers_of_clusters_do_not_matter() -> None:
    label = mixed(0.2)
    twice = probe_errors([label, 7 - 3 * label], Training.of(rows()), 0)
    assert twice[0] == pytest.approx(twice[1])


def test_errors_are_the_mean_over_spaces() -> None:
    one, noise = rows(), np.random.default_rng(2).normal(size=(N, 4)).astype(np.float32)
    both = Training(np.hstack([one, noise]), (6, 4))
    apart = [probe_errors([TRUTH], Training.of(space), 0)[0] for space in (one, noise)]
    assert probe_errors([TRUTH], both, 0)[0] == pytest.approx(np.mean(apart), abs=1e-6)


def test_the_fit_that_probes_miss_least_of_is_chosen() -> None:
    models = [Known(mixed(share)) for share in (0.5, 0.1, 0.3)]
    fits = probed(models, Training.of(rows(), Common(temperature=0.5)), 0)
    assert fits.chosen == 1 == fits.objective.argmin()
    assert fits.objective.argsort().tolist() == [1, 2, 0]
    assert [model.temperature for model in fits.models] == [0.5] * 3


def test_where_probes_cannot_tell_fits_apart_the_most_typical_is_chosen() -> None:
    usual, odd = mixed(0), mixed(0.5)
    errors = np.array([0.0102, 0.0101, 0.0100])  # of 300 rows: a standard error is 0.006
    assert most_typical([usual, usual, odd], errors, K) == 1
    assert most_typical([usual, odd, odd], errors, K) == 2
    assert most_typical([usual, usual, odd], errors * [5, 5, 1], K) == 2
    assert most_typical([usual, odd], errors[:2], K) == 1
    assert most_typical([usual], errors[:1], K) == 0


def test_a_collapsed_fit_is_not_chosen_however_easy_it_is_to_learn() -> None:
    one, errors = np.zeros(N, np.int64), np.array([0.0, 0.3, 0.2])
    assert most_typical([one, mixed(0.3), mixed(0.2)], errors, K) == 2
    assert most_typical([one, one], errors[:2], K) == 0

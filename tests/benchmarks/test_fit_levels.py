"""Weights fitted on samples whose evidence is known, and left out where a set is shared."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from fit_levels import Sample, fitted, left_out

from clusterpipe.stages.numerics.class_levels import Evidence, levels_of

NUMBER = np.array([1, 2, 3, 4, 6, 8, 11, 16, 23, 32])


def sample(name: str, k: int, *, told: float) -> Sample:
    """Evidence that peaks at `told` times the true number, beside a term of noise."""
    random = np.random.default_rng([k, *name.encode()])
    peak = -np.abs(np.log(NUMBER / (k * told)))
    term = np.column_stack([peak, random.normal(size=len(NUMBER)), NUMBER == 1])
    evidence = Evidence(NUMBER, term, np.zeros(len(NUMBER)), np.zeros(len(NUMBER)))
    return Sample(f"{name}{k}", frozenset({name}), k, 1.0, evidence)


TRUE = [sample(name, k, told=1) for name in "abcdef" for k in (1, 3, 4, 6, 8, 11, 16)]


def test_what_peaks_at_the_truth_gets_the_weight_and_noise_gets_little() -> None:
    peak, noise, _ = fitted(TRUE)
    assert peak > 1
    assert abs(noise) < peak / 5
    assert all(levels_of(one.evidence, fitted(TRUE)).k == one.k for one in TRUE)


def test_a_set_is_judged_by_weights_that_never_saw_it() -> None:
    """What misleads on one set, and serves on the others, misleads where that set is left out."""
    misled = [sample("misled", k, told=4) for k in (3, 4, 6)]
    found = left_out([*TRUE, *misled], misled)
    weights = fitted(TRUE)
    for one in misled:
        (levels,) = found[one.name]
        np.testing.assert_allclose(
            levels.probability, levels_of(one.evidence, weights).probability, atol=0.02
        )
        assert levels.k > 2 * one.k

import numpy as np
import pytest
from scipy.special import softmax

from clusterpipe.stages.numerics.temperature import calibrated_temperature, mean_agreement

SCORE = np.random.default_rng(0).normal(size=(300, 6))


def mean_probability(temperature: float) -> float:
    return float(softmax(SCORE / temperature, axis=1).max(axis=1).mean())


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_gives_the_confidence_asked_for(scale: float) -> None:
    temperature = calibrated_temperature(mean_probability, 0.7, scale=scale)
    assert mean_probability(temperature) == pytest.approx(0.7, abs=0.005)


def test_stays_within_its_bounds() -> None:
    assert calibrated_temperature(mean_probability, 0.01, scale=2.0) == pytest.approx(20)
    assert calibrated_temperature(mean_probability, 1.1, scale=2.0) == pytest.approx(2e-4)


def test_agreement_is_the_mean_share_of_rows_under_the_best_match() -> None:
    label = np.array([0, 0, 0, 1, 1, 1])
    renamed, half = 1 - label, np.array([0, 0, 1, 1, 0, 0])
    assert mean_agreement(label, [renamed]) == 0.99
    assert mean_agreement(label, [half, renamed]) == pytest.approx((0.5 + 1) / 2)
    assert mean_agreement(label, []) == 0.99

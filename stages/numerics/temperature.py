"""Temperature of a soft assignment: as sure as independent fits agree."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq

from clusterpipe.stages.numerics.metrics import Labels, shared_labels

SUREST = 0.99


def mean_agreement(label: Labels, others: Sequence[Labels]) -> float:
    """The mean share of rows on which other labellings (n,) agree with this one; <= 0.99.

    Clusters are matched one to one. 0.99 if there are no others. Ours.
    """
    shared = [shared_labels(label, other) for other in others]
    return min(float(np.mean(shared)), SUREST) if shared else SUREST


def calibrated_temperature(
    mean_probability: Callable[[float], float], confidence: float, *, scale: float
) -> float:
    """The temperature at which labels have `confidence` as mean probability.

    mean_probability: from a temperature to the mean of the rows' largest probabilities, falling.
    confidence: between 1/k and 1. The answer lies between 1e-4 and 10 times `scale`, and is the
    nearer end where no temperature will do. Ours.
    """

    def excess(exponent: float) -> float:
        return mean_probability(scale * 10**exponent) - confidence

    low, high = -4.0, 1.0
    if excess(low) <= 0:
        return scale * 10**low
    if excess(high) >= 0:
        return scale * 10**high
    return scale * 10 ** float(brentq(excess, low, high, xtol=1e-3))

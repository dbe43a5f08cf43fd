"""One temperature for the models of all seeds, given or found."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

CALIBRATION_ROWS = 10_000


def calibrated(
    models: Sequence[Any],
    labels: Sequence[NDArray[np.int64]],
    chosen: int,
    z: NDArray[np.float32],
    *,
    temperature: float,
    scale: float,
) -> tuple[Any, ...]:
    """The models with `temperature`; for 0 the one that makes the chosen as sure as seeds agree.

    labels: of the rows z (n, d) by each model; scale: what the temperature is measured against.
    """
    from clusterpipe.stages.numerics.temperature import (
        agreement_with_others,
        calibrated_temperature,
    )

    part = z[:: -(-len(z) // CALIBRATION_ROWS)]

    def mean_probability(value: float) -> float:
        return float(replace(models[chosen], temperature=value).soft(part).max(axis=1).mean())

    found = temperature or calibrated_temperature(
        mean_probability, agreement_with_others(labels, chosen), scale=scale
    )
    return tuple(replace(model, temperature=found) for model in models)

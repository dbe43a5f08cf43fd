"""The temperature of a soft assignment, given or found."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

CALIBRATION_ROWS = 10_000


def calibration_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most 10,000 of the rows (n, d), evenly spread."""
    return rows[:: -(-len(rows) // CALIBRATION_ROWS)]


def temperature_of(
    soft_at: Callable[[float], NDArray[np.float32]],
    labels: Sequence[NDArray[np.int64]],
    chosen: int,
    *,
    given: float,
    scale: float,
) -> float:
    """The temperature `given`, or for 0 the one that makes labels as sure as seeds agree.

    soft_at: from a temperature to the chosen model's probabilities (m, k) of some rows; labels: by
    each seed (n,); scale: what the temperature is measured against.
    """
    from clusterpipe.stages.numerics.temperature import (
        agreement_with_others,
        calibrated_temperature,
    )

    if given:
        return given
    return calibrated_temperature(
        lambda value: float(soft_at(value).max(axis=1).mean()),
        agreement_with_others(labels, chosen),
        scale=scale,
    )

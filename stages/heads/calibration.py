"""The temperature of a soft assignment, given or found."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.heads.protocol import labelled

CALIBRATION_ROWS = 10_000


def probabilities(logits: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """The softmax of each row of logits (b, k) over the temperature; rows sum to 1."""
    from scipy.special import softmax

    return np.asarray(softmax(logits / np.float32(temperature), axis=1), np.float32)


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


def calibrated(
    models: Sequence[Any], chosen: int, z: NDArray[np.float32], *, given: float
) -> list[Any]:
    """Models of temperature 1, one per seed, at that of `temperature_of` for prepared rows (n, d).

    A model is a frozen dataclass with a field `temperature`, which divides its logits.
    """
    part = calibration_rows(z)
    temperature = temperature_of(
        lambda value: replace(models[chosen], temperature=value).soft(part),
        [labelled(model, part) for model in models],
        chosen,
        given=given,
        scale=1.0,
    )
    return [replace(model, temperature=temperature) for model in models]

"""Calibration of every method by one measure: the agreement of what was not fitted with it.

A head's logits say which images it is surer of than of others, not how sure: each has a scale of
its own. Single runs of k-means on random halves of the images, which know nothing of the head,
share the more labels with it the more the features say. That share becomes the mean probability of
every method, by its temperature. Ours.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.heads.coordinates import white_axes
from clusterpipe.stages.heads.protocol import Fits, Training, judged
from clusterpipe.stages.sampling import sample_of

MOST_ROWS, ROWS_PER_CLUSTER = 10_000, 32
HALVES = 3  # times that the images are cut in two


def probabilities(logits: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """The softmax of each row of logits (b, k) over the temperature; rows sum to 1."""
    from scipy.special import softmax

    return np.asarray(softmax(logits / np.float32(temperature), axis=1), np.float32)


def calibrated(fits: Fits, training: Training, k: int, seed: int) -> Fits:
    """The fits at the temperature that makes the chosen one as sure as k-means agrees with it.

    A model is a frozen dataclass with a field `temperature`, near which the answer is looked for.
    As they are, if settings give the temperature, for one cluster, and without a temperature (0).
    """
    from clusterpipe.stages.numerics.temperature import calibrated_temperature

    model, n = fits.model, len(training.z)
    if training.common.temperature or min(k, n - 1) < 2 or not model.temperature:
        return fits
    part = sample_of(np.arange(n), max(MOST_ROWS, ROWS_PER_CLUSTER * k), seed)
    rows = training.z[part]
    temperature = calibrated_temperature(
        lambda value: float(judged(replace(model, temperature=value), rows).probability.mean()),
        _agreement(judged(model, rows).label, replace(training, z=rows), k, seed),
        scale=float(model.temperature),
    )
    return replace(fits, models=[replace(one, temperature=temperature) for one in fits.models])


def _agreement(label: NDArray[np.int64], training: Training, k: int, seed: int) -> float:
    """The mean share of labels (n,) that k-means on halves of the rows gives as well, 1/k to 1."""
    from clusterpipe.stages.numerics.preparation import center_of, prepare
    from clusterpipe.stages.numerics.temperature import mean_agreement

    z, widths = training.z, training.widths
    z = prepare(z, center_of(z, unit=True, widths=widths), unit=True, widths=widths)
    rows = white_axes(replace(training, z=z), k, seed).rows(z)
    return max(mean_agreement(label, _by_halves(rows, k, seed)), 1 / k)


def _by_halves(rows: NDArray[np.float32], k: int, seed: int) -> Sequence[NDArray[np.int64]]:
    """Labels (n,) of the rows (n, d), each by one run of k-means on a random half of them."""
    from clusterpipe.stages.numerics.kmeans import kmeans

    rng, labels = np.random.default_rng(seed), []
    for _ in range(HALVES):
        for half in np.array_split(rng.permutation(len(rows)), 2):
            run = kmeans(
                rows[half], min(k, len(half)), spherical=True, seed=int(rng.integers(2**31))
            )
            labels.append((rows @ run.centroid.T).argmax(axis=1))
    return labels

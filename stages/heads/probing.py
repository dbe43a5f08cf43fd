"""What heads choose by among their settings and fits, without labels: what a probe can learn.

A loss compares poorly between random starts, and not at all between settings; TURTLE (Gadetsky et
al., ICML 2024) chooses by how well linear classifiers learn the labels on rows that they have not
seen. On the sets in the README that is 0.3 to 0.7 points of accuracy better than the lowest loss.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.heads.calibration import calibrated
from clusterpipe.stages.heads.protocol import Fits, Training, labelled
from clusterpipe.stages.sampling import sample_of

MOST_PROBED = 10_000  # rows
PROBE_ERROR = "probe error"  # what is minimised


def probe_errors(
    labels: Sequence[NDArray[np.int64]], training: Training, seed: int
) -> NDArray[np.float64]:
    """The share of each labelling (n,) that linear probes miss, over chance; (a,), 0 or more.

    The mean over spaces of 1 - `numerics.selection.probe_agreement`, on a sample of the rows.
    """
    from clusterpipe.stages.numerics.selection import probe_agreement

    part = sample_of(np.arange(len(training.z)), MOST_PROBED, seed)
    own = [np.unique(label[part], return_inverse=True)[1] for label in labels]
    spaces = [rows[part] for rows in training.spaces]
    agreement = [probe_agreement(rows, own, seed=seed) for rows in spaces]
    return np.asarray(1 - np.mean(agreement, axis=0))


def probed(models: Sequence[Any], training: Training, seed: int, *, given: float) -> Fits:
    """The fits of models of temperature 1, one per seed, of which probes miss least of the chosen.

    given: the temperature, 0 to calibrate it.
    """
    errors = probe_errors([labelled(model, training.z) for model in models], training, seed)
    chosen = int(errors.argmin())
    return Fits(calibrated(models, chosen, training.z, given=given), errors, chosen)

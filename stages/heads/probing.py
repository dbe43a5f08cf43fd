"""Probing: heads choose among their settings and fits by what a linear probe can learn.

A loss compares poorly between random starts, and not at all between settings; TURTLE (Gadetsky et
al., ICML 2024) chooses by how well linear classifiers learn the labels on rows that they have not
seen. On the sets in the README that is 0.3 to 0.7 points of accuracy better than the lowest loss.
Where probes miss a few rows only, one row more or less says nothing: of fits that they learn about
equally well, the one counts that most of the others resemble.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.heads.protocol import Fits, Training, labelled
from clusterpipe.stages.sampling import sample_of

MOST_PROBED = 10_000  # rows
PROBE_ERROR = "probe error to within its standard error"  # what is minimised
DIGITS = 9  # to which agreements are told apart


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


def probed(models: Sequence[Any], training: Training, seed: int) -> Fits:
    """The fits of models of temperature 1, one per seed; the chosen is the `most_typical`.

    They get the temperature that settings give, if they give one.
    """
    labels = [labelled(model, training.z) for model in models]
    errors, given = probe_errors(labels, training, seed), training.common.temperature or 1.0
    chosen = most_typical(labels, errors, len(models[0].centroid))
    return Fits([replace(model, temperature=given) for model in models], errors, chosen)


def most_typical(labels: Sequence[NDArray[np.int64]], errors: NDArray[np.float64], k: int) -> int:
    """Of labellings (n,) with about the least error (a,), that which agrees most with all others.

    Of equal ones that of less error; those that collapsed, of k clusters, do not count. About the
    least, collapsed: see numerics.selection.
    """
    from clusterpipe.stages.numerics.metrics import mutual_agreement
    from clusterpipe.stages.numerics.selection import about_least

    errors = sound(labels, errors, k)
    rows = sample_of(np.arange(len(labels[0])), MOST_PROBED, 0)
    agreement = mutual_agreement([label[rows] for label in labels]).round(DIGITS)
    agreement[~about_least(errors, len(rows))] = -np.inf
    return int(np.lexsort((errors, -agreement))[0])


def sound(
    labels: Sequence[NDArray[np.int64]], errors: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    """The errors (a,) of labellings (n,) of k clusters, infinite for the collapsed among them."""
    from clusterpipe.stages.numerics.selection import collapsed

    filled = [len(np.unique(label)) for label in labels]
    return np.where(collapsed(filled, k), np.inf, errors)

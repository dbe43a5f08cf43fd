"""Which fits a consensus hears: not those that put many kinds into a few clusters."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterpipe.cache.progress import silent
from clusterpipe.stages.fits.choice import scored, sound_fits
from clusterpipe.stages.fits.fitting import Data, Fitted
from clusterpipe.stages.heads import Fits, Head
from clusterpipe.stages.heads.kmeans import Centroids
from clusterpipe.stages.numerics.kmeans import kmeans

KINDS, D = 20, 24


def rows(images: int) -> NDArray[np.float32]:
    """So many images of each of 20 kinds, in two groups far apart."""
    kind = np.arange(KINDS * images) % KINDS
    noise = np.random.default_rng(0).normal(size=(len(kind), D))
    return np.asarray(
        np.eye(KINDS, D)[kind] + 3 * np.eye(2, D)[kind % 2] + 0.25 * noise, np.float32
    )


def fitted(features: NDArray[np.float32], clusters: int) -> Fitted:
    """Fits of 20 clusters, of which only so many are ever nearest."""
    places = [kmeans(features, clusters, spherical=False, seed=s).centroid for s in range(3)]
    far = np.full((KINDS - clusters, D), 1e3, np.float32)
    models = [Centroids(np.vstack([place, far]), 1.0) for place in places]
    head = Head(models[0], np.zeros(D, np.float32), False, (D,), np.arange(KINDS))
    return Fitted("kmeans", head, Fits(models, np.zeros(3), 0), "inertia")


@pytest.mark.parametrize("images", [4, 8, 15])
def test_collapsed_fits_are_not_heard_however_easily_they_are_learnt(images: int) -> None:
    features = rows(images)
    data = Data(features, (D,), np.arange(len(features)), features, "all")
    fits = {"few": fitted(features, 2), "whole": fitted(features, KINDS)}
    both = dict.fromkeys(fits, data)
    scores = scored(fits, both, data, seed=0, progress=silent)
    assert scores["few"].selection.score.min() > scores["whole"].selection.score.max()
    assert scores["few"].selection.filled.tolist() == [2, 2, 2]
    assert {member.method for member in sound_fits(scores, fits, both)} == {"whole"}
    alone = {"few": scores["few"]}
    assert len(sound_fits(alone, fits, both)) == 3

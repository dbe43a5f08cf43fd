"""Which fits a consensus hears: not those that put many kinds into a few clusters."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterpipe.cache.progress import silent
from clusterpipe.stages.fits.choice import Scores, scored, sound_fits, standing
from clusterpipe.stages.fits.fitting import Data, Fitted
from clusterpipe.stages.heads import Fits, Head
from clusterpipe.stages.heads.kmeans import Centroids
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.selection import MEASURES, Selection

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


def measured(neighbour_agreement: float, filled: int) -> Scores:
    """The scores of a method of one fit."""
    value = np.array([[0.9, neighbour_agreement, 0.5, filled]])
    return Scores(Selection(MEASURES, value, value[:, 0]), 0)


@pytest.mark.parametrize(
    ("agreement", "filled", "expected"),
    [(0.84, 20, "rival"), (0.82, 20, "vote"), (0.99, 17, "vote"), (0.99, 18, "rival")],
)
def test_a_rival_is_taken_where_it_parts_fewer_neighbours_and_has_not_collapsed(
    agreement: float, filled: int, expected: str
) -> None:
    scores = {"vote": measured(0.8, 20), "rival": measured(agreement, filled)}
    assert standing("vote", "rival", scores) == expected
    assert standing("vote", "", scores) == "vote"

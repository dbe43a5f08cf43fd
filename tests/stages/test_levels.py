"""Levels are nested by construction, whatever their numbers are."""

import numpy as np
import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.levels import LevelsConfig, levels

KIND = np.repeat(np.arange(8), 15)


def rows() -> np.ndarray:
    """Eight kinds in four pairs, which are near each other."""
    rng = np.random.default_rng(0)
    centres = np.eye(4, 12)[np.arange(8) // 2] + 0.5 * np.eye(8, 12, k=4)[np.arange(8)]
    return (centres[KIND] + 0.05 * rng.normal(size=(120, 12))).astype(np.float32)


@pytest.mark.parametrize(("coarse", "fine"), [(2, 12), (3, 40), (8, 8), (1, 100)])
def test_each_level_is_nested_in_the_next(coarse: int, fine: int) -> None:
    label = np.where(np.arange(120) % 17 == 0, -1, KIND)
    found = levels(rows(), label, LevelsConfig(coarse=coarse, fine=fine))
    assert len(found.coarse) == 8
    assert len(np.unique(found.coarse)) == coarse
    parts = found.fine[label >= 0]
    assert len(np.unique(parts)) == fine
    pairs = {*zip(parts.tolist(), label[label >= 0].tolist(), strict=True)}
    assert len(pairs) == fine  # each part is of one cluster
    assert (found.fine[label < 0] == -1).all()


def test_coarse_groups_hold_what_is_near_each_other() -> None:
    found = levels(rows(), KIND, LevelsConfig(coarse=4))
    assert {tuple(np.flatnonzero(found.coarse == g)) for g in range(4)} == {
        (0, 1),
        (2, 3),
        (4, 5),
        (6, 7),
    }


def test_fine_parts_find_what_a_cluster_holds() -> None:
    found = levels(rows(), KIND // 2, LevelsConfig(fine=8))
    together = found.fine[:, None] == found.fine[None]
    assert (together == (KIND[:, None] == KIND[None])).all()


def test_numbers_are_those_that_stand_out_unless_they_are_given() -> None:
    found = levels(rows(), KIND, level=np.array([2, 4, 8, 20, 60]))
    assert found.number.tolist() == [4, 8, 20]
    assert levels(rows(), KIND).number.tolist() == [8, 8, 8]
    assert levels(rows(), KIND, LevelsConfig(fine=9), level=np.array([4])).number.tolist() == [
        4,
        8,
        9,
    ]


def test_corrected_clusters_are_the_ones_that_count() -> None:
    merged = np.where(KIND == 1, 0, KIND)
    found = levels(rows(), KIND, LevelsConfig(coarse=2, fine=9), corrected=merged)
    assert found.coarse[1] == -1  # merged away
    assert found.number.tolist() == [2, 7, 9]


def test_a_level_on_the_wrong_side_is_refused() -> None:
    with pytest.raises(UsageError, match=r"levels\.coarse is 9, but there are 8 clusters"):
        levels(rows(), KIND, LevelsConfig(coarse=9))
    with pytest.raises(UsageError, match=r"levels\.fine is 3, but there are 8 clusters"):
        levels(rows(), KIND, LevelsConfig(fine=3))

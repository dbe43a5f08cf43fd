"""Groups of duplicates, their representatives, and outliers, on features that were made so."""

import numpy as np
import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.shards import row_digests
from clusterpipe.stages.curate import CurateConfig, curate
from clusterpipe.stages.numerics import neighbours
from clusterpipe.stages.numerics.preparation import unit_rows

KINDS = np.arange(120) % 4


@pytest.fixture
def features() -> np.ndarray:
    """120 rows of four kinds in 64 dimensions, none alike; row 119 is of no kind."""
    rng = np.random.default_rng(0)
    rows = 2 + np.eye(4, 64)[KINDS] * 6 + rng.normal(size=(120, 64))
    rows[119] = rng.normal(size=64) * 4
    return rows.astype(np.float32)


def text(names: list[str]) -> np.ndarray:
    return np.array(names, dtype=object)


def test_images_of_a_kind_are_no_duplicates(features: np.ndarray) -> None:
    found = curate(features)
    assert (found.group == -1).all()
    assert len(found.representative) == 0
    np.testing.assert_array_equal(found.copy_of, np.arange(120))
    assert np.flatnonzero(found.outlier).tolist()[-1] == 119


def test_copies_and_near_duplicates_are_one_group(features: np.ndarray) -> None:
    features[[50, 70]] = features[10]
    features[90] = features[10] + 0.05
    features[31] = features[30] * 0.5  # another image of the same direction
    found = curate(features, digest=row_digests(features))
    assert np.flatnonzero(found.group == 0).tolist() == [10, 50, 70, 90]
    assert np.flatnonzero(found.group == 1).tolist() == [30, 31]
    assert found.group.max() == 1
    assert found.copy_of[[10, 50, 70, 90, 31]].tolist() == [10, 10, 10, 90, 31]
    np.testing.assert_allclose(found.similarity[[10, 50, 70, 30, 31]], 1, atol=1e-4)
    assert 0.9 < found.similarity[90] < 1
    assert found.similarity[found.group < 0].max() < 0.9


def test_similarity_and_isolation_equal_brute_force(features: np.ndarray) -> None:
    features[60] = features[20] * 2
    found = curate(features, CurateConfig(neighbours=5))
    unit = unit_rows(features)
    centred = unit_rows(unit - unit.mean(axis=0))
    for row in range(120):
        order = np.delete(np.arange(120), row)
        order = order[np.argsort(-(unit[order] @ unit[row]))][:5]
        likest = (centred[order] @ centred[row]).max()
        assert found.similarity[row] == pytest.approx(likest, abs=1e-4)
        order = [other for other in order if {row, other} != {20, 60}]
        near, whole = ((unit[those] @ unit[row]).mean() for those in (order, np.arange(120)))
        assert found.isolation[row] == pytest.approx(1 - near / 3 - 2 * whole / 3, abs=1e-5)
    cut = np.sort(found.isolation)[-2]
    np.testing.assert_array_equal(found.outlier, found.isolation >= cut)


def test_what_comes_from_elsewhere_in_numbers_is_told(features: np.ndarray) -> None:
    """Thirty images of one more kind, nearer to each other than those of the others are."""
    rng = np.random.default_rng(3)
    foreign = np.eye(1, 64, 9) * 12 + 0.5 * rng.normal(size=(30, 64))
    found = curate(np.concatenate([features[:119], foreign]).astype(np.float32))
    assert found.isolation[119:].min() > found.isolation[:119].max()


def test_an_outlier_with_a_copy_is_still_one(features: np.ndarray) -> None:
    features[118] = features[119] * 1.5
    found = curate(features, CurateConfig(outliers=0.015))
    assert np.flatnonzero(found.outlier).tolist() == [118, 119]


def test_the_largest_picture_represents_its_group_then_the_file_then_the_first(
    features: np.ndarray,
) -> None:
    for first in (0, 10, 20):
        features[[first + 1, first + 2]] = features[first] + np.float32([[0], [0.03]])
    width, height, size = np.full((3, 120), 100)
    width[2] = 101
    size[11] = 101
    found = curate(features, width=width, height=height, size=size)
    assert found.representative.tolist() == [2, 11, 20]
    assert curate(features).representative.tolist() == [0, 10, 20]


def test_the_threshold_is_a_setting(features: np.ndarray) -> None:
    features[1] = features[0] + np.random.default_rng(1).normal(size=64) * 0.9
    (likeness,) = curate(features).similarity[[1]]
    assert 0.3 < likeness < 0.9
    found = curate(features, CurateConfig(duplicates_above=float(likeness) - 1e-3))
    assert found.group[0] == found.group[1] >= 0


def test_one_is_for_exact_copies_only(features: np.ndarray) -> None:
    features[[5, 6]] = features[4] * np.float32([[1], [2]])
    found = curate(features, CurateConfig(duplicates_above=1.0), digest=row_digests(features))
    assert np.flatnonzero(found.group == 0).tolist() == [4, 5]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_or_equal_images(n: int) -> None:
    found = curate(np.ones((n, 3), np.float16), digest=text(["same"] * n))
    assert found.outlier.tolist() == [0] * n
    assert found.group.tolist() == [0] * n if n > 1 else [-1]
    near = curate(np.ones((n, 3), np.float16))
    np.testing.assert_array_equal(near.group, found.group)


def test_the_order_of_images_does_not_matter(features: np.ndarray) -> None:
    features[80] = features[3] + 0.02
    order = np.random.default_rng(2).permutation(120)
    one, other = curate(features), curate(features[order])
    np.testing.assert_allclose(one.isolation[order], other.isolation, atol=1e-6)
    np.testing.assert_array_equal(one.group[order] >= 0, other.group >= 0)


def test_many_images_are_searched_in_lists(
    features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    many = rng.normal(size=(1500, 32)).astype(np.float32)
    many[1000:] = many[:500] + 0.05 * rng.normal(size=(500, 32))
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 1000)
    found = curate(many, CurateConfig(neighbours=3))
    same = found.group[1000:] == found.group[:500]
    assert (same & (found.group[:500] >= 0)).mean() > 0.97


@pytest.mark.parametrize(
    "setting", [{"duplicates_above": 0}, {"neighbours": 0}, {"outliers": 1.0}, {"outliers": -0.1}]
)
def test_settings_that_make_no_sense_are_refused(
    setting: dict[str, float], features: np.ndarray
) -> None:
    with pytest.raises(UsageError, match=f"curate.{next(iter(setting))}"):
        curate(features, CurateConfig(**setting))  # type: ignore[arg-type]


def test_features_that_are_not_numbers_are_refused(features: np.ndarray) -> None:
    features[3, 2] = np.nan
    with pytest.raises(UsageError, match="not numbers"):
        curate(features)

"""The number of clusters on collections of known structure."""

import numpy as np
import pytest

from clusterpipe.stages.numerics.cluster_count import Curve, merged_curve, partition_curve
from clusterpipe.stages.numerics.coding_length import Code
from clusterpipe.stages.numerics.preparation import principal_rows, unit_rows

CODE = Code(0.3, 0.3)
PUBLISHED = Code(0.1, 1.0)


def directions(k: int, size: int, *, d: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    centre = np.repeat(unit_rows(rng.normal(size=(k, d))), size, axis=0)
    return unit_rows(centre + noise * rng.normal(size=centre.shape) / np.sqrt(d))


def test_the_interval_holds_what_two_errors_cannot_tell_from_the_best() -> None:
    curve = Curve(
        np.arange(1, 6), np.array([9.0, 4, 3, 4, 9]), error=np.array([1.0, 0.5, 0, 0.4, 1])
    )
    assert curve.k == 3
    assert curve.interval() == (2, 3)
    assert curve.interval(errors=0) == (3, 3)


def test_candidates_end_where_asked_or_with_the_cells() -> None:
    z = directions(4, 50, d=8, noise=0.3)
    assert merged_curve(z, CODE, cells=20, largest=3).candidate.tolist() == [1, 2, 3]
    assert len(merged_curve(z, CODE, cells=20, largest=99).candidate) == 20
    assert partition_curve(z, PUBLISHED, largest=9).candidate.tolist() == list(range(1, 10))


def test_one_direction_is_one_cluster() -> None:
    z = principal_rows(directions(1, 600, d=32, noise=1.0), 32)
    assert merged_curve(z, CODE, cells=60, largest=60).k == 1
    assert partition_curve(z, PUBLISHED, largest=60).k == 1


@pytest.mark.parametrize("k", [5, 20])
def test_merging_counts_directions(k: int) -> None:
    z = principal_rows(directions(k, 80, d=48, noise=0.7), 32)
    curve = merged_curve(z, CODE, cells=6 * k, largest=6 * k)
    assert curve.k == k
    low, high = curve.interval()
    assert low <= k <= high <= 2 * low


def test_partitions_count_large_clusters_far_apart() -> None:
    """The published criterion needs many more rows per cluster than dimensions."""
    z = directions(6, 300, d=8, noise=0.2)
    assert partition_curve(z, PUBLISHED, largest=40).k == 6


def test_progress_hears_of_every_restart() -> None:
    heard: list[int] = []
    z = directions(4, 50, d=8, noise=0.3)
    merged_curve(z, CODE, cells=20, largest=20, restarts=3, done=heard.append)
    assert heard == [1, 1, 1]

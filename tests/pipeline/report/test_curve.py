"""The curve of description lengths, in pixels."""

import math
from dataclasses import replace

import numpy as np
import pytest
from records import sample

from clusterpipe.cache.schema import KEstimate
from clusterpipe.pipeline.report.curve import BOTTOM, LEFT, RIGHT, TOP, curve

ESTIMATE: KEstimate = replace(
    sample(KEstimate, m=5),
    k=4,
    interval=np.array([2, 8]),
    candidate=np.array([1, 2, 4, 8, 16]),
    length=np.array([50.0, 30, 10, 20, 40]) * math.log(2),
    reason="",
)


def test_points_stand_where_the_axes_say() -> None:
    drawn = curve(ESTIMATE, 10)
    assert drawn is not None
    points = [tuple(map(float, point.split(","))) for point in drawn.points.split()]
    assert [x for x, _ in points] == pytest.approx(np.linspace(LEFT, RIGHT, 5), abs=0.1)
    assert points[0][1] == TOP  # the longest
    assert points[2] == (drawn.chosen[0], BOTTOM)  # the shortest
    assert points[3][1] == pytest.approx(BOTTOM - (BOTTOM - TOP) / 4)
    assert [tick.text for tick in drawn.x_ticks] == ["1", "2", "5", "10"]
    assert [tick.text for tick in drawn.y_ticks] == ["1.0", "2.0", "3.0", "4.0", "5.0"]
    assert drawn.band[0] == pytest.approx(points[1][0] - 2)
    assert sum(drawn.band) == pytest.approx(points[3][0] + 2)


def test_a_single_candidate_is_no_curve() -> None:
    single = replace(ESTIMATE, k=1, candidate=np.array([1]), length=np.ones(1))
    assert curve(single, 10) is None

"""The description length against the number of clusters, as coordinates of an SVG."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clusterpipe.cache.schema import KEstimate

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 320, 52, 744, 24, 270
STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Tick:
    """A label on an axis, and where it stands in pixels."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """Curve as the page draws it: pixels, and the numbers in words. `band` is (left, width)."""

    points: str
    chosen: tuple[float, float]
    band: tuple[float, float]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    k: int
    low: int
    high: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def curve(estimate: KEstimate, n: int) -> Curve | None:
    """The curve in bits per image of n images, k on a logarithmic axis; None for fewer than two."""
    bits = estimate.length / math.log(2) / n
    known = np.isfinite(bits)
    k, bits = estimate.candidate[known], bits[known]
    if len(k) < 2:
        return None
    low, high = (int(bound) for bound in estimate.interval)
    x, y = _logarithmic(int(k[0]), int(k[-1])), _linear(float(bits.min()), float(bits.max()))
    left = x(low)
    return Curve(
        points=" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(k, bits, strict=True)),
        chosen=(x(estimate.k), y(float(np.interp(estimate.k, k, bits)))),
        band=(round(left - 2, 1), round(x(high) - left + 4, 1)),
        x_ticks=tuple(Tick(x(value), f"{value:,}") for value in _round_between(k[0], k[-1])),
        y_ticks=tuple(
            Tick(y(value), f"{value:.1f}") for value in np.linspace(bits.min(), bits.max(), 5)
        ),
        k=estimate.k,
        low=low,
        high=high,
    )


def _logarithmic(low: int, high: int) -> Callable[[float], float]:
    span = math.log(high / low) or 1.0
    return lambda k: round(LEFT + (RIGHT - LEFT) * math.log(min(max(k, low), high) / low) / span, 1)


def _linear(low: float, high: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: round(BOTTOM - (BOTTOM - TOP) * (value - low) / span, 1)


def _round_between(low: int, high: int) -> list[int]:
    """1, 2, 5, 10, 20, ... within the range."""
    values = (step * 10**power for power in range(9) for step in STEPS)
    return [value for value in values if low <= value <= high]

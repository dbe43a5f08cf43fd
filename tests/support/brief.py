"""Heads that learn for less long than they should, for tests that need no good ones."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from clusterpipe.stages.heads import scp, spectral, temi, text_aided, turtle

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.scp import ScpRecipe
    from clusterpipe.stages.numerics.temi import TemiRecipe
    from clusterpipe.stages.numerics.turtle import TurtleRecipe


@dataclass(frozen=True)
class Scp(scp.Scp):
    """Few passes, and a fifth of those that teach the start's labels."""

    epochs: ClassVar[int] = 6

    def recipe(self, n: int, k: int, alpha: float) -> "ScpRecipe":
        usual = super().recipe(n, k, alpha)
        return replace(usual, epochs=self.epochs, start_epochs=-(-usual.start_epochs // 5))


@dataclass(frozen=True)
class Temi(temi.Temi):
    """The same."""

    epochs: ClassVar[int] = 6

    def recipe(self, n: int, k: int) -> "TemiRecipe":
        usual = super().recipe(n, k)
        return replace(usual, epochs=self.epochs, start_epochs=-(-usual.start_epochs // 5))


@dataclass(frozen=True)
class Turtle(turtle.Turtle):
    """A quarter of the steps."""

    steps: ClassVar[int] = 10

    def recipe(self, k: int) -> "TurtleRecipe":
        return replace(super().recipe(k), steps=self.steps)


@dataclass(frozen=True)
class Spectral(spectral.Spectral):
    """Few landmarks."""

    landmarks: ClassVar[int] = 60


@dataclass(frozen=True)
class TrainedTextAided(text_aided.TrainedTextAided):
    """Few steps."""

    least_steps: ClassVar[int] = 40

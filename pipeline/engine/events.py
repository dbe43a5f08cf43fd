"""Events of a run: what happens to its stages, told to whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Action: TypeAlias = Literal["starts", "note", "ran", "fresh", "skipped", "refreshed", "extended"]


@dataclass(frozen=True)
class StageEvent:
    """Event of one stage of a run, and the reasons for it."""

    stage: str
    action: Action
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


Tell: TypeAlias = Callable[[StageEvent], None]


def nobody(event: StageEvent) -> None:
    """Tells nobody."""

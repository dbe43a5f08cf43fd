"""What happens to the stages of a run, as it is told to whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Action: TypeAlias = Literal["starts", "note", "ran", "fresh", "skipped", "refreshed", "extended"]


@dataclass(frozen=True)
class StageEvent:
    """What happens to a stage of a run, as it happens, and why."""

    stage: str
    action: Action
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


Tell: TypeAlias = Callable[[StageEvent], None]


def nobody(event: StageEvent) -> None:
    """Tells nobody."""

"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from clusterpipe.cache.escaping import escaped
from clusterpipe.cache.progress import Advance
from clusterpipe.pipeline.engine.events import StageEvent
from clusterpipe.pipeline.engine.units import duration
from clusterpipe.pipeline.terminal.escaping import shown

LINE_SECONDS = 5.0
_STYLES = {
    "ran": "green",
    "fresh": "dim",
    "refreshed": "green",
    "extended": "green",
    "skipped": "yellow",
}


@dataclass(frozen=True)
class Reporter:
    """Tells the progress of a run on stderr; `quiet` tells nothing."""

    quiet: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    @contextmanager
    def progress(self, what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        """A counter with rate and time left: a bar on a terminal, else a line now and then."""
        if self.quiet:
            yield _ignore
        elif self.console.is_terminal or _draws_in_notebook(self.console):
            with self._bars() as bars:
                task = bars.add_task(escaped(what), total=total, unit=unit)
                yield lambda done: bars.advance(task, done)
        else:
            lines = _Lines(self.console, what, total, unit)
            yield lines.advance
            lines.finish()

    def tell(self, event: StageEvent) -> None:
        """One line per stage: what was done and why."""
        if self.quiet:
            return
        if event.action in ("starts", "note"):
            self.note(f"{event.stage}: {'; '.join(event.reasons)}")
            return
        line = shown(f"{event.stage:<12}")
        line.append(f"{event.action:<10}", _STYLES[event.action])
        line.append(f"{event.seconds:7.1f} s" if event.action == "ran" else " " * 9)
        if event.action != "ran" and event.reasons:
            line.append_text(shown(f"  {'; '.join(event.reasons)}", style="dim"))
        self.console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """A remark in passing."""
        if not self.quiet:
            self.console.print(shown(text, style="dim"), soft_wrap=True)

    def _bars(self) -> Bars:
        return Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            console=self.console,
            transient=True,
        )


class _Rate(ProgressColumn):
    """Rate and time left."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        if not rate:
            return shown(task.fields["unit"])
        left = task.time_remaining
        return shown(
            f"{task.fields['unit']}, {rate:,.0f}/s" + (f", {duration(left)} left" if left else "")
        )


@dataclass
class _Lines:
    """A counter for logs: a line every few seconds, and one at the end if it took that long."""

    console: Console
    what: str
    total: int | None
    unit: str
    done: int = 0
    printed: int = 0
    began: float = field(default_factory=lambda: time.monotonic())
    told: float = field(default_factory=lambda: time.monotonic())

    def advance(self, done: int) -> None:
        self.done += done
        if time.monotonic() - self.told >= LINE_SECONDS:
            self.told = time.monotonic()
            self._print()

    def finish(self) -> None:
        if self.printed and self.printed < self.done:
            self._print()

    def _print(self) -> None:
        self.printed = self.done
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        amount = f"{self.done:,}" + (f" of {self.total:,}" if self.total else "")
        remaining = max((self.total or 0) - self.done, 0)
        left = f", {duration(remaining / rate)} left" if remaining and rate else ""
        text = f"{self.what}: {amount} {self.unit}, {rate:,.0f}/s{left}"
        self.console.print(shown(text), soft_wrap=True)


def _draws_in_notebook(console: Console) -> bool:
    """True in a notebook that can redraw a bar; without ipywidgets it gets lines."""
    return console.is_jupyter and find_spec("ipywidgets") is not None


def _ignore(done: int) -> None:
    """Nobody watches."""

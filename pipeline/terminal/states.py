"""The state of the stages of a run, and what a pending embedding takes."""

from collections.abc import Sequence

from rich.console import Console

from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline.engine.embedding_cost import Estimate
from clusterpipe.pipeline.engine.plan import StageState
from clusterpipe.pipeline.terminal.escaping import shown

_STYLES = {
    "fresh": "green",
    "missing": "yellow",
    "stale": "yellow",
    "partial": "yellow",
    "blocked": "yellow",
    "skipped": "dim",
    "corrupt": "red",
}


def print_states(run: RunDirectory, states: Sequence[StageState], costs: Estimate | None) -> None:
    """Prints one row per stage on stdout, and what a pending embedding takes."""
    console = Console(highlight=False)
    console.print(shown(str(run.folder), style="bold"), soft_wrap=True)
    for state in states:
        line = shown(f"{state.stage:<12}")
        line.append(f"{state.state:<9}", _STYLES[state.state])
        line.append_text(shown("; ".join(state.reasons), style="dim"))
        console.print(line, soft_wrap=True)
    if costs:
        console.print(shown(str(costs)), soft_wrap=True)

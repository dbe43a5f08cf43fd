"""Output of `clusterpipe correct`: the log, or what was added to it."""

from collections.abc import Iterable
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.pipeline.results.correcting import Logged
from clusterpipe.pipeline.terminal.escaping import shown


def print_added(lines: Iterable[Logged]) -> None:
    """Prints on stdout the lines that were added, and what of them does not apply."""
    console = Console(highlight=False)
    for line in lines:
        console.print(shown(f"line {line.line}: {line.words}"), soft_wrap=True)
        if line.reason:
            console.print(shown(f"  does not apply: {line.reason}", style="yellow"), soft_wrap=True)


def print_log(lines: Iterable[Logged], *, as_json: bool) -> None:
    """Prints the log on stdout: a line per act, and what became of it."""
    if as_json:
        document = {"schema_version": 1, "lines": [asdict(line) for line in lines]}
        typer.echo(json_text(document))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("line", justify="right", no_wrap=True)
    for heading in ("time", "author", "act", "words", "state"):
        table.add_column(heading, no_wrap=heading in ("time", "act"))
    for line in lines:
        state = f"{line.state}: {line.reason}" if line.reason else line.state
        time = line.time[:16].replace("T", " ")
        cells = (str(line.line), time, line.author, line.act, line.words, state)
        table.add_row(*map(shown, cells))
    Console(highlight=False).print(table)

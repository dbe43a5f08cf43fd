"""`clusterpipe runs`: the runs in a table."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.pipeline.results.runs import Listed
from clusterpipe.pipeline.terminal.escaping import shown


def print_runs(found: Sequence[Listed], *, as_json: bool) -> None:
    """Prints the runs on stdout, a row each."""
    if as_json:
        typer.echo(json_text({"schema_version": 1, "runs": [asdict(run) for run in found]}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "images", "clusters", "method", "last written", "source"):
        table.add_column(heading, justify="right" if heading in ("images", "clusters") else "left")
    for run in found:
        counts = ("" if n is None else f"{n:,}" for n in (run.images, run.clusters))
        when = datetime.fromisoformat(run.written).astimezone().strftime("%Y-%m-%d %H:%M")
        cells = (run.run_dir, *counts, run.method, when, run.problem or run.source)
        table.add_row(*(shown(cell) for cell in cells))
    Console(highlight=False).print(table)

"""Output of `clusterpipe predict`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.escaping import escaped, json_text
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline.results.append import Appended
from clusterpipe.pipeline.results.export import writer_of
from clusterpipe.pipeline.results.predict import Predictions, columns
from clusterpipe.pipeline.terminal.escaping import shown

JSON_VERSION = 1


def print_predictions(
    found: Predictions, captions: Sequence[str], *, output: Path | None, as_json: bool
) -> None:
    """Prints the predictions on stdout, or writes `output`, whose ending names the format."""
    table = columns(found, captions)
    if output:
        writer_of(output)(table, output)
        typer.echo(output)
    elif as_json:
        document = {"schema_version": JSON_VERSION, **table, "skipped": dict(found.skipped)}
        typer.echo(json_text(document))
    else:
        Console(highlight=False).print(_table(table), soft_wrap=True)
    for name, reason in found.skipped.items():
        typer.echo(escaped(f"skipped {name}: {reason}"), err=True)


def _table(rows: Mapping[str, list[Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    headings = ("id", "cluster", "caption", "probability")
    for name in headings:
        right = "right" if name in ("cluster", "probability") else "left"
        table.add_column(name, justify=right, overflow="fold")  # type: ignore[arg-type]
    for row in zip(*(rows[name] for name in headings), strict=True):
        table.add_row(shown(row[0]), str(row[1]), shown(row[2]), f"{row[3]:.3f}")
    return table


def print_appended(done: Appended, run: RunDirectory) -> None:
    """Says on stderr what was known before, and what the run waits for."""
    for name, known in done.known.items():
        other = "" if known == name else f", as {known}"
        typer.echo(escaped(f"{name} is in the run already{other}"), err=True)
    if len(done.found.id) > len(done.known):
        typer.echo(
            "captions, metrics and near-duplicates do not know the new images yet: clusterpipe "
            f"run-all --run-dir {run.folder}",
            err=True,
        )

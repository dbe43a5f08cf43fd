"""Output of `clusterpipe search`."""

from collections.abc import Sequence
from dataclasses import asdict

import typer
from rich.console import Console, RenderableType
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline.results.search import Answer
from clusterpipe.pipeline.terminal.escaping import shown

JSON_VERSION = 1


def print_answers(run: RunDirectory, answers: Sequence[Answer], *, as_json: bool) -> None:
    """Prints what was found on stdout."""
    if as_json:
        document = {"schema_version": JSON_VERSION, "run_dir": str(run.folder)}
        typer.echo(json_text({**document, "queries": [asdict(a) for a in answers]}))
        return
    console = Console(highlight=False)
    for answer in answers:
        heading = f"{answer.title} in {answer.features} of {run.folder}"
        console.print(shown(heading, style="bold"), soft_wrap=True)
        console.print(_table(answer))
        if answer.sheet:
            console.print(shown(f"contact sheet  {answer.sheet}"), soft_wrap=True)


def _table(answer: Answer) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("image", overflow="fold")
    clustered = any(hit.cluster is not None for hit in answer.hits)
    captioned = any(hit.caption for hit in answer.hits)
    if clustered:
        table.add_column("cluster", justify="right")
    if captioned:
        table.add_column("caption")
    for hit in answer.hits:
        name = shown(hit.id).append("  the query" if hit.is_query else "", "dim")
        cells: list[RenderableType] = [str(hit.rank), f"{hit.score:.3f}", name]
        if clustered:
            cells.append("" if hit.cluster is None or hit.cluster < 0 else str(hit.cluster))
        if captioned:
            cells.append(shown(hit.caption))
        table.add_row(*cells)
    return table

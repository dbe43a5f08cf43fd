"""Output of `clusterpipe compare`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.pipeline.results.compare import Comparison
from clusterpipe.pipeline.terminal.escaping import shown

JSON_VERSION = 1


def print_comparison(found: Comparison, *, most: int, as_json: bool) -> None:
    """Prints the comparison on stdout, with at most `most` moved images (JSON has all)."""
    if as_json:
        document = {"schema_version": JSON_VERSION, **asdict(found)}
        typer.echo(json_text(document))
        return
    console = Console(highlight=False)
    console.print(shown(*_headline(found).splitlines()), soft_wrap=True)
    if found.settings:
        rows = [(s.key, _text(s.first), _text(s.second)) for s in found.settings]
        console.print(_table(("setting", *found.runs), rows))
    if found.metrics:
        rows = [(m.metric, _figure(m.first), _figure(m.second)) for m in found.metrics]
        console.print(_table(("metric", *found.runs), rows))
    if found.moved:
        rows = [
            (m.id, f"{m.first} {m.first_caption}", f"{m.second} {m.second_caption}")
            for m in found.moved[:most]
        ]
        console.print(_table(("moved image", *found.runs), rows))
        if len(found.moved) > most:
            console.print(f"and {len(found.moved) - most:,} more (--moved {len(found.moved)})")


def _headline(found: Comparison) -> str:
    agreement = (
        "" if found.ari is None else f"; ARI {found.ari:.3f}, NMI {found.nmi:.3f} between them"
    )
    return (
        f"{found.shared:,} images in common, of {found.images[0]:,} and {found.images[1]:,}\n"
        f"{found.clusters[0]} and {found.clusters[1]} clusters{agreement}\n"
        f"{len(found.moved):,} images moved to a cluster that is not the one theirs became"
    )


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(shown(heading), overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    return table


def _text(value: Any) -> str:
    return json_text(value)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

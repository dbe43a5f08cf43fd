"""`clusterpipe metrics`: every figure of a run, beside chance."""

from collections.abc import Iterator
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.pipeline.results.outcome import Outcome
from clusterpipe.pipeline.terminal.escaping import shown

_FIGURES = (
    "run_dir",
    "images",
    "method",
    "k",
    "k_estimated",
    "k_interval",
    "k_reason",
    "classes",
    "metrics",
    "protocol",
    "retrieval",
    "retrieval_protocol",
    "captions",
    "caption_protocol",
    "captioned",
)


def print_figures(found: Outcome, *, as_json: bool) -> None:
    """Prints on stdout how good the clusters, the search and the captions of a run are."""
    if as_json:
        values = asdict(found)
        document = {"schema_version": 1, **{name: values[name] for name in _FIGURES}}
        typer.echo(json_text(document))
        return
    console = Console(highlight=False)
    if found.k_reason:
        console.print(shown(found.k_reason), soft_wrap=True)
    for table, protocol in tables(found):
        console.print(table)
        console.print(shown(protocol, style="dim"), soft_wrap=True)
    if found.captioned:
        console.print(shown(found.captioned, style="dim"), soft_wrap=True)


def tables(found: Outcome) -> Iterator[tuple[Table, str]]:
    """The figures of clusters, search and captions, and how each of them was measured."""
    if found.metrics:
        yield _metrics_table(found), found.protocol
    if found.retrieval:
        yield _retrieval_table(found), found.retrieval_protocol
    if found.captions:
        yield _caption_table(found), found.caption_protocol


def _metrics_table(found: Outcome) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "metric"):
        table.add_column(heading, no_wrap=True)
    for heading in ("this run", "over seeds", "chance"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.metrics:
        chance = "" if row["chance"] is None else f"{row['chance']:.3f}"
        unit = row["unit"].replace(" per ", "/")
        metric = f"{row['metric']} ({unit})" if unit else row["metric"]
        spread = f"{row['mean']:.3f} ± {row['spread']:.3f}"
        table.add_row(row["method"], metric, f"{row['chosen']:.3f}", spread, chance)
    return table


def _retrieval_table(found: Outcome) -> Table:
    """A row per feature space, and one for chance, which is the same in all."""
    rows: dict[str, list[str]] = {}
    for row in found.retrieval:
        rows.setdefault(row["space"], []).append(f"{row['value']:.3f}")
    first = found.retrieval[0]["space"]
    chance = {row["metric"]: row["chance"] for row in found.retrieval if row["space"] == first}
    table = Table(box=None, pad_edge=False)
    table.add_column("image search in", no_wrap=True)
    for metric in chance:
        table.add_column(metric, justify="right", no_wrap=True)
    for space, values in rows.items():
        table.add_row(space, *values)
    table.add_row("chance", *(f"{value:.3f}" for value in chance.values()))
    return table


def _caption_table(found: Outcome) -> Table:
    """A row per measure, a column per captioner; chance in brackets."""
    rows: dict[str, dict[str, str]] = {}
    for row in found.captions:
        chance = "" if row["chance"] is None else f" ({row['chance']:.3f})"
        rows.setdefault(row["metric"], {})[row["method"]] = f"{row['value']:.3f}{chance}"
    methods = list(dict.fromkeys(row["method"] for row in found.captions))
    table = Table(box=None, pad_edge=False)
    table.add_column("captions (chance)", no_wrap=True)
    for method in methods:
        table.add_column(method, justify="right", no_wrap=True)
    for metric, values in rows.items():
        table.add_row(metric, *(values.get(method, "") for method in methods))
    return table

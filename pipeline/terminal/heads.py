"""`clusterpipe heads`: the cluster heads in one line each, or the settings of one."""

import json
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.terminal.escaping import shown
from clusterpipe.stages.declaration import nearest, options_of
from clusterpipe.stages.heads import ALL, FINISHING

EVERY = {**ALL, **FINISHING}
NOTES = (
    "Name one or more in assign.methods, self-label in assign.finish. Settings of one: clusterpipe "
    "heads NAME; to change one: --set assign.scp.alpha=3."
)


def print_heads(name: str | None, *, as_json: bool) -> None:
    """Print all heads on stdout, or the settings of one. Raises UsageError for an unknown head."""
    if name is not None and name not in EVERY:
        raise UsageError(f"there is no head {name!r}{nearest(name, EVERY)}")
    if as_json:
        rows = [_row(one) for one in EVERY if name in (None, one)]
        typer.echo(json.dumps({"schema_version": 1, "heads": rows}, ensure_ascii=False))
    elif name is None:
        _print(("head", "what it does"), [(one, head.about) for one, head in EVERY.items()], NOTES)
    else:
        _show_one(name)


def _show_one(name: str) -> None:
    head = EVERY[name]
    rows = [(row["key"], _text(row["default"]), row["meaning"]) for row in _row(name)["settings"]]
    typer.echo(f"{name}: {head.about}")
    if rows:
        _print(("setting", "default", "meaning"), rows, "")
    else:
        typer.echo("It has no settings of its own; those of assign hold for it, too.")


def _row(name: str) -> dict[str, Any]:
    head, defaults = EVERY[name], Config()
    settings = [
        {
            "key": f"{head.table}.{spec.name}",
            "default": defaults.get(f"{head.table}.{spec.name}"),
            "choices": list(spec.metadata["choices"]),
            "meaning": spec.metadata["help"],
        }
        for spec in options_of(head)
    ]
    return {"name": name, "about": head.about, "settings": settings}


def _print(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], notes: str) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("head", "setting"), overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    console = Console(highlight=False)
    console.print(table)
    if notes:
        console.print(notes, markup=False, style="dim", soft_wrap=True)


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else json.dumps(value, ensure_ascii=False)

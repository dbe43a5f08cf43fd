"""`clusterpipe init` and `config`: a file of settings to edit, and where each value came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.escaping import escaped, json_text
from clusterpipe.cache.storage import write_text
from clusterpipe.pipeline.engine.config import Config, dump
from clusterpipe.pipeline.terminal.escaping import shown


def write_settings(config: Config, path: Path, *, replace: bool) -> None:
    """Writes `config` as commented TOML. Raises UsageError when `path` is there already."""
    if path.exists() and not replace:
        raise UsageError(f"{path} is there already: --force replaces it, --output writes another")
    write_text(path, dump(config))


def print_settings(config: Config, *, changed_only: bool, as_json: bool) -> None:
    """Prints each setting on stdout: its value, where it came from, and a differing default."""
    rows = [row for row in _rows(config) if row["changed"] or not changed_only]
    if as_json:
        typer.echo(json_text({"schema_version": 1, "settings": rows}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "default"):
        table.add_column(heading, no_wrap=heading == "setting", overflow="fold")
    for row in rows:
        style = "bold" if row["changed"] else ""
        default = _text(row["default"]) if row["changed"] else ""
        cells = (row["key"], _text(row["value"]), row["origin"], default)
        table.add_row(*(shown(cell) for cell in cells), style=style)
    Console(highlight=False).print(table)


def print_reset(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints on stdout what settings of a run are now."""
    if as_json:
        typer.echo(json_text({"schema_version": 1, "reset": values}))
        return
    for key, value in values.items():
        typer.echo(f"{key} = {escaped(_text(value))}, the default")


def _rows(config: Config) -> list[dict[str, Any]]:
    defaults = Config()
    return [
        {
            "key": key,
            "value": config.get(key),
            "origin": config.origin.get(key, "default"),
            "default": defaults.get(key),
            "changed": config.get(key) != defaults.get(key),
        }
        for key in defaults.keys()  # noqa: SIM118 - a Config is no mapping
    ]


def _text(value: Any) -> str:
    return json_text(value)

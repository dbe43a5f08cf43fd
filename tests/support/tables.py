"""Reads a table that was exported, whatever its format."""

import csv
import json
from pathlib import Path
from typing import Any

from pyarrow import parquet

from clusterpipe.pipeline.results.export import COLUMNS, EXIF


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    if path.suffix == ".json":
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return found
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: _value(name, cell) if cell else None for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def _value(name: str, cell: str) -> Any:
    kind = {**COLUMNS, **EXIF}[name]
    return cell == "True" if kind is bool else kind(cell)

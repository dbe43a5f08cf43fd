"""`clusterpipe inspect`: an artifact as a tree."""

from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape as unmarked
from rich.tree import Tree

from clusterpipe.cache.escaping import escaped, json_text
from clusterpipe.cache.inspection import Inspection, Node, inspect


def print_inspection(path: Path, *, as_json: bool) -> None:
    """Prints what `path` holds on stdout. Raises DamagedArtifact for what is not an artifact."""
    found = inspect(path)
    if as_json:
        document = {"schema_version": 1, **asdict(found), "path": str(path)}
        typer.echo(json_text(document, indent=2))
        return
    Console(highlight=False).print(_tree(found))


def _tree(found: Inspection) -> Tree:
    tree = Tree(f"[bold]{_plain(str(found.path))}[/] · {found.artifact} · valid")
    origin = tree.add("[dim]provenance[/]")
    for name, value in sorted(found.provenance.items()):
        origin.add(f"[dim]{name}[/] {_plain(str(value))}")
    groups = {"": tree}
    for node in found.nodes:
        folder, _, name = node.place.strip("/").rpartition("@" if "@" in node.place else "/")
        if folder not in groups:
            groups[folder] = tree.add(f"[bold]/{_plain(folder)}[/]")
        groups[folder].add(_line(node, name))
    return tree


def _plain(text: str) -> str:
    return unmarked(escaped(text))


def _line(node: Node, name: str) -> str:
    if node.dtype == "attribute":
        return f"[dim]@{_plain(name)}[/] {_plain(node.preview)}"
    dims = zip(node.dims.split(), node.shape, strict=False)
    shape = " × ".join(f"{symbol}={size:,}" for symbol, size in dims) or "scalar"
    unit = f" {node.unit}" if node.unit else ""
    return (
        f"[bold]{_plain(name)}[/] {shape} {node.dtype}{unit}  [dim]{_plain(node.doc)}[/]\n"
        f"  {_plain(node.preview)}"
    )

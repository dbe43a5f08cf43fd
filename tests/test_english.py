"""Docstrings open with a verb or a noun, and help is short: `docs/explanation/style.md`."""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from clusterpipe.cache.schema import ARTIFACTS, Checkpoint, Groups, WordFeatures
from clusterpipe.pipeline.cli import app
from clusterpipe.pipeline.engine.config import Config

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    p for folder in ("cache", "stages", "pipeline") for p in (ROOT / folder).rglob("*.py")
)
QUESTION = re.compile(r"(what|which|whether|where|when|why|who|whose|whom|how)\b", re.IGNORECASE)
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield text.splitlines()[0]


def documented(record: type) -> Iterator[str]:
    for spec in fields(record):
        declared = spec.metadata["hdf5"]
        yield declared.doc
        if isinstance(declared, Groups):
            yield from documented(declared.of)


def settings() -> Iterator[tuple[str, str]]:
    for table, owner in Config().tables().items():
        yield from ((f"{table}.{s.name}", s.metadata["help"]) for s in fields(owner) if s.metadata)


def options() -> Iterator[tuple[str, str]]:
    """Every argument and option that is no setting: those add choices and default to their help."""
    of_settings = tuple(text for _, text in settings())
    own = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    inner = {f"{n} {i}": c for n, g in own.items() for i, c in getattr(g, "commands", {}).items()}
    for name, command in {**own, **inner}.items():
        for parameter in command.params:
            text = (getattr(parameter, "help", None) or "").replace("\\[", "[")
            if not text.startswith(of_settings):
                yield f"{name} {parameter.opts[0]}", text


HELP = [*settings(), *options()]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_open_with_a_verb_or_a_noun(path: Path) -> None:
    assert [line for line in docstrings(path) if QUESTION.match(line)] == []


@pytest.mark.parametrize("artifact", [*ARTIFACTS, Checkpoint, WordFeatures], ids=lambda a: a.name)
def test_datasets_are_described_by_nouns(artifact: type) -> None:
    assert [doc for doc in documented(artifact) if QUESTION.match(doc)] == []


def test_help_fits_two_lines_of_eighty_columns() -> None:
    long = [name for name, text in HELP if len(textwrap.wrap(text, 80)) > 2]
    assert long == []


def test_help_opens_with_a_verb_or_a_noun() -> None:
    assert [name for name, text in HELP if QUESTION.match(text) or text.startswith("of ")] == []

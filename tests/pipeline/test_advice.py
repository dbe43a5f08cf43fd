"""No advice is harmful: every command in our messages exists, and none of them invents a run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from clusterpipe.pipeline.cli import app

ROOT = Path(__file__).parents[2]
FOLDER = ("FOLDER", "SOURCE")


def texts(path: Path) -> Iterator[str]:
    """The string literals of a module that are no docstrings, `VALUE` for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "VALUE"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in parts | docs:
            yield str(node.value)


def advised() -> list[str]:
    """Every command line that stands in backquotes in a message."""
    found = set[str]()
    for folder in ("cache", "stages", "pipeline"):
        for path in (ROOT / folder).rglob("*.py"):
            for text in texts(path):
                found.update(re.findall(r"`clusterpipe ([^`]+)`", text))
    return sorted(found)


ADVICE = advised()


def test_there_is_advice() -> None:
    assert len(ADVICE) > 10


@pytest.mark.parametrize("line", ADVICE)
def test_advice_can_be_followed(line: str) -> None:
    """The command exists and takes these options and values."""
    name, *arguments = line.split()
    if name == "VALUE":
        return
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {o for p in commands[name].params for o in (*p.opts, *p.secondary_opts)}
    options = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    assert [option for option in options if option not in known] == []


@pytest.mark.parametrize("line", ADVICE)
def test_advice_invents_no_run(line: str) -> None:
    """run-all and embed name their images or their run, and a run alone is one that is there."""
    name, *arguments = line.split()
    if name == "run-all":
        assert {*FOLDER, "VALUE", "--run-dir"} & set(arguments), line

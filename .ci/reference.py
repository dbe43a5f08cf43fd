"""Reference pages from the declarations: rewrites the generated blocks of `docs/reference`.

    python .ci/reference.py [FOLDER]

A block lies between `<!-- begin NAME -->` and `<!-- end NAME -->`; what is around it is written by
hand and stays.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click
import typer

from clusterpipe.cache import errors
from clusterpipe.cache.schema import (
    ARTIFACTS,
    Artifact,
    Attribute,
    Checkpoint,
    Dataset,
    Groups,
    Members,
    Space,
    WordFeatures,
)
from clusterpipe.pipeline.cli import COMMANDS, app
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.stages.declaration import options_of
from clusterpipe.stages.heads import ALL, FINISHING

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
BLOCK = re.compile(r"(<!-- begin (\S+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """The text of a page with its blocks as the declarations have it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", page)


def settings() -> str:
    """One section per table of settings."""
    tables = Config().tables().items()
    return "\n\n".join(f"## `[{table}]`\n\n{_settings(owner)}" for table, owner in tables)


def heads() -> str:
    """One section per head: what it is, and its own account of it."""
    return "\n\n".join(_head(name, kind) for name, kind in {**ALL, **FINISHING}.items())


def commands() -> str:
    """One section per command, by what a person is about."""
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return "\n\n".join(
        f"## {panel}\n\n" + "\n\n".join(_command(name, known[name]) for name in names)
        for panel, names in COMMANDS.items()
    )


def artifacts() -> str:
    """One section per artifact, with a row per dataset and attribute."""
    return "\n\n".join(_artifact(kind) for kind in (*ARTIFACTS, Checkpoint, WordFeatures))


def exit_codes() -> str:
    """One row per exit code."""
    kinds = [kind for kind in vars(errors).values() if hasattr(kind, "exit_code")]
    rows = [["0", "", "Success."]]
    rows += [[str(kind.exit_code), f"`{kind.__name__}`", _first(kind)] for kind in kinds]
    rows += [["143", "`Interrupted`", "The same after SIGTERM."]]
    return _table(("code", "error in Python", "meaning"), rows)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "heads": heads,
    "commands": commands,
    "artifacts": artifacts,
    "exit-codes": exit_codes,
}


def _settings(owner: Any) -> str:
    rows = [[f"`{spec.name}`", _default(owner, spec), _meaning(spec)] for spec in options_of(owner)]
    return _table(("setting", "default", "meaning"), rows)


def _default(owner: Any, spec: Field[Any]) -> str:
    value = getattr(owner, spec.name)
    shown = ", ".join(f"`{part}`" for part in value) if isinstance(value, tuple) else f"`{value}`"
    return "empty" if value in ("", ()) else shown


def _meaning(spec: Field[Any]) -> str:
    choices = ", ".join(f"`{choice}`" for choice in spec.metadata["choices"])
    parts = [_sentence(spec.metadata["help"]), f"One of {choices}." if choices else ""]
    parts += [] if spec.metadata["affects_result"] else ["*Cannot change the result.*"]
    return " ".join(part for part in parts if part)


def _head(name: str, kind: type[Any]) -> str:
    return f"## `{name}`\n\n{_sentence(kind.about)}\n\n{_prose(kind)}"


def _command(name: str, known: click.Command) -> str:
    taken = [_parameter(parameter) for parameter in known.params if parameter.name != "help"]
    account = inspect.cleandoc(known.help or "")
    table = _table(("argument or option", "meaning"), taken)
    own = f"### `clusterpipe {name}`\n\n{account}\n\n{table}"
    below = getattr(known, "commands", {}).items()
    return "\n\n".join([own, *(_command(f"{name} {inner}", body) for inner, body in below)])


def _parameter(parameter: click.Parameter) -> list[str]:
    options = [*parameter.opts, *parameter.secondary_opts]
    argument = isinstance(parameter, click.Argument)
    name = parameter.human_readable_name.upper() if argument else "`, `".join(options)
    return [f"`{name}`", (getattr(parameter, "help", None) or "").replace("\\[", "[")]


def _artifact(kind: type[Artifact]) -> str:
    rows = [list(row) for row in _places(kind)]
    titles = ("place", "dims", "kind", "unit", "meaning")
    title, _, account = _prose(kind).partition(": ")
    table = _table(titles, rows)
    return f"## {title}\n\nFrom `{kind.stage}`: {account}\n\n{table}"


def _places(record: type, prefix: str = "") -> Iterator[tuple[str, ...]]:
    for spec in fields(record):
        declared = spec.metadata["hdf5"]
        path = f"{prefix}{getattr(declared, 'path', '') or spec.name}"
        if isinstance(declared, Groups):
            yield from _places(declared.of, "<space>/" if declared.of is Space else "<method>/")
        elif isinstance(declared, Attribute):
            yield f"`{prefix.rstrip('/')}@{spec.name}`", "", "attribute", "", declared.doc
        elif isinstance(declared, Members):
            yield f"`{path}/*`", "", "float", "", declared.doc
        elif isinstance(declared, Dataset):
            kind = declared.kind + ", optional" * declared.optional
            yield f"`{path}`", declared.dims or "scalar", kind, declared.unit, declared.doc


def _table(titles: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """One line that Markdown shows as it is: no end of cell, and no HTML outside of code."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(parts))


def _first(kind: type) -> str:
    return _prose(kind).split("\n\n")[0].replace("\n", " ")


def _prose(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!", ":")) else ".")


def main(folder: Path = FOLDER) -> None:
    """Rewrites the pages in `folder`."""
    for path in sorted(folder.glob("*.md")):
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

"""The README and the docs say what is so: their Python runs, their commands, settings and links
exist, and the reference is what the declarations say."""

import json
import re
import runpy
import shutil
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest
import typer
from program import paint

from clusterpipe.cache.schema import ARTIFACTS, Checkpoint, Dataset, Groups, WordFeatures
from clusterpipe.pipeline.cli import app
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.stages.heads import ALL, FINISHING

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
HISTORY = ("CHANGELOG.md", "count.md", "heads.md")  # name settings as they were when measured


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def written(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", written(path), re.DOTALL | re.MULTILINE)


# ---------------------------------------------------------------- Python


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "photos", per_kind=10)
    rng = np.random.default_rng(0)
    features = np.eye(4, 32)[np.arange(200) % 4] + 0.1 * rng.normal(size=(200, 32))
    np.save("features.npy", features)
    for part in ("000", "001"):
        (tmp_path / "parts" / part).mkdir(parents=True)
        with h5py.File(tmp_path / "parts" / part / "embeddings.h5", "w") as file:
            file.attrs["default_space"] = "clip"
            file["clip/features"] = features.astype(np.float16)
            file["id"] = [f"{part}/{row}.jpg" for row in range(200)]
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name_of)
def test_python_runs(page: Path, place: Path) -> None:
    scope: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(block, scope)  # noqa: S102


def cells() -> list[dict[str, Any]]:
    notebook = json.loads(written(ROOT / "docs/tutorials/notebook.ipynb"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_the_notebook_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    scope: dict[str, object] = {}
    for cell in cells():
        exec("".join(cell["source"]), scope)  # noqa: S102
    low, high = scope["estimate"].interval  # type: ignore[attr-defined]
    assert low <= scope["model"].n_clusters_ <= high  # type: ignore[attr-defined]  # another seed


def test_the_notebook_is_stored_as_it_ran() -> None:
    assert [cell["execution_count"] for cell in cells()] == list(range(1, len(cells()) + 1))
    for cell in cells():
        assert "error" not in [output["output_type"] for output in cell["outputs"]]


def test_python_is_shown_where_it_is_spoken_of() -> None:
    with_python = {name_of(page) for page in PAGES if blocks(page, "python")}
    assert {"README.md", "docs/how-to/python.md"} <= with_python


# ---------------------------------------------------------------- commands and settings


@cache
def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


def said(page: Path) -> Iterator[list[str]]:
    """Every command line of a page, as words; continued lines are one."""
    text = written(page).replace("\\\n", " ")
    for line in re.findall(
        r"(?<![\w/.-])clusterpipe ([a-z][a-z-]*(?![\w,])[^`\n#]*)", "\n".join(_code(text))
    ):
        yield re.split(r"\s+", line.split(" && ")[0].strip())


def _code(text: str) -> list[str]:
    fenced = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [*fenced, *re.findall(r"`([^`\n]+)`", text)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in said(page):
        assert words[0] in commands(), words
        command = commands()[words[0]]
        command = getattr(command, "commands", {}).get(words[1] if words[1:] else "", command)
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
        assert [option for option in options if option not in known] == [], words


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in HISTORY], ids=name_of)
def test_settings_exist(page: Path) -> None:
    config = Config()
    tables = "|".join(config.tables())
    named = set(re.findall(rf"(?<![\w./])((?:{tables})\.[a-z_.]+[a-z])(?![\w(])", written(page)))
    files = {name for name in named if name.endswith((".h5", ".md", ".py", ".csv"))}
    assert named - files <= {*config.keys(), *config.tables()}


# ---------------------------------------------------------------- the reference


def test_the_reference_is_what_the_declarations_say(tmp_path: Path) -> None:
    """`python .ci/reference.py` writes it anew."""
    shutil.copytree(ROOT / "docs/reference", tmp_path / "reference")
    runpy.run_path(str(ROOT / ".ci/reference.py"))["main"](tmp_path / "reference")
    for page in sorted((tmp_path / "reference").glob("*.md")):
        assert written(page) == written(ROOT / "docs/reference" / page.name), page.name


def test_every_generated_block_is_on_a_page() -> None:
    known = set(runpy.run_path(str(ROOT / ".ci/reference.py"))["BLOCKS"])
    assert known == set(re.findall(r"<!-- begin (\S+) -->", "".join(map(written, PAGES))))


def test_every_head_has_its_source() -> None:
    sources = written(ROOT / "docs/reference/heads.md").split("## Sources")[1]
    assert [name for name in (*ALL, *FINISHING) if f"`{name}`" not in sources] == []


def symbols(record: type) -> Iterator[str]:
    for spec in fields(record):
        declared = spec.metadata["hdf5"]
        if isinstance(declared, Groups):
            yield from symbols(declared.of)
        elif isinstance(declared, Dataset):
            yield from (symbol for symbol in declared.dims.split() if symbol.isalpha())


def test_every_letter_of_a_shape_is_explained() -> None:
    explained = re.findall(r"^\| ([a-z]) \|", written(ROOT / "docs/explanation/notation.md"), re.M)
    used = {letter for kind in (*ARTIFACTS, Checkpoint, WordFeatures) for letter in symbols(kind)}
    assert used <= set(explained)


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", written(page))
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_every_picture_is_shown() -> None:
    text = "".join(map(written, PAGES))
    pictures = sorted((ROOT / "docs/pictures").iterdir())
    assert [path.name for path in pictures if f"pictures/{path.name})" not in text] == []


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    assert len(README.splitlines()) <= 250
    assert "\npython -m pip install -e . && clusterpipe run-all\n" in README
    assert "\npython -m pip install -e '.[test]' && pytest\n" in README

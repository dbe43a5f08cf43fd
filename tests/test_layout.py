"""Who may import whom, and that what is packaged is what lies in the folders."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FACE = ROOT / "pipeline/face"  # it is `clusterpipe` itself
FOLDERS = ("cache", "stages", "pipeline")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "open_clip",
    "faiss",
    "sklearn",
    "scipy",
    "skimage",
    "matplotlib",
)
MAY_IMPORT = {
    "cache": ("clusterpipe.cache",),
    "stages": ("clusterpipe.cache", "clusterpipe.stages"),
    "pipeline": ("clusterpipe.cache", "clusterpipe.stages", "clusterpipe.pipeline"),
}
# The floors of the program, from the bottom up: a module imports from its own floor or below.
FLOORS = (
    ("pipeline/engine",),
    ("pipeline/results",),
    ("pipeline/terminal",),
    ("pipeline/report",),
    ("pipeline/resolving.py", "pipeline/whole_run.py"),
    ("pipeline/face",),
    ("pipeline/commands",),
    ("pipeline/cli.py",),
)
STAGES = (
    "embed",
    "estimate_k",
    "refine",
    "assign",
    "correct",
    "levels",
    "caption",
    "evaluate",
    "curate",
)


@cache
def imported(path: Path) -> frozenset[str]:
    """What a module imports, wherever in it; `from a import b` may mean a or a.b."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """The dotted name that a module is imported under."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if path.is_relative_to(FACE):
        parts = path.relative_to(FACE).with_suffix("").parts
    return ".".join(("clusterpipe", *(part for part in parts if part != "__init__")))


BY_NAME = {module_of(path): path for path in MODULES}


def neighbours(path: Path) -> set[str]:
    """The modules of ours that a module imports, wherever in it."""
    found = {name for name in imported(path) if name in BY_NAME}
    packages = {name for name in found if any(other.startswith(f"{name}.") for other in found)}
    return found - packages - {module_of(path)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_direction(path: Path) -> None:
    allowed = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    ours = [name for name in imported(path) if name.startswith("clusterpipe")]
    if path.is_relative_to(FACE):
        allowed = ("clusterpipe.",)
    assert [name for name in ours if not name.startswith(allowed)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_are_absolute(path: Path) -> None:
    assert [name for name in imported(path) if name.split(".")[0] in ("", *FOLDERS)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_library_stays_in_its_place(path: Path) -> None:
    top = {name.split(".")[0] for name in imported(path)}
    folder = path.relative_to(ROOT).parts[0]
    assert folder == "cache" or "h5py" not in top
    assert folder == "pipeline" or not top & {"rich", "typer"}


def floor(path: Path) -> int:
    """The floor of a module of the program; 0 below it, and above it for its own `__init__`."""
    name = name_of(path)
    if not name.startswith("pipeline/"):
        return 0
    found = [n for n, rooms in enumerate(FLOORS, start=1) if name.startswith(rooms)]
    return found[0] if found else len(FLOORS) + 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_looks_up(path: Path) -> None:
    """Local imports count: they are for what is heavy, not for what stands above."""
    above = [name for name in neighbours(path) if floor(BY_NAME[name]) > floor(path)]
    assert above == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    reached = {name: set(neighbours(path)) for name, path in BY_NAME.items()}
    while True:  # a step takes away those that import none of the modules left, or that none does
        needed = set().union(*reached.values())
        ends = {name for name, others in reached.items() if not others & reached.keys()}
        ends |= reached.keys() - needed
        if not ends:
            break
        reached = {name: others for name, others in reached.items() if name not in ends}
    assert sorted(reached) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_terminal_is_known_to_few(path: Path) -> None:
    top = {name.split(".")[0] for name in imported(path)}
    allowed = ("pipeline/terminal", "pipeline/commands", "pipeline/cli.py")
    assert name_of(path).startswith(allowed) or not top & {"rich", "typer"}


def test_what_is_printed_goes_through_one_door() -> None:
    """Names from outside are escaped in `terminal/escaping.py`, which alone makes rich's Text."""
    paths = [path for path in MODULES if path.name != "escaping.py"]
    assert [name_of(path) for path in paths if re.search(r"\bText\(", path.read_text())] == []


@pytest.mark.parametrize("path", sorted((ROOT / "stages/numerics").glob("*.py")), ids=name_of)
def test_numerics_know_nothing_of_ours(path: Path) -> None:
    ours = {name for name in imported(path) if name.startswith("clusterpipe")}
    assert all(name.startswith("clusterpipe.stages.numerics") for name in ours)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_do_not_import_each_other(stage: str) -> None:
    others = {f"clusterpipe.stages.{other}" for other in STAGES if other != stage}
    assert not others & set(imported(ROOT / "stages" / f"{stage}.py"))


def test_packages_are_the_folders() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == {
        module_of(path) for path in MODULES if path.name == "__init__.py"
    }
    assert settings["package-dir"]["clusterpipe"] == name_of(FACE)


def test_every_folder_with_code_is_a_package() -> None:
    assert [path for path in MODULES if not (path.parent / "__init__.py").exists()] == []


def test_no_module_is_imported_twice() -> None:
    import clusterpipe.pipeline  # noqa: F401

    assert not {"cache", "stages", "pipeline", "clusterpipe.pipeline.face"} & set(sys.modules)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["refine", "--help"], ["status"], ["config"], ["models"], ["heads", "scp"]],
)
def test_help_and_status_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from clusterpipe.pipeline.cli import main\n"
        f"sys.argv = ['clusterpipe', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\nMODULES', *sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split("MODULES")[1].split()}
    assert not loaded & set(HEAVY)

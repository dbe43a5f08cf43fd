"""The campaigns, short: a few trials of each; the long ones are run by hand."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


def campaign(name: str) -> ModuleType:
    """The script beside this file."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_damaged_artifacts_are_refused_or_read_as_they_were(tmp_path: Path) -> None:
    figures = campaign("damage").artifacts(60, 7, tmp_path, without_seal=0)
    assert figures.faults == []
    assert figures.outcome["refused"] > 40


@pytest.mark.slow
def test_damaged_feature_files_are_refused_or_give_arrays(tmp_path: Path) -> None:
    figures = campaign("damage").feature_files(40, 7, tmp_path)
    assert figures.faults == []


def test_every_mutant_is_another_program() -> None:
    mutants = campaign("mutants")
    text = "def f(a: int) -> bool:\n    return not (a + 2 < 3 and a == 1) or a is None\n"
    tree = ast.parse(text)
    number = len(list(mutants.places(tree)))
    found = {ast.unparse(mutants.mutant(tree, one)[0]) for one in range(number)}
    assert len(found) == number == 9
    assert ast.unparse(tree) not in found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_disturbed_commands_lose_nothing_and_go_on() -> None:
    """A command killed, out of space, beside another, on files that move, on slow files."""
    script = Path(__file__).with_name("disturbed.py")
    names = ("kills", "full-disk", "side-by-side", "moving-files", "slow-files")
    done = subprocess.run(
        [sys.executable, script, *names, "--count", "1", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert done.stdout.count("0 faults") == 5

"""Mutants of a module: small changes of its code, each of which a test of it should notice.

    python tests/campaigns/mutants.py stages/numerics/whitening.py [--count 20] [--seed 0]

Of all places where an operator, a comparison, a number or a truth value can be changed, `count` are
drawn. The tests are those of the mirrored file, tests/stages/numerics/test_whitening.py, the quick
ones. The file on disk stays as it is: each mutant lives in a fork, which compiles it in the place
of the module. Prints the mutants that no test noticed. Seeded; on Linux and macOS.
"""

import argparse
import ast
import copy
import importlib
import os
import random
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "scipy.linalg", "scipy.stats", "sklearn.cluster", "sklearn.metrics", "torch")
SECONDS = 120  # a mutant that runs for longer is noticed
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """What can be changed, as a node and the name of its field."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
            yield node, "op"
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            yield node, "ops"
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            yield node, "value"


def changed(node: Any, field: str) -> None:
    """Changes the node in place."""
    if field == "op":
        node.op = SWAPS[type(node.op)]()
    elif field == "ops":
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node.value, bool):
        node.value = not node.value
    else:
        node.value = node.value + 1


def mutant(tree: ast.Module, number: int) -> tuple[ast.Module, str]:
    """The module with the change of that number, and the change in words."""
    mutated = copy.deepcopy(tree)
    node, field = list(places(mutated))[number]
    before = ast.unparse(node)  # type: ignore[arg-type]
    changed(node, field)
    line = getattr(node, "lineno", 0)
    return ast.fix_missing_locations(mutated), f"line {line}: {before} -> {ast.unparse(node)}"


def survives(mutated: ast.Module, path: Path, tests: Path) -> bool:
    """True if the tests pass with the mutant, which only a fork of this process ever sees."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
        _compile_instead(path, mutated)
        quiet = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "-m", "not slow"]
        os._exit(int(pytest.main([*quiet, str(tests)])))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _compile_instead(path: Path, mutated: ast.Module) -> None:
    usual = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        if Path(self.path).resolve() == path:
            code: CodeType = compile(mutated, self.path, "exec")
            return code
        return usual(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def tests_of(path: Path) -> Path:
    """The test file that mirrors a module."""
    inside = path.relative_to(ROOT)
    return ROOT / "tests" / inside.parent / f"test_{inside.name}"


def survivors(path: Path, count: int, seed: int) -> tuple[int, list[str]]:
    """Number of mutants tried, and those that no test noticed, in words.

    Raises SystemExit when the tests fail without any change.
    """
    path, tree = path.resolve(), ast.parse(path.read_text(encoding="utf-8"))
    total = len(list(places(tree)))
    chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))
    if not survives(tree, path, tests_of(path)):
        raise SystemExit(f"{tests_of(path)} fails as it is")
    found = []
    for number in chosen:
        mutated, words = mutant(tree, number)
        if survives(mutated, path, tests_of(path)):
            found.append(words)
    return len(chosen), found


def main() -> None:
    """Tries mutants of every module that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=20, help="Mutants of each module.")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in HEAVY:
        importlib.import_module(name)
    for module in given.modules:
        tried, left = survivors(module, given.count, given.seed)
        print(f"{module}: {tried - len(left)} of {tried} noticed", *left, sep="\n  ", flush=True)


if __name__ == "__main__":
    main()

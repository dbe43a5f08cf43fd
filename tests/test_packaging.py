"""What pip is asked for, and that it gets along."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORK = {
    "torch": "import torch; x = torch.randn(500, 500); (x @ x).sum()",
    "faiss": (
        "import faiss, numpy; x = numpy.random.rand(500, 16).astype('f4'); "
        "faiss.Kmeans(16, 5, niter=3).train(x)"
    ),
}


@pytest.mark.parametrize(
    ("system", "machine"),
    list(product(("linux", "darwin", "win32"), ("x86_64", "aarch64", "arm64"))),
)
def test_exactly_one_faiss_is_required_everywhere(system: str, machine: str) -> None:
    environment = {"sys_platform": system, "platform_machine": machine}
    wanted = [
        requirement.name
        for requirement in map(Requirement, PROJECT["dependencies"])
        if requirement.name.startswith("faiss")
        and (requirement.marker is None or requirement.marker.evaluate(environment))
    ]
    gpu = (system, machine) == ("linux", "x86_64")
    assert wanted == ["faiss-gpu" if gpu else "faiss-cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("order", [("torch", "faiss"), ("faiss", "torch")])
def test_faiss_and_torch_live_in_one_process(order: tuple[str, str]) -> None:
    program = "; ".join(WORK[name] for name in order)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_licence_is_apache() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_is_not_python_is_in_the_wheel(tmp_path: Path) -> None:
    """setuptools leaves out what is not declared, and an editable install does not notice."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("cache", "pipeline", "stages"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build, tmp_path], cwd=tree, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    folders = (tree / name for name in ("cache", "pipeline", "stages"))
    ours = {path.relative_to(tree).as_posix() for f in folders for path in f.rglob("*.*")}
    face = {path for path in ours if path.startswith("pipeline/face/")}
    expected = (ours - face) | {Path(path).name for path in face}
    assert {name for name in packed if ".dist-info/" not in name} == {
        f"clusterpipe/{path}" for path in expected
    }
    _works_unpacked(wheel, tmp_path / "site")


def _works_unpacked(wheel: Path, site: Path) -> None:
    """The face and the program beside it, from the wheel alone: no editable install stands by."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "import clusterpipe as cp, clusterpipe.pipeline.cli as cli\n"
        "print(cp.__version__, cp.UsageError.exit_code, cp.Config().seed)\n"
        f"assert all(m.__file__.startswith({str(site)!r}) for m in (cp, cli))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == [PROJECT["version"], "2", "0"], done.stderr

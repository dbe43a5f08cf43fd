"""The program, run in the test's own folder, and a finished run to look at or to play with."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from program import Command, paint, run


@pytest.fixture
def clusterpipe(tmp_path: Path) -> Command:
    return partial(run, cwd=tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures with its finished run beside it; copy it before changing it."""
    home = tmp_path_factory.mktemp("finished")
    paint(home / "photos", per_kind=20)
    done = run("run-all", "photos", cwd=home)
    assert done.code == 0, done.err
    assert "60 images" in done.out
    return home


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to play with, file times kept.

    The run remembers where the pictures were; naming the source again moves it. Copies are other
    files, with inodes of their own, which embed takes note of.
    """
    shutil.copytree(finished, tmp_path / "home")
    config = tmp_path / "home/runs/photos/pipeline.toml"
    config.write_text(config.read_text().replace(str(finished), str(tmp_path / "home")))
    noted = run("embed", "photos", cwd=tmp_path / "home")
    assert noted.action("embed") == "refreshed", noted.err
    return tmp_path / "home"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The real program, run again and again, takes its time: all of this folder is slow."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)

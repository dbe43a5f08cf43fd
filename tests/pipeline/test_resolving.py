"""Several sources, and a list on stdin: which run they go to, and what it remembers."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import open_source
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.execute import default_run_dir, remember
from clusterpipe.pipeline.resolving import configured


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "album"
    for place in ("a/1.png", "b/2.png", "c/3.png", "d/4.png"):
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes(b"x")
    monkeypatch.chdir(folder)
    return folder


def resolved(source: str | Sequence[str], run_dir: Path | None = None) -> tuple[Config, Path]:
    config, run = configured(source, run_dir, None, None, None, {})
    return config, run.folder


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["a"], "a"),
        (["a", "b"], "a+b"),
        (["a", "b", "c", "d"], "a+3-more"),
        (["a/*.png"], "a"),
        (["a/1.png", "b/2.png"], "album"),
        (["x.h5::train/features"], "x-train_features"),
    ],
)
def test_runs_are_called_like_their_sources(album: Path, sources: list[str], name: str) -> None:
    (album / "x.h5").touch()
    every = [str(album / source) for source in sources]
    assert default_run_dir(every[0], every[1:]) == Path("runs") / name


def test_all_sources_are_remembered_as_absolute_paths(album: Path) -> None:
    config, _ = resolved(["a", "b/2.png"])
    assert (config.source.path, config.source.also) == (str(album / "a"), (f"{album}/b/2.png",))


def test_a_run_keeps_to_its_sources(album: Path) -> None:
    config, folder = resolved(["a", "b", "c", "d"])
    folder.mkdir(parents=True)
    remember(config, configured(["a", "b", "c", "d"], None, None, None, None, {})[1])
    assert resolved(["a", "b", "c", "d"])[1] == folder
    with pytest.raises(UsageError, match=r"belongs to .*/a .*/b"):
        resolved(["a", "/", "/tmp", "/usr"])


def test_a_single_source_after_several_is_single(album: Path) -> None:
    config, folder = resolved(["a", "b"], album / "run")
    folder.mkdir()
    remember(config, configured(["a", "b"], folder, None, None, None, {})[1])
    assert resolved([], folder)[0].source.also == (str(album / "b"),)
    assert resolved(["a"], folder)[0].source.also == ()


def test_paths_on_stdin_become_a_list_of_the_run(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a/1.png\nb/2.png\n")))
    config, folder = resolved("-")
    assert folder == Path("runs/stdin")
    monkeypatch.chdir("/")
    assert open_source(config.source).manifest.id.tolist() == [
        f"{album}/{name}" for name in ("a/1.png", "b/2.png")
    ]


@pytest.mark.usefixtures("album")
def test_nothing_on_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(UsageError, match="none came"):
        resolved("-")
    assert not Path("runs").exists()


def test_two_lists_in_one_folder_are_two_sources(album: Path) -> None:
    for name in ("x.csv", "x.txt"):
        (album / name).write_text("path\na/1.png\n")
    config, folder = resolved("x.csv")
    folder.mkdir(parents=True)
    remember(config, configured("x.csv", None, None, None, None, {})[1])
    with pytest.raises(UsageError, match=r"belongs to .*x\.csv"):
        resolved("x.txt")

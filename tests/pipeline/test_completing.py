"""The shell completes values: asked as bash asks, through the program's own completion."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clusterpipe.pipeline.cli import app
from clusterpipe.pipeline.commands.using import FORMATS
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.results.export import FORMATS as WRITTEN
from clusterpipe.stages import STAGES
from clusterpipe.stages.backbones.presets import PRESETS
from clusterpipe.stages.heads import ALL

Completed = Callable[..., list[str]]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Completed:
    """What may stand in the place of the last word, as the program answers bash."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_CLUSTERPIPE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(("clusterpipe", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            app(prog_name="clusterpipe")
        return capsys.readouterr().out.split()

    return ask


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run-all", "--until", ""), list(STAGES)),
        (("run-all", "--force", "e"), [name for name in STAGES if name.startswith("e")]),
        (("run-all", "--method", ""), ["auto", *ALL]),
        (("run-all", "--backbone", ""), list(PRESETS)),
        (("assign", "--features", "r"), ["refined"]),
        (("export", "--to", ""), list(FORMATS)),
        (("export", "--to", "p"), ["parquet"]),
        (("report", "--map", "t"), ["tsne"]),
        (("config", "--reset", "assign.k"), ["assign.k"]),
        (("run-all", "--set", "assign.feat"), ["assign.features="]),
        (("run-all", "--set", "assign.features=e"), ["assign.features=embeddings"]),
        (("run-all", "--set", "nothing.at=a"), []),
        (("search", "--device", "cu"), ["cuda"]),
    ],
)
def test_values_are_completed(
    words: tuple[str, ...], expected: list[str], completed: Completed
) -> None:
    assert completed(*words) == expected


def test_every_setting_is_completed(completed: Completed) -> None:
    assert set(Config().keys()) <= set(completed("config", "--reset", ""))


def test_the_formats_are_those_that_are_written() -> None:
    assert FORMATS == WRITTEN


def test_runs_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, completed: Completed
) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "pipeline.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert completed("report", "--run-dir", "runs/c") == ["runs/cats"]

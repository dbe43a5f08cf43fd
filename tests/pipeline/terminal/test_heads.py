"""`clusterpipe heads` and the help of assign: one line per head, the settings of one on demand."""

import json
from pathlib import Path

import pytest
from program import run

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.terminal.heads import print_heads
from clusterpipe.stages.heads import ALL, FINISHING


def test_all_heads_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_heads(None, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    for name in (*ALL, *FINISHING):
        assert sum(line.split()[:1] == [name] for line in lines) == 1


def test_the_settings_of_one_are_those_that_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    print_heads("scp", as_json=True)
    (head,) = json.loads(capsys.readouterr().out)["heads"]
    keys = [setting["key"] for setting in head["settings"]]
    assert keys == [key for key in Config().keys() if key.startswith("assign.scp.")]  # noqa: SIM118
    print_heads("scp", as_json=False)
    out = capsys.readouterr().out
    assert all(key in out for key in keys)
    print_heads("kmeans", as_json=False)
    assert "no settings of its own" in capsys.readouterr().out


def test_an_unknown_head_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean turtle"):
        print_heads("turtel", as_json=False)


def test_the_help_of_assign_is_short_and_names_every_head_once(tmp_path: Path) -> None:
    wide = {"COLUMNS": "120", "TERMINAL_WIDTH": "120"}
    lines = run("assign", "--help", cwd=tmp_path, env=wide).out.splitlines()
    assert len(lines) < 70
    for name in (*ALL, *FINISHING):
        assert sum(line.strip().startswith(f"{name}:") for line in lines) == 1
    assert not any("--scp" in line or "--turtle" in line for line in lines)

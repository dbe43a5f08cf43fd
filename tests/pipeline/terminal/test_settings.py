"""`init` and `config`: what can be set, and what is set."""

from pathlib import Path

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.engine.config import Config, load, override
from clusterpipe.pipeline.terminal import settings
from clusterpipe.pipeline.terminal.settings import write_settings


def test_what_init_writes_is_read_back(tmp_path: Path) -> None:
    wanted = override(Config(), ["assign.k=12", "source.path=photos"])
    write_settings(wanted, tmp_path / "pipeline.toml", replace=False)
    again = load(Config(), tmp_path / "pipeline.toml")
    assert (again.source, again.seed, again.stages) == (wanted.source, wanted.seed, wanted.stages)


def test_init_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.toml"
    path.write_text("seed = 3")
    with pytest.raises(UsageError, match="--force"):
        write_settings(Config(), path, replace=False)
    assert path.read_text() == "seed = 3"
    write_settings(Config(), path, replace=True)
    assert load(Config(), path).seed == 0


def test_config_tells_value_origin_and_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "my.toml").write_text("seed = 7\n[assign]\nseeds = 5\n")
    config = override(load(Config(), tmp_path / "my.toml", "my.toml"), ["assign.k=12"])
    settings.print_settings(config, changed_only=False, as_json=False)
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["seed"] == ["seed", "7", "my.toml", "0"]
    assert lines["assign.k"] == ["assign.k", "12", "--set", "0"]
    assert lines["assign.seeds"] == ["assign.seeds", "5", "my.toml", "3"]
    assert lines["assign.top"] == ["assign.top", "5", "default"]
    assert len(lines) == len(Config().keys()) + 1
    settings.print_settings(config, changed_only=True, as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == 4

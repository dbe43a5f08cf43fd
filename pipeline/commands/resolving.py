"""Which run a command means, and the settings it has there."""

from pathlib import Path
from typing import Any

from clusterpipe.cache.errors import MissingArtifact, UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import SourceConfig
from clusterpipe.pipeline.engine.config import Config, load, override
from clusterpipe.pipeline.engine.execute import default_run_dir, with_appended

DEFAULT_FILE = Path("pipeline.toml")


def configured(
    source: str | None,
    run_dir: Path | None,
    file: Path | None,
    assignments: list[str] | None,
    seed: int | None,
    settings: dict[str, Any],
) -> tuple[Config, RunDirectory]:
    """Defaults, then the run's own settings or a new run's file, then --set, then options."""
    config = _base(source, run_dir, file)
    config = override(config, assignments or ())
    for key, value in settings.items():
        config = config.set(key, value, "option")
    if seed is not None:
        config = config.set("seed", seed, "option")
    if source is not None:
        config = config.set("source.path", absolute(source), "argument")
    folder = run_dir or default_run_dir(config.source.path)
    _refuse_another_source(folder, config, named=run_dir is not None)
    run = RunDirectory(folder)
    return with_appended(config, run), run


def existing_run(run_dir: Path | None) -> tuple[Config, RunDirectory]:
    """A run that is there, with the settings it keeps."""
    folder = run_dir or only_run()
    if not RunDirectory(folder).config.exists():
        raise MissingArtifact(f"{folder} is no run: start one with `clusterpipe run-all`")
    return configured(None, folder, None, None, None, {})


def only_run() -> Path:
    """The run a command without --run-dir means."""
    found = sorted(path.parent for path in Path("runs").glob("*/pipeline.toml"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise MissingArtifact("there is no run under runs/: start with `clusterpipe run-all`")
    raise UsageError(f"there are several runs: give --run-dir {' or '.join(map(str, found))}")


def absolute(source: str) -> str:
    """The source as it is remembered, whatever folder a later command is given in."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() or source != SourceConfig().path else source


def unread_settings(run: RunDirectory) -> str:
    """A remark when ./pipeline.toml is newer than the run's settings and differs; else empty."""
    if not run.config.exists() or not DEFAULT_FILE.exists():
        return ""
    if DEFAULT_FILE.stat().st_mtime <= run.config.stat().st_mtime:
        return ""
    here, kept = load(Config(), DEFAULT_FILE), load(Config(), run.config, outlived=True)
    if here.source.path != kept.source.path or here.stages == kept.stages:
        return ""
    return (
        f"{run.folder} keeps its own settings; ./pipeline.toml differs and was not read "
        "(--config pipeline.toml applies it)"
    )


def _base(source: str | None, run_dir: Path | None, file: Path | None) -> Config:
    config = Config()
    folder = run_dir or (default_run_dir(absolute(source)) if source else None)
    if folder is None and DEFAULT_FILE.exists():
        config = load(config, DEFAULT_FILE)
        folder = default_run_dir(config.source.path)
    kept = RunDirectory(folder or default_run_dir(config.source.path)).config
    if kept.exists():
        config = load(Config(), kept, "run", outlived=True)
    elif DEFAULT_FILE.exists() and file is None:
        config = load(config, DEFAULT_FILE)
    return load(config, file) if file else config


def _refuse_another_source(folder: Path, config: Config, *, named: bool) -> None:
    kept = RunDirectory(folder).config
    if named or not kept.exists():
        return
    before = load(Config(), kept, outlived=True).source.path
    if before != config.source.path:
        raise UsageError(
            f"{folder} belongs to {before}: give --run-dir another folder for {config.source.path}"
        )

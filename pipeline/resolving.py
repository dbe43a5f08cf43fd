"""Resolution of a command's run and of the settings it has there."""

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clusterpipe.cache import storage
from clusterpipe.cache.errors import (
    ClusterpipeError,
    Interrupted,
    MissingArtifact,
    RunLocked,
    UsageError,
    WeightsMissing,
)
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import SourceConfig, folder_of
from clusterpipe.cache.sources.several import is_pattern
from clusterpipe.cache.sources.text import paths_in
from clusterpipe.pipeline.engine.config import Config, load, override
from clusterpipe.pipeline.engine.execute import default_run_dir, remember, with_appended
from clusterpipe.pipeline.results.runs import RUNS, image_in, no_run, runs
from clusterpipe.stages import STAGES

DEFAULT_FILE = Path("pipeline.toml")


def configured(
    source: str | Sequence[str] | None,
    run_dir: Path | None,
    file: Path | None,
    assignments: list[str] | None,
    seed: int | None,
    settings: Mapping[str, Any],
    *,
    start: Config | None = None,
) -> tuple[Config, RunDirectory]:
    """Defaults, then the run's own settings or a new run's file, then --set, then options.

    A whole config to `start` from stands in the place of the first three. `source` may be several,
    and `-` a list of paths on stdin, which is kept in the folder of the run.
    """
    sources, run_dir = _given(source, run_dir)
    config = start or _base(sources, run_dir, file)
    config = override(config, assignments or ())
    for key, value in settings.items():
        config = config.set(key, value, "option")
    if seed is not None:
        config = config.set("seed", seed, "option")
    if sources:
        config = config.set("source.path", sources[0], "argument")
        config = config.set("source.also", tuple(sources[1:]), "argument")
    folder = run_dir or default_run_dir(config.source.path, config.source.also)
    _refuse_another_source(folder, config, named=run_dir is not None)
    run = RunDirectory(folder)
    if not run.config.exists():
        if run_dir and not _is_source_named(config):
            raise MissingArtifact(no_run(folder))
        if image := image_in(folder):
            raise UsageError(
                f"{folder} holds images, such as {image}, and no run: give --run-dir a folder of "
                "its own"
            )
    return with_appended(config, run), run


def existing_run(run_dir: Path | None) -> tuple[Config, RunDirectory]:
    """A run that is there, with the settings it keeps. Raises MissingArtifact when it is none."""
    folder = run_dir or only_run()
    if not RunDirectory(folder).config.exists():
        raise MissingArtifact(no_run(folder))
    return configured(None, folder, None, None, None, {})


def run_to_read(run_dir: Path | None, note: Callable[[str], None]) -> tuple[Config, RunDirectory]:
    """The run that a command which changes nothing means: the one named, or the latest.

    With several runs under runs/, `note` is told which one was taken.
    """
    found = [] if run_dir else runs()
    if len(found) > 1:
        note(f"the latest of {len(found)} runs: {found[0]} (--run-dir names another)")
    return existing_run(run_dir or (found[0] if found else None))


def only_run() -> Path:
    """The run that a command which changes it means when it gets no --run-dir.

    Raises MissingArtifact without any run under runs/, and UsageError with several.
    """
    found = runs()
    if not found:
        raise MissingArtifact(
            f"there is no run under {RUNS}/: start with `clusterpipe run-all FOLDER`"
        )
    if len(found) > 1:
        raise UsageError(f"there are several runs: give --run-dir {' or '.join(map(str, found))}")
    return found[0]


def run_of_stage(name: str, source: Sequence[str] | None, run_dir: Path | None) -> Path | None:
    """The run directory for the command of one stage; only one that reads a source, and is given
    it, starts one.

    Raises like `only_run`.
    """
    if run_dir or (STAGES[name].outside and (source or _is_source_named(_file_here()))):
        return run_dir
    return only_run()


@contextmanager
def telling_what_is_remembered(config: Config, run: RunDirectory) -> Iterator[None]:
    """Adds to an error which settings of this command the run does not remember, and how to undo
    one that it remembers from before."""
    try:
        yield
    except (Interrupted, RunLocked):
        raise
    except ClusterpipeError as error:
        kept = kept_settings(run) if run.config.exists() else Config()
        if tried := [
            key
            for key, origin in config.origin.items()
            if origin in _GIVEN and config.get(key) != kept.get(key)
        ]:
            error.add_note(f"not remembered: {', '.join(_pairs(config, tried))}")
        if isinstance(error, UsageError | WeightsMissing) and (before := _changed(kept)):
            error.add_note(
                f"remembered from before: {', '.join(_pairs(kept, before))}; take a default again "
                f"with `clusterpipe config --reset {before[0]} --run-dir {run.folder}`"
            )
        raise


_GIVEN = ("--set", "option")


def _changed(kept: Config) -> list[str]:
    """The settings of stages that a run keeps and that are no defaults."""
    defaults = Config()
    return [
        key
        for key in kept.origin
        if not key.startswith("source.") and kept.get(key) != defaults.get(key)
    ]


def _pairs(config: Config, keys: Iterable[str]) -> Iterator[str]:
    return (f"{key} = {json.dumps(config.get(key), ensure_ascii=False)}" for key in keys)


def kept_settings(run: RunDirectory, *, without: Collection[str] = ()) -> Config:
    """The settings a run keeps, but for those in `without`. Raises UsageError when one is bad."""
    try:
        return load(Config(), run.config, "run", outlived=True, without=without)
    except UsageError as error:
        error.add_note(
            f"take its default again with `clusterpipe config --reset KEY --run-dir {run.folder}`"
        )
        raise


def reset(
    source: Sequence[str] | None, run_dir: Path | None, names: Sequence[str]
) -> dict[str, Any]:
    """Gives settings of a run, or all of a table, their defaults again; which, by key.

    Raises UsageError for an unknown name and for source.path, MissingArtifact for no run.
    """
    wanted = {key for name in names for key in Config().keys_of(name)}
    if "source.path" in names:
        raise UsageError("source.path has no default in a run: it is what the run is about")
    sources, run_dir = _given(source, run_dir)
    folder = run_dir or (default_run_dir(sources[0], sources[1:]) if sources else only_run())
    run = RunDirectory(folder)
    if not run.config.exists():
        raise MissingArtifact(no_run(folder))
    with run.locked():
        config = kept_settings(run, without=wanted - {"source.path"})
        remember(config, run)
    return {key: config.get(key) for key in config.keys() if key in wanted}  # noqa: SIM118


def absolute(source: str) -> str:
    """The source as it is remembered, whatever folder a later command is given in."""
    path = Path(source).expanduser()
    if re.match(r"[a-zA-Z][\w+.-]*:/", source) and not path.exists():
        return source  # an address, which opening refuses
    return str(path.resolve()) if path.exists() or source != SourceConfig().path else source


def _given(
    source: str | Sequence[str] | None, run_dir: Path | None
) -> tuple[list[str], Path | None]:
    """The sources as they are remembered, and the run directory that they go to if any is named."""
    names = [source] if isinstance(source, str) else list(source or ())
    if names != ["-"]:
        return [absolute(name) for name in names], run_dir
    folder = run_dir or RUNS / "stdin"
    return [str(_kept_list(folder))], folder


def _kept_list(folder: Path) -> Path:
    """The paths on stdin as a list in the folder of a run, for later commands to read."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "- takes paths from stdin: find photos -name '*.jpg' | clusterpipe run-all -"
        )
    paths = [os.path.abspath(path) for path in paths_in(sys.stdin.buffer.read())]  # noqa: PTH100
    if not paths:
        raise UsageError("- takes paths from stdin, and none came")
    kept = (folder / "paths.txt").absolute()
    with storage.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with storage.replacing(kept) as temporary:
            temporary.write_bytes(b"\0".join([*paths, b""]))
    return kept


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


def _is_source_named(config: Config) -> bool:
    return "source.path" in config.origin


def _file_here() -> Config:
    return load(Config(), DEFAULT_FILE) if DEFAULT_FILE.exists() else Config()


def _base(sources: Sequence[str], run_dir: Path | None, file: Path | None) -> Config:
    config = Config()
    folder = run_dir or (default_run_dir(sources[0], sources[1:]) if sources else None)
    if folder is None and DEFAULT_FILE.exists():
        config = load(config, DEFAULT_FILE)
        folder = default_run_dir(config.source.path, config.source.also)
    run = RunDirectory(folder or default_run_dir(config.source.path))
    if run.config.exists():
        config = kept_settings(run)
    elif DEFAULT_FILE.exists() and file is None:
        config = load(config, DEFAULT_FILE)
    return load(config, file) if file else config


def _refuse_another_source(folder: Path, config: Config, *, named: bool) -> None:
    kept = RunDirectory(folder).config
    if named or not kept.exists():
        return
    before, now = kept_settings(RunDirectory(folder)).source, config.source
    if (before.path, before.also) != (now.path, now.also) and not _same_folder(before, now):
        raise UsageError(
            f"{folder} belongs to {_named(before)}: give --run-dir another folder for {_named(now)}"
        )


def _same_folder(before: SourceConfig, now: SourceConfig) -> bool:
    """True if both are images of one folder, all of them or those that were named."""
    of_folder = (
        bool(source.also) or is_pattern(source.path) or Path(source.path).is_dir()
        for source in (before, now)
    )
    return all(of_folder) and folder_of(before) == folder_of(now)


def _named(source: SourceConfig) -> str:
    return " ".join([source.path, *source.also[:3], *(["..."] if len(source.also) > 3 else [])])

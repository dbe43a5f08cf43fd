"""A whole run: every stage brought up to date by the engine, then pictures and plots of it."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import open_source
from clusterpipe.pipeline.engine import execute, plan
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.events import Tell, nobody
from clusterpipe.pipeline.engine.execute import RunResult, default_run_dir, with_appended
from clusterpipe.pipeline.results.pictures import contact_sheets
from clusterpipe.pipeline.results.plots import plots
from clusterpipe.stages.declaration import Stage


def run_all(
    config: Config | None = None,
    *,
    run_dir: Path | None = None,
    until: str = "",
    force: Collection[str] = (),
    progress: Progress = silent,
    tell: Tell = nobody,
) -> RunResult:
    """Brings every stage of a run up to date, up to and including `until`, and draws the result.

    `run_dir` is where the artifacts go, by default runs/<name of the source>. Stages in `force`
    run even if they are fresh. Raises the errors of `clusterpipe.cache.errors`.
    """
    config = (config or Config()).checked()
    run = RunDirectory(run_dir or default_run_dir(config.source.path, config.source.also))
    config = with_appended(config, run)
    stages = _until(plan.order(config), until)
    source = open_source(config.source, progress=progress)
    with run.locked():
        done = execute.run_all(
            config, run, source, stages=stages, force=force, progress=progress, tell=tell
        )
        sheets = contact_sheets(run, source, progress=progress)
        drawn = plots(run, progress=progress)
    return replace(done, pictures=tuple(sheets), plots=tuple(drawn))


def _until(stages: list[Stage], until: str) -> list[Stage]:
    if not until:
        return stages
    names = [stage.name for stage in stages]
    if until not in names:
        raise UsageError(f"--until takes one of {', '.join(names)}, not {until!r}")
    return stages[: names.index(until) + 1]

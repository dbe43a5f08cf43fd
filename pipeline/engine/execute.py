"""Runs stages: loads what each reads, calls it, writes what it returns, skips what is fresh."""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clusterpipe.cache import artifact, storage
from clusterpipe.cache.checkpoints import CheckpointStore
from clusterpipe.cache.errors import (
    DamagedArtifact,
    Interrupted,
    MissingArtifact,
    StorageError,
    UsageError,
)
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import Provenance
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import ARTIFACTS, Checkpoint, Embeddings, Metrics
from clusterpipe.cache.sources import FeatureSource, ImageSource, Source, open_source
from clusterpipe.cache.sources.places import parted
from clusterpipe.cache.sources.several import common_folder, is_pattern
from clusterpipe.pipeline.engine import inputs, plan
from clusterpipe.pipeline.engine.config import Config, dump, harmless, load
from clusterpipe.pipeline.engine.events import Action, StageEvent, Tell, nobody
from clusterpipe.pipeline.engine.growth import Growth
from clusterpipe.pipeline.engine.inputs import Resolved
from clusterpipe.pipeline.engine.plan import StageState
from clusterpipe.pipeline.engine.repeatable import repeatable
from clusterpipe.stages import STAGES
from clusterpipe.stages.declaration import Stage

LONG_EMBEDDING = 2_000  # images, from which on the time and bytes are told beforehand


@dataclass(frozen=True)
class RunResult:
    """Result of a run: its folder and artifacts, what was done, the metrics, and what was drawn.

    `metrics` holds, per method, the values of the labels the run stands by; metrics that need
    ground truth are absent without it.
    """

    folder: Path
    artifacts: dict[str, Path]
    events: tuple[StageEvent, ...]
    metrics: dict[str, dict[str, float]]
    pictures: tuple[Path, ...] = ()
    plots: tuple[Path, ...] = ()


def run_all(
    config: Config,
    run: RunDirectory,
    source: Source,
    *,
    stages: Iterable[Stage],
    force: Collection[str] = (),
    progress: Progress = silent,
    tell: Tell = nobody,
) -> RunResult:
    """Brings `stages` up to date, in their order; those in `force` run even if they are fresh.

    The caller holds the run's lock. The run remembers settings as `remembering` says. Raises the
    errors of `clusterpipe.cache.errors`.
    """
    events = []
    with remembering(config, run) as done, repeatable(config.compute):
        for stage in stages:
            forced = stage.name in force
            events.append(up_to_date(stage, config, run, source, forced, progress, tell))
            done.append(stage)
    return result(run, tuple(events))


def run_stage(
    name: str,
    config: Config,
    run_dir: Path,
    *,
    force: bool = False,
    progress: Progress = silent,
    tell: Tell = nobody,
) -> RunResult:
    """Brings one stage up to date from the artifacts that are there.

    Raises MissingArtifact naming the stage to run first, and the other errors of
    `clusterpipe.cache.errors`.
    """
    stage, run = STAGES[name], RunDirectory(run_dir)
    config = with_appended(config.checked(), run)
    plan.order(config)
    source = open_source(config.source, progress=progress) if stage.outside else None
    if source is None and not run.artifact(Embeddings).exists():
        raise MissingArtifact(
            f"{run.artifact(Embeddings)} is missing: run `clusterpipe embed SOURCE --run-dir "
            f"{run_dir}` first"
        )
    with run.locked(), remembering(config, run), repeatable(config.compute):
        plan.refuse_damaged(stage, config, run)
        event = up_to_date(stage, config, run, source, force, progress, tell)
    return result(run, (event,))


def default_run_dir(source: str, also: Sequence[str] = ()) -> Path:
    """runs/<name of the source> under the current folder; of several sources runs/a+b, or
    runs/a+9-more, and of patterns and files of one folder that of the folder."""
    every = (source, *also)
    if (also or is_pattern(source)) and not any(Path(one).is_dir() for one in every):
        names = [common_folder(every).name]
    elif len(every) > 3:
        names = [_name(source), f"{len(also)}-more"]
    else:
        names = [_name(one) for one in every]
    return Path("runs") / "+".join(map(safe_name, names))


def _name(source: str) -> str:
    file, place = parted(source)
    path = Path(file).expanduser().resolve()
    name = path.stem if path.is_file() else path.name
    return f"{name}-{place}" if place else name


def with_appended(config: Config, run: RunDirectory) -> Config:
    """The settings with the images that were appended to this run, wherever it has been moved."""
    if run.appended.exists():
        return config.set("source.appended", str(run.appended.absolute()), "run")
    gone = config.source.appended and not Path(config.source.appended).exists()
    return config.set("source.appended", "", "run") if gone else config


def remember(config: Config, run: RunDirectory) -> None:
    """Keeps the resolved settings with the run."""
    text = dump(config)
    if not run.config.exists() or run.config.read_text(encoding="utf-8") != text:
        storage.write_text(run.config, text)


@contextmanager
def remembering(config: Config, run: RunDirectory) -> Iterator[list[Stage]]:
    """Keeps the settings with the run; an error takes back those that have not worked.

    Yields the list of the stages that are up to date, for the caller to fill. After an error the
    run has the settings of these and of its source, and otherwise what it had before; if it was
    none before and no stage has finished, it is none. An interrupted or killed run keeps them all,
    so that the same command goes on. To be used under the lock.
    """
    before = storage.set_aside(run.config)
    done: list[Stage] = []
    try:
        remember(config, run)
        yield done
    except Interrupted:
        raise
    except Exception:
        _take_back(before, run)
        with suppress(StorageError):
            _remember_stages(done, config, run)
        raise
    finally:
        if before:
            before.unlink(missing_ok=True)


def _take_back(before: Path | None, run: RunDirectory) -> None:
    if before:
        before.replace(run.config)
    else:
        run.config.unlink(missing_ok=True)


def _remember_stages(done: Sequence[Stage], config: Config, run: RunDirectory) -> None:
    if not done:
        return
    kept = load(Config(), run.config, outlived=True) if run.config.exists() else Config()
    tables = {stage.table: config.of(stage.name) for stage in done}
    kept = replace(kept, source=config.source, seed=config.seed, stages={**kept.stages, **tables})
    remember(kept, run)


def result(run: RunDirectory, events: tuple[StageEvent, ...]) -> RunResult:
    """Result of a run directory as it is now."""
    paths = {kind.name: run.artifact(kind) for kind in ARTIFACTS if run.artifact(kind).exists()}
    metrics = _metrics(paths[Metrics.name]) if Metrics.name in paths else {}
    return RunResult(run.folder, paths, events, metrics)


def up_to_date(
    stage: Stage,
    config: Config,
    run: RunDirectory,
    source: Source | None,
    force: bool,
    progress: Progress,
    tell: Tell,
) -> StageEvent:
    resolved = inputs.resolve(stage, config, run, source)
    for remark in resolved.source.manifest.remarks if resolved.source is not None else ():
        tell(StageEvent(stage.name, "note", (remark,)))
    state = plan.state_of_resolved(resolved)
    if state.state == "blocked":
        resolved.arguments()
    event = StageEvent(
        stage.name, "skipped" if state.state == "skipped" else "fresh", state.reasons
    )
    if state.needs_run or state.refresh or force:
        state = replace(state, growth=None if force else state.growth)
        event = _execute(resolved, state, progress, tell)
    tell(event)
    return event


def _execute(resolved: Resolved, state: StageState, progress: Progress, tell: Tell) -> StageEvent:
    stage, config, run = resolved.stage, resolved.config, resolved.run
    forced = state.state in ("fresh", "skipped") and not state.refresh
    reasons = ("forced",) if forced else state.reasons or (state.state,)
    if not state.refresh:
        tell(StageEvent(stage.name, "starts", reasons))
        _warn_of_length(resolved, tell)
    began = time.monotonic()
    resolved.identity()  # of what is read, before it can change
    grown = state.growth
    record = _extend(resolved, grown) if grown else _call(resolved, progress, tell)
    seconds = time.monotonic() - began
    compute = vars(config.compute) if stage.computes else {}
    made = Provenance(
        identity=resolved.identity_of(record),
        how={**harmless(resolved.settings), **compute},
        seconds=seconds,
        device=config.compute.device if stage.computes else "cpu",
        appended=_appended(stage, run, state.growth),
    )
    artifact.write(run.artifact(stage.writes), record, made)
    if stage.resumes:
        run.artifact(Checkpoint).unlink(missing_ok=True)
    action: Action = "refreshed" if state.refresh else "extended" if state.growth else "ran"
    return StageEvent(stage.name, action, reasons, seconds)


def _appended(stage: Stage, run: RunDirectory, growth: Growth | None) -> int:
    """Number of images the artifact will hold that no fit has seen."""
    if growth is None:
        return 0
    before = artifact.header(run.artifact(stage.writes), stage.writes).attributes.get("appended", 0)
    return int(before) + growth.added


def _warn_of_length(resolved: Resolved, tell: Tell) -> None:
    config, run, source = resolved.config, resolved.run, resolved.source
    if isinstance(source, FeatureSource) or not isinstance(source, ImageSource):
        return
    from clusterpipe.pipeline.engine.embedding_cost import estimate, pending_images

    pending = pending_images(config, run, source)
    if any(count * (target.views or 1) >= LONG_EMBEDDING for target, count in pending.items()):
        tell(StageEvent(resolved.stage.name, "note", (str(estimate(config, run, source)),)))


def _call(resolved: Resolved, progress: Progress, tell: Tell) -> Any:
    stage, arguments = resolved.stage, resolved.arguments()
    if stage.computes:
        arguments["compute"] = resolved.config.compute
    if stage.resumes:
        arguments["checkpoint"] = _sound_checkpoint(resolved, tell)
    if stage.seeded:
        arguments["seed"] = inputs.stage_seed(resolved.config.seed, stage.name)
    return stage.function(**arguments, config=resolved.settings, progress=progress)


def _sound_checkpoint(resolved: Resolved, tell: Tell) -> CheckpointStore:
    """The stage's checkpoint store; a damaged checkpoint is deleted first."""
    checkpoint, name = plan.checkpoint(resolved), resolved.stage.name
    try:
        checkpoint.read()
    except DamagedArtifact:
        checkpoint.remove()
        note = f"{checkpoint.path} was damaged and is removed: {name} starts anew"
        tell(StageEvent(name, "note", (note,)))
    return checkpoint


def _extend(resolved: Resolved, growth: Growth) -> Any:
    stage, path = resolved.stage, resolved.run.artifact(resolved.stage.writes)
    if stage.extend is None:
        raise UsageError(f"{stage.name} cannot take in images without running anew")
    previous = artifact.read(path, stage.writes)
    return stage.extend(previous, resolved.arguments(), growth.before)


def _metrics(path: Path) -> dict[str, dict[str, float]]:
    metrics = artifact.read(path, Metrics)
    table = zip(metrics.method, metrics.chosen_value.tolist(), strict=True)
    return {
        method: {m: v for m, v in zip(metrics.metric, row, strict=True) if v == v}
        for method, row in table
    }

"""Running: run-all, a command per stage, and status, which says what they would do."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.escaping import json_text
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import FeatureSource, ImageSource, open_source
from clusterpipe.pipeline.commands.arguments import (
    ConfigFile,
    DryRun,
    Force,
    Json,
    Quiet,
    Run,
    RunDir,
    Seed,
    Set,
    SourceArgument,
    Verbose,
)
from clusterpipe.pipeline.commands.completing import stages
from clusterpipe.pipeline.commands.options import command, keys_of
from clusterpipe.pipeline.engine import plan
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.execute import run_stage
from clusterpipe.pipeline.resolving import (
    configured,
    run_of_stage,
    run_to_read,
    telling_what_is_remembered,
    unread_settings,
)
from clusterpipe.pipeline.whole_run import run_all
from clusterpipe.stages import STAGES
from clusterpipe.stages.declaration import Input, Stage
from clusterpipe.stages.heads import ALL, FINISHING

JSON_VERSION = 1
_SHORT = {  # settings of single stages that run-all has an option for
    "embed.backbones": "--backbone",
    "assign.k": "--k",
    "assign.methods": "--method",
}
_EMBED_OPTIONS = ("embed.max_bad", "embed.rehash", "embed.retry_skipped")
_SHARED = {
    "run_dir": (RunDir, None),
    "config": (ConfigFile, None),
    "set": (Set, None),
    "seed": (Seed, None),
}


def _run_all(
    *,
    source: list[str] | None,
    run_dir: Path | None,
    config: Path | None,
    set: list[str] | None,
    seed: int | None,
    until: str,
    force: list[str] | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    json_: bool,
    settings: dict[str, Any],
) -> None:
    from clusterpipe.pipeline.terminal.console import Reporter

    resolved, run = configured(source, run_dir, config, set, seed, settings)
    reporter = Reporter(quiet)
    for name in force or ():
        if name not in STAGES:
            raise UsageError(f"--force takes one of {', '.join(STAGES)}, not {name!r}")
    if dry_run:
        _show_plan(resolved, run, json_)
        return
    _remark(run, reporter)
    with telling_what_is_remembered(resolved, run):
        result = run_all(
            resolved,
            run_dir=run.folder,
            until=until,
            force=force or (),
            progress=reporter.progress,
            tell=reporter.tell,
        )
    from clusterpipe.pipeline.terminal.summary import print_outcome

    print_outcome(result, resolved, as_json=json_, verbose=verbose)


def _run_one(
    stage: Stage,
    *,
    source: list[str] | None = None,
    run_dir: Path | None,
    config: Path | None,
    set: list[str] | None,
    seed: int | None,
    force: bool,
    dry_run: bool,
    quiet: bool,
    settings: dict[str, Any],
) -> None:
    from clusterpipe.pipeline.terminal.console import Reporter

    run_dir = run_of_stage(stage.name, source, run_dir)
    resolved, run = configured(source, run_dir, config, set, seed, settings)
    if dry_run:
        _show_plan(resolved, run, as_json=False)
        return
    reporter = Reporter(quiet)
    if stage.outside:
        _remark(run, reporter)
    with telling_what_is_remembered(resolved, run):
        done = run_stage(
            stage.name,
            resolved,
            run.folder,
            force=force,
            progress=reporter.progress,
            tell=reporter.tell,
        )
    if path := done.artifacts.get(stage.writes.name):
        typer.echo(path)


def status(
    run_dir: Run = None,
    json_: Json = False,
) -> None:
    """Say for every stage whether it is fresh, and if not, why."""
    from clusterpipe.pipeline.terminal.console import Reporter

    resolved, run = run_to_read(run_dir, Reporter().note)
    _show_plan(resolved, run, json_, estimating=False)


def _remark(run: RunDirectory, reporter: Any) -> None:
    if remark := unread_settings(run):
        reporter.note(remark)


def _show_plan(config: Config, run: RunDirectory, as_json: bool, estimating: bool = True) -> None:
    from clusterpipe.pipeline.terminal.states import print_states

    try:
        source = open_source(config.source)
    except UsageError:
        if estimating:
            raise
        source = None  # a run outlives its images
    states = plan.examine(config, run, source)
    costs = None
    given = isinstance(source, FeatureSource) or not _reads_it(states)
    if estimating and isinstance(source, ImageSource) and not given:
        from clusterpipe.pipeline.engine.embedding_cost import estimate

        costs = estimate(config, run, source)
    if as_json:
        rows = [{**asdict(state), "needs_run": state.needs_run} for state in states]
        document = {"schema_version": JSON_VERSION, "run_dir": str(run.folder), "stages": rows}
        typer.echo(json_text({**document, "estimate": asdict(costs) if costs else None}))
    else:
        print_states(run, states, costs)


def _reads_it(states: Iterable[plan.StageState]) -> bool:
    return any(state.needs_run and STAGES[state.stage].outside for state in states)


def everything() -> Callable[..., None]:
    """`run-all`, whose options are the source's settings and a few of embed and assign."""
    until = Annotated[str, typer.Option(help="Stop after this stage.", autocompletion=stages)]
    force = Annotated[
        list[str] | None,
        typer.Option(
            "--force",
            "-f",
            metavar="STAGE",
            help="Run this stage even if fresh.",
            autocompletion=stages,
        ),
    ]
    return command(
        "run-all",
        "Bring the whole pipeline up to date: embed, estimate-k, refine, assign, correct, levels, "
        "caption, evaluate, curate.\n\nStages that are fresh are skipped, and every one that runs "
        "says why. Other settings of single stages go through --set.",
        _run_all,
        {
            "source": (SourceArgument, None),
            **_SHARED,
            "until": (until, ""),
            "force": (force, None),
            "dry_run": (DryRun, False),
            "quiet": (Quiet, False),
            "verbose": (Verbose, False),
            "json_": (Json, False),
        },
        [*keys_of("source"), *_SHORT, *_EMBED_OPTIONS, *keys_of("compute")],
        _SHORT,
    )


def one_stage(stage: Stage) -> Callable[..., None]:
    """The command of a stage, whose options are the stage's settings."""
    base, keys, body = stage_parts(stage)
    return command(stage.name, _help(stage), body, base, keys)


def stage_parts(
    stage: Stage,
) -> tuple[dict[str, tuple[Any, Any]], list[str], Callable[..., None]]:
    """Parts of a stage's command: its own parameters, its settings, and what it does."""
    reads_source = stage.outside is not None
    base = {
        **({"source": (SourceArgument, None)} if reads_source else {}),
        **_SHARED,
        "force": (Force, False),
        "dry_run": (DryRun, False),
        "quiet": (Quiet, False),
    }
    keys = [*(keys_of("source") if reads_source else ()), *keys_of(stage.table)]
    keys += keys_of("compute") if stage.computes else []

    def body(**given: Any) -> None:
        _run_one(stage, **given)

    return base, keys, body


def _help(stage: Stage) -> str:
    read = {i.artifact.name for i in stage.reads(stage.config()).values() if isinstance(i, Input)}
    files = " and ".join(f"{name}.h5" for name in sorted(read)) or "the source"
    text = (
        f"{stage.summary}\n\nReads {files} of the run, writes {stage.writes.name}.h5. What is "
        "set here the run remembers; later stages notice on their own that they are stale."
    )
    if not hasattr(stage.config(), "heads"):
        return text
    every = "\n".join(f"  {name}: {head.about}" for name, head in {**ALL, **FINISHING}.items())
    return f"{text}\n\n\b\nHeads (`clusterpipe heads NAME` lists the settings of one):\n{every}"

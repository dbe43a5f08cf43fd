"""The command line. Stage commands are made from the stage declarations; nothing heavy is imported
until a stage runs."""

import json
import signal
import sys
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from clusterpipe.cache.errors import ClusterpipeError, Interrupted, MissingArtifact, UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import ImageSource, SourceConfig, open_source
from clusterpipe.pipeline import plan
from clusterpipe.pipeline.config import Config, load, override
from clusterpipe.pipeline.options import command, keys_of
from clusterpipe.pipeline.run import default_run_dir, run_all, run_stage
from clusterpipe.stages import STAGES
from clusterpipe.stages.declaration import Input, Stage

DEFAULT_FILE = Path("pipeline.toml")
JSON_VERSION = 1

app = typer.Typer(
    help="Turn a pile of unlabelled images into named clusters.\n\n"
    "Start with `clusterpipe run-all FOLDER`. Without a source it shows itself on an embedded "
    "demonstration. Features are computed once and cached; every later stage reruns in seconds.",
    epilog="Exit codes: 0 fine; 1 unexpected; 2 usage or settings; 3 no usable images, or too many "
    "bad ones; 4 an upstream artifact is missing; 5 a damaged or foreign artifact; 6 weights are "
    "not on disk; 7 the run is locked; 8 no space or not writable; 130/143 interrupted, work kept.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[
    str | None,
    typer.Argument(
        help="A folder of images; a CSV with path and optionally id, label, split; arrays of "
        "images or features in .npz, .npy, .h5 or .safetensors; or nothing: the "
        "demonstration, or what the run directory remembers.",
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", "-r", help="Where artifacts go. Default: runs/<source name>."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A TOML file of settings. Default: ./pipeline.toml."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Change one setting, as table.field=value; repeatable.",
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="The one seed, of which every stage derives its own.")
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Run even if fresh.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="Say what would run and why, and how long it takes."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results.")]
Run = Annotated[
    Path | None,
    typer.Option("--run-dir", "-r", help="The run. Default: the only one under runs/."),
]


def _run_all(
    *,
    source: str | None,
    run_dir: Path | None,
    config: Path | None,
    set: list[str] | None,
    seed: int | None,
    until: str,
    force: list[str] | None,
    dry_run: bool,
    quiet: bool,
    json_: bool,
    settings: dict[str, Any],
) -> None:
    from clusterpipe.pipeline.console import Reporter

    resolved, run = _configured(source, run_dir, config, set, seed, settings)
    reporter = Reporter(quiet)
    for name in force or ():
        if name not in STAGES:
            raise UsageError(f"--force takes one of {', '.join(STAGES)}, not {name!r}")
    if dry_run:
        _show_plan(resolved, run, json_)
        return
    _announce(resolved, run, reporter)
    result = run_all(
        resolved,
        run_dir=run.folder,
        until=until,
        force=force or (),
        progress=reporter.progress,
        tell=reporter.tell,
    )
    from clusterpipe.pipeline import summary

    summary.show(result, resolved, as_json=json_)


def _run_one(
    stage: Stage,
    *,
    source: str | None = None,
    run_dir: Path | None,
    config: Path | None,
    set: list[str] | None,
    seed: int | None,
    force: bool,
    dry_run: bool,
    quiet: bool,
    settings: dict[str, Any],
) -> None:
    from clusterpipe.pipeline.console import Reporter

    if stage.name != "embed" and run_dir is None:
        run_dir = _only_run()
    resolved, run = _configured(source, run_dir, config, set, seed, settings)
    if dry_run:
        _show_plan(resolved, run, as_json=False)
        return
    reporter = Reporter(quiet)
    if stage.name == "embed":
        _announce(resolved, run, reporter)
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


@app.command()
def status(
    run_dir: Run = None,
    json_: Json = False,
) -> None:
    """Say for every stage whether it is fresh, and if not, why."""
    resolved, run = _existing(run_dir)
    _show_plan(resolved, run, json_, estimating=False)


@app.command()
def search(
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            "-i",
            metavar="QUERY",
            help="What to look for: an image file, or the id, path or row of an image of the run; "
            "repeatable. A file that is not part of the run goes through the run's own backbone.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            "-t",
            metavar="WORDS",
            help="Or what the images show, such as 'red bicycle'; repeatable. Any words in a CLIP "
            "space, put into caption.prompt; else a word that the packaged backbone knows, or one "
            "of the text features in caption.vocabulary.",
        ),
    ] = None,
    run_dir: Run = None,
    features: Annotated[
        str,
        typer.Option(
            help="Where to look: in the features as the backbone gave them ('embeddings'), or in "
            "those that refine made of them ('refined')."
        ),
    ] = "embeddings",
    space: Annotated[
        str,
        typer.Option(
            help="The feature space of the embeddings, such as clip; empty for the first one (for "
            "--text the one that captions describe), 'concatenate' for all side by side."
        ),
    ] = "",
    top: Annotated[int, typer.Option(help="How many images to show.")] = 20,
    exclude_self: Annotated[
        bool,
        typer.Option("--exclude-self", help="Leave the query out when it is part of the run."),
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="The contact sheet of query and hits, a PNG. Default: in pictures/search of the "
            "run."
        ),
    ] = None,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Draw none.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    download: Annotated[
        bool, typer.Option("--download", help="Allow fetching weights that are not on disk.")
    ] = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Find the images of a run that are most like another one, or that show what a text says.

    Exact, by the cosine of their features; a query that is part of the run finds itself first.
    Cosines of texts are low (0.2 to 0.3 in CLIP where it fits): compare them within one list.
    """
    from clusterpipe.pipeline import searching
    from clusterpipe.pipeline.console import Reporter

    resolved, run = _existing(run_dir)
    options = searching.SearchOptions(
        features=features,
        space=space,
        top=top,
        exclude_self=exclude_self,
        sheet=sheet,
        drawn=not no_sheet,
        device=device,
        download=download,
    )
    answers = searching.search(
        run, resolved, image or (), options, texts=text or (), progress=Reporter(quiet).progress
    )
    searching.show(run, answers, as_json=json_)


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="An HDF5 artifact of a run.")],
    json_: Json = False,
) -> None:
    """Print an artifact as a tree (dims, dtype, unit, doc, provenance, a preview) and check it."""
    from clusterpipe.pipeline import inspecting

    inspecting.show(artifact, as_json=json_)


@app.command()
def init(
    source: Annotated[str | None, typer.Argument(help="The images the settings are for.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write.")
    ] = DEFAULT_FILE,
    set: Set = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file.")] = False,
) -> None:
    """Write a pipeline.toml that lists every setting with its meaning, to edit.

    A run that starts in the same folder reads it; `clusterpipe config` shows what came of it.
    """
    from clusterpipe.pipeline.settings import write_settings

    config = override(Config(), set or ())
    if source is not None:
        config = config.set("source.path", _absolute(source), "argument")
    write_settings(config, output, replace=force)
    typer.echo(output)


@app.command("config")
def show_config(
    source: Source = None,
    run_dir: RunDir = None,
    file: ConfigFile = None,
    set: Set = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is no default.")] = False,
    json_: Json = False,
) -> None:
    """Show each setting as a run would take it, and where it came from.

    In rising order: defaults, ./pipeline.toml or --config (a run that is there keeps its own),
    --set, options.
    """
    from clusterpipe.pipeline import settings

    config, _ = _configured(source, run_dir, file, set, None, {})
    settings.show(config, changed_only=changed, as_json=json_)


@app.command()
def models(json_: Json = False) -> None:
    """List backbones: size, width, licence, and whether their weights are on disk."""
    from clusterpipe.pipeline import models as catalogue

    catalogue.show(as_json=json_)


@app.command()
def plots(
    run_dir: Run = None,
    quiet: Quiet = False,
) -> None:
    """Draw the plots of a run as PNG into its folder plots; run-all does the same.

    Coding length against k, the loss terms of refinement, and singular values and similarities
    before and after it. What cannot be drawn yet is said, with the command that it waits for.
    """
    from clusterpipe.pipeline import plots as drawing
    from clusterpipe.pipeline.console import Reporter

    _, run = _existing(run_dir)
    reporter = Reporter(quiet)
    with run.locked():
        drawn = drawing.plots(run, progress=reporter.progress)
    waiting = list(drawing.impossible(run))
    if not drawn:
        raise MissingArtifact(f"there is nothing to draw yet: {waiting[0]}")
    for path in drawn:
        typer.echo(path)
    for reason in waiting:
        reporter.note(reason)


@app.command()
def predict(
    source: Annotated[
        Path, typer.Argument(help="An image; or a folder, table or arrays, as run-all takes them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .csv, .json or .parquet instead of stdout."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    download: Annotated[
        bool, typer.Option("--download", help="Fetch weights that are not on disk.")
    ] = False,
    run_dir: Run = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Put new images into the clusters of a run, by its own backbone and preprocessing.

    An image gets the same cluster and probability alone or among others. The run is not changed.
    """
    from clusterpipe.pipeline import predicting
    from clusterpipe.pipeline.console import Reporter
    from clusterpipe.pipeline.results import read_results

    config, run = _existing(run_dir)
    results = read_results(run, config.source)
    progress = Reporter(quiet).progress
    found = predicting.predict(results, source, device=device, download=download, progress=progress)
    predicting.show(found, results.captions, output=output, as_json=json_)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A run directory.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    moved: Annotated[int, typer.Option(min=0, help="List at most so many moved images.")] = 20,
    json_: Json = False,
) -> None:
    """Show what two runs set, found and measured differently, and which images moved.

    Images are matched by content and clusters one to one, so that most images stay.
    """
    from clusterpipe.pipeline import comparing
    from clusterpipe.pipeline.results import read_results

    (one, before), (other, after) = _existing(first), _existing(second)
    results = read_results(before, one.source), read_results(after, other.source)
    found = comparing.compare(*results, (one, other))
    comparing.show(found, most=moved, as_json=json_)


@app.command()
def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to write. Default: report/ below the run."),
    ] = None,
    map: Annotated[
        str, typer.Option(help="umap, tsne or pca; auto takes UMAP where it is installed.")
    ] = "auto",
    images: Annotated[int, typer.Option(min=1, help="Show at most this many images.")] = 50_000,
    doubtful_below: Annotated[
        float, typer.Option(help="Images of lower probability stand apart.")
    ] = 0.5,
    outlier_above: Annotated[
        float, typer.Option(help="Images with a higher outlier score stand apart.")
    ] = 2.0,
    run_dir: Run = None,
    quiet: Quiet = False,
) -> None:
    """Show a run in the browser: overview, a gallery per cluster, a map of all images.

    Writes one folder that opens from disk and asks nothing of the network. Images are linked, not
    copied; thumbnails are made once.
    """
    from clusterpipe.pipeline.console import Reporter
    from clusterpipe.pipeline.report import ReportSettings, write_report
    from clusterpipe.pipeline.results import read_results

    config, run = _existing(run_dir)
    done = write_report(
        read_results(run, config.source),
        config,
        output=output,
        settings=ReportSettings(map, images, doubtful_below, outlier_above, config.seed),
        progress=Reporter(quiet).progress,
    )
    typer.echo(done.page)


@app.command()
def export(
    to: Annotated[str, typer.Option(help="csv, json, parquet or folders.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write. Default: export/ below the run."),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Folders of copies, not links, to take elsewhere.")
    ] = False,
    run_dir: Run = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write the clusters as a table of one row per image, or as one folder per cluster.

    csv, json and parquet have the same columns: id, path, cluster, caption, probability, ... ;
    folders, named like 012_red-bicycle, hold links. Originals are never moved or deleted.
    """
    from clusterpipe.pipeline import exporting
    from clusterpipe.pipeline.console import Reporter
    from clusterpipe.pipeline.results import read_results

    config, run = _existing(run_dir)
    done = exporting.export(
        read_results(run, config.source),
        config.source,
        to=to,
        output=output,
        copy=copy,
        progress=Reporter(quiet).progress,
    )
    exporting.show(done, as_json=json_)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("clusterpipe"))
        raise typer.Exit


@app.callback()
def _main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the command."""


# ---------------------------------------------------------------- settings


def _configured(
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
        config = config.set("source.path", _absolute(source), "argument")
    folder = run_dir or default_run_dir(config.source.path)
    _refuse_another_source(folder, config, named=run_dir is not None)
    return config, RunDirectory(folder)


def _base(source: str | None, run_dir: Path | None, file: Path | None) -> Config:
    config = Config()
    folder = run_dir or (default_run_dir(_absolute(source)) if source else None)
    if folder is None and DEFAULT_FILE.exists():
        config = load(config, DEFAULT_FILE)
        folder = default_run_dir(config.source.path)
    kept = RunDirectory(folder or default_run_dir(config.source.path)).config
    if kept.exists():
        config = load(Config(), kept, "run", outlived=True)
    elif DEFAULT_FILE.exists() and file is None:
        config = load(config, DEFAULT_FILE)
    return load(config, file) if file else config


def _absolute(source: str) -> str:
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() or source != SourceConfig().path else source


def _refuse_another_source(folder: Path, config: Config, *, named: bool) -> None:
    kept = RunDirectory(folder).config
    if named or not kept.exists():
        return
    before = load(Config(), kept, outlived=True).source.path
    if before != config.source.path:
        raise UsageError(
            f"{folder} belongs to {before}: give --run-dir another folder for {config.source.path}"
        )


def _existing(run_dir: Path | None) -> tuple[Config, RunDirectory]:
    """A run that is there, with the settings it keeps."""
    folder = run_dir or _only_run()
    if not RunDirectory(folder).config.exists():
        raise MissingArtifact(f"{folder} is no run: start one with `clusterpipe run-all`")
    return _configured(None, folder, None, None, None, {})


def _only_run() -> Path:
    """The run a command without --run-dir means."""
    found = sorted(path.parent for path in Path("runs").glob("*/pipeline.toml"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise MissingArtifact("there is no run under runs/: start with `clusterpipe run-all`")
    raise UsageError(f"there are several runs: give --run-dir {' or '.join(map(str, found))}")


# ---------------------------------------------------------------- telling


def _announce(config: Config, run: RunDirectory, reporter: Any) -> None:
    """Says when the settings here are not the ones the run keeps."""
    if not run.config.exists() or not DEFAULT_FILE.exists():
        return
    if DEFAULT_FILE.stat().st_mtime > run.config.stat().st_mtime:
        here, kept = load(Config(), DEFAULT_FILE), load(Config(), run.config, outlived=True)
        if here.source.path == kept.source.path and here.stages != kept.stages:
            reporter.note(
                f"{run.folder} keeps its own settings; ./pipeline.toml differs and was not read "
                "(--config pipeline.toml applies it)"
            )


def _show_plan(config: Config, run: RunDirectory, as_json: bool, estimating: bool = True) -> None:
    from clusterpipe.pipeline import summary

    try:
        source = open_source(config.source)
    except UsageError:
        if estimating:
            raise
        source = None  # a run outlives its images
    states = plan.examine(config, run, source)
    costs = None
    if estimating and isinstance(source, ImageSource) and states[0].needs_run:
        from clusterpipe.pipeline.estimate import estimate

        costs = estimate(config, run, source)
    if as_json:
        rows = [{**asdict(state), "needs_run": state.needs_run} for state in states]
        document = {"schema_version": JSON_VERSION, "run_dir": str(run.folder), "stages": rows}
        typer.echo(json.dumps({**document, "estimate": asdict(costs) if costs else None}))
    else:
        summary.show_states(run, states, costs)


# ---------------------------------------------------------------- making the commands


def _register() -> None:
    shared = {
        "run_dir": (RunDir, None),
        "config": (ConfigFile, None),
        "set": (Set, None),
        "seed": (Seed, None),
    }
    until = (Annotated[str, typer.Option(help="Stop after this stage.")], "")
    force = (
        Annotated[
            list[str] | None,
            typer.Option("--force", "-f", metavar="STAGE", help="Run this stage even if fresh."),
        ],
        None,
    )
    everything = command(
        "run-all",
        "Bring the whole pipeline up to date: embed, estimate-k, refine, assign, caption, "
        "evaluate.\n\nStages that are fresh are skipped, and every one that runs says why. "
        "Settings of single stages go through --set.",
        _run_all,
        {
            "source": (Source, None),
            **shared,
            "until": until,
            "force": force,
            "dry_run": (DryRun, False),
            "quiet": (Quiet, False),
            "json_": (Json, False),
        },
        [*keys_of("source"), "embed.max_bad", "embed.device", "embed.download"],
    )
    app.command("run-all")(everything)
    for stage in STAGES.values():
        _register_stage(stage, shared)


def _register_stage(stage: Stage, shared: dict[str, tuple[Any, Any]]) -> None:
    reads_source = stage.name == "embed"
    base = {
        **({"source": (Source, None)} if reads_source else {}),
        **shared,
        "force": (Force, False),
        "dry_run": (DryRun, False),
        "quiet": (Quiet, False),
    }
    keys = [*(keys_of("source") if reads_source else ()), *keys_of(stage.table)]

    def body(**given: Any) -> None:
        _run_one(stage, **given)

    app.command(stage.name)(command(stage.name, _help(stage), body, base, keys))


def _help(stage: Stage) -> str:
    read = {i.artifact.name for i in stage.reads(stage.config()).values() if isinstance(i, Input)}
    files = " and ".join(f"{name}.h5" for name in sorted(read)) or "the source"
    return (
        f"{stage.summary}\n\nReads {files} of the run, writes {stage.writes.name}.h5. What is "
        "set here the run remembers; later stages notice on their own that they are stale."
    )


_register()


# ---------------------------------------------------------------- the program


def main() -> None:
    """Entry point: runs the command, turns deliberate errors into one line and an exit code."""
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _interrupted)
    warnings.filterwarnings("ignore", module="PIL")  # a damaged image becomes a row, not a remark
    if "--debug" in sys.argv:
        app()
    try:
        app()
    except ClusterpipeError as error:
        typer.echo(f"clusterpipe: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the last line of defence, shown whole by --debug
        name = type(error).__name__
        typer.echo(f"clusterpipe: unexpected {name}: {error} (--debug shows where)", err=True)
        sys.exit(1)


def _interrupted(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Interrupted(
        "interrupted; what was finished is kept, the same command goes on from there",
        exit_code=128 + number,
    )

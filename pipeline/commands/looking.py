"""Looking at a run: search, inspect, report, plots, compare."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from clusterpipe.cache.errors import MissingArtifact
from clusterpipe.pipeline.commands.arguments import Json, Quiet, Run
from clusterpipe.pipeline.commands.completing import DEVICES, among
from clusterpipe.pipeline.resolving import existing_run, run_to_read
from clusterpipe.pipeline.results.runs import RUNS, listed, runs


def search(
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            "-i",
            metavar="QUERY",
            help="Image to look for: a file, or the id, path or row of an image of the "
            "run; repeatable.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            "-t",
            metavar="WORDS",
            help="Words to look for, such as 'red bicycle'; repeatable. Any in a CLIP "
            "space, else known ones.",
        ),
    ] = None,
    run_dir: Run = None,
    features: Annotated[
        str,
        typer.Option(
            help="Features to search: 'embeddings' as the backbone gave them, or 'refined'.",
            autocompletion=among("embeddings", "refined"),
        ),
    ] = "embeddings",
    space: Annotated[
        str,
        typer.Option(
            help="Feature space, such as clip. Default: the first, for --text that of the "
            "captions; 'concatenate' = all side by side."
        ),
    ] = "",
    top: Annotated[int, typer.Option(help="Number of images to show.")] = 20,
    exclude_self: Annotated[
        bool,
        typer.Option("--exclude-self", help="Leave the query out when it is part of the run."),
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Contact sheet of query and hits, a PNG. Default: in pictures/search of the run."
        ),
    ] = None,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Draw no contact sheet.")] = False,
    device: Annotated[
        str,
        typer.Option(
            help="Device: auto, cpu, cuda, cuda:1 or mps.", autocompletion=among(*DEVICES)
        ),
    ] = "auto",
    download: Annotated[
        bool, typer.Option("--download", help="Allow fetching weights that are not on disk.")
    ] = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Find the images of a run that are most like another one, or that show what a text says.

    Exact, by the cosine of their features; a query that is part of the run finds itself first.
    Cosines of texts are low, even where they fit: compare them within one list.
    """
    from clusterpipe.pipeline.results import search as searching
    from clusterpipe.pipeline.terminal.answers import print_answers
    from clusterpipe.pipeline.terminal.console import Reporter

    reporter = Reporter(quiet)
    resolved, run = run_to_read(run_dir, reporter.note)
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
        run, resolved, image or (), options, texts=text or (), progress=reporter.progress
    )
    print_answers(run, answers, as_json=json_)


def metrics(
    run_dir: Run = None,
    json_: Json = False,
) -> None:
    """Print every figure of a run: how good clusters, search and captions are, beside chance.

    Figures that need ground truth are left out where there is none.
    """
    from clusterpipe.pipeline.results.outcome import outcome
    from clusterpipe.pipeline.terminal.console import Reporter
    from clusterpipe.pipeline.terminal.figures import print_figures

    config, run = run_to_read(run_dir, Reporter().note)
    found = outcome(run, config)
    if not found.metrics:
        raise MissingArtifact(
            f"{run.folder} has no current metrics: run `clusterpipe run-all --run-dir {run.folder}`"
        )
    print_figures(found, as_json=json_)


def list_runs(
    folder: Annotated[Path, typer.Argument(help="Folder of the runs.")] = RUNS,
    json_: Json = False,
) -> None:
    """List the runs, the latest first: images, clusters, method, and what they are about.

    Commands that only read a run take the latest where --run-dir names none.
    """
    from clusterpipe.pipeline.terminal.run_list import print_runs

    found = [listed(run) for run in runs(folder)]
    if not found:
        raise MissingArtifact(
            f"there is no run under {folder}/: start with `clusterpipe run-all FOLDER`"
        )
    print_runs(found, as_json=json_)


def inspect(
    artifact: Annotated[Path, typer.Argument(help="HDF5 artifact of a run.")],
    json_: Json = False,
) -> None:
    """Print an artifact as a tree (dims, dtype, unit, doc, provenance, a preview) and check it."""
    from clusterpipe.pipeline.terminal.inspection import print_inspection

    print_inspection(artifact, as_json=json_)


def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write. Default: report/ below the run."),
    ] = None,
    map: Annotated[
        str,
        typer.Option(
            help="Layout of the map: umap, tsne or pca; auto takes UMAP where it is installed.",
            autocompletion=among("auto", "umap", "tsne", "pca"),
        ),
    ] = "auto",
    images: Annotated[int, typer.Option(min=1, help="Show at most this many images.")] = 50_000,
    doubtful_below: Annotated[
        float, typer.Option(help="Set images of lower probability apart.")
    ] = 0.5,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    run_dir: Run = None,
    quiet: Quiet = False,
) -> None:
    """Show a run in the browser: overview, a gallery per cluster, a map of all images.

    Writes one folder that opens from disk and asks nothing of the network. Images are linked, not
    copied; thumbnails are made once.
    """
    from clusterpipe.pipeline.report import ReportSettings, write_report
    from clusterpipe.pipeline.results.reading import out_of_date, read_results
    from clusterpipe.pipeline.terminal.console import Reporter

    reporter = Reporter(quiet)
    config, run = run_to_read(run_dir, reporter.note)
    for remark in out_of_date(run):
        reporter.note(remark)
    done = write_report(
        read_results(run, config.source),
        config,
        output=output,
        settings=ReportSettings(map, images, doubtful_below, config.seed),
        progress=reporter.progress,
    )
    typer.echo(done.page)
    if done.gone:
        typer.echo(f"{done.gone:,} originals are no longer where the run found them", err=True)
    if open_:
        webbrowser.open(done.page.as_uri())


def plots(
    run_dir: Run = None,
    quiet: Quiet = False,
) -> None:
    """Draw the plots of a run as PNG into its folder plots; run-all does the same.

    Coding length against k, the loss terms of refinement, and singular values and similarities
    before and after it. What cannot be drawn yet is said, with the command that it waits for.
    """
    from clusterpipe.pipeline.results import plots as drawing
    from clusterpipe.pipeline.terminal.console import Reporter

    reporter = Reporter(quiet)
    _, run = run_to_read(run_dir, reporter.note)
    with run.locked():
        drawn = drawing.plots(run, progress=reporter.progress)
    waiting = list(drawing.impossible(run))
    if not drawn:
        raise MissingArtifact(f"there is nothing to draw yet: {waiting[0]}")
    for path in drawn:
        typer.echo(path)
    for reason in waiting:
        reporter.note(reason)


def compare(
    first: Annotated[Path, typer.Argument(help="Run directory.")],
    second: Annotated[Path, typer.Argument(help="Run directory to compare with.")],
    moved: Annotated[int, typer.Option(min=0, help="List at most so many moved images.")] = 20,
    json_: Json = False,
) -> None:
    """Show what two runs set, found and measured differently, and which images moved.

    Images are matched by content and clusters one to one, so that most images stay.
    """
    from clusterpipe.pipeline.results import compare as comparing
    from clusterpipe.pipeline.results.reading import read_results
    from clusterpipe.pipeline.terminal.comparison import print_comparison

    (one, before), (other, after) = existing_run(first), existing_run(second)
    results = read_results(before, one.source), read_results(after, other.source)
    found = comparing.compare(*results, (one, other))
    print_comparison(found, most=moved, as_json=json_)

"""Using the result elsewhere: export, predict."""

from pathlib import Path
from typing import Annotated

import typer

from clusterpipe.pipeline.commands.arguments import Json, Quiet, Run
from clusterpipe.pipeline.commands.completing import among
from clusterpipe.pipeline.resolving import existing_run, run_to_read

FORMATS = (
    *("csv", "json", "parquet", "folders", "copies"),
    *("label-studio", "fiftyone", "embedding-atlas"),
)


def export(
    to: Annotated[
        str,
        typer.Option(
            help="Format: csv, json, parquet, folders, copies, label-studio, fiftyone or "
            "embedding-atlas.",
            autocompletion=among(*FORMATS),
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Place to write. Default: export/ below the run."),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy images into folders, in place of links.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be written, and write nothing.")
    ] = False,
    unique: Annotated[
        bool, typer.Option("--unique", help="Take one image of each group of near-duplicates.")
    ] = False,
    exif: Annotated[
        bool, typer.Option("--exif", help="Add when, and if embed kept it where, it was taken.")
    ] = False,
    by_month: Annotated[
        bool, typer.Option("--by-month", help="Put folders into one per month, like 2021-06.")
    ] = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Leave csv cells that begin like a formula (= + - @) unquoted."),
    ] = False,
    run_dir: Run = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write the clusters as a table of one row per image, or as one folder per cluster.

    csv, json and parquet have the same columns: id, path, cluster, caption, probability, ... ;
    folders, named like 012_red-bicycle, hold links. copies is a list of files that are nearly the
    same as one that is kept; label-studio, fiftyone and embedding-atlas are what these tools open.
    Originals are never moved or deleted.
    """
    from clusterpipe.pipeline.results import export as exporting
    from clusterpipe.pipeline.results.reading import out_of_date, read_results
    from clusterpipe.pipeline.terminal.console import Reporter
    from clusterpipe.pipeline.terminal.exported import print_export

    reporter = Reporter(quiet)
    config, run = run_to_read(run_dir, reporter.note)
    for remark in out_of_date(run):
        reporter.note(remark)
    done = exporting.export(
        read_results(run, config.source),
        config.source,
        to=to,
        output=output,
        copy=copy,
        dry_run=dry_run,
        raw=raw,
        unique=unique,
        exif=exif,
        by_month=by_month,
        seed=config.seed,
        progress=reporter.progress,
    )
    print_export(done, as_json=json_)


def predict(
    source: Annotated[
        Path, typer.Argument(help="Image, folder, table or arrays, as run-all takes them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write, .csv, .json or .parquet. Default: stdout."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    download: Annotated[
        bool, typer.Option("--download", help="Allow fetching weights that are not on disk.")
    ] = False,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Add the images to the run: they join its clusters, and nothing is fitted anew.",
        ),
    ] = False,
    run_dir: Run = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Put new images into the clusters of a run, by its own backbone and preprocessing.

    An image gets the same cluster and probability alone or among others. The run is not changed,
    unless --append adds the images to it: the labels of those before stay as they are, and
    captions, metrics and near-duplicates follow with the next run-all. `--force` of a stage fits it
    on all images.
    """
    from clusterpipe.pipeline.results import predict as predicting
    from clusterpipe.pipeline.results.export import writer_of
    from clusterpipe.pipeline.results.reading import read_results
    from clusterpipe.pipeline.terminal.console import Reporter
    from clusterpipe.pipeline.terminal.predictions import print_appended, print_predictions

    if output:
        writer_of(output)  # an ending that is refused is refused before the work
    reporter = Reporter(quiet)
    config, run = existing_run(run_dir) if append else run_to_read(run_dir, reporter.note)
    progress = reporter.progress
    if append:
        from clusterpipe.pipeline.results import append as appending

        config = appending.on_device(config, device, download)
        done = appending.append(config, run, source, progress=progress, tell=reporter.tell)
        print_predictions(done.found, done.captions, output=output, as_json=json_)
        print_appended(done, run)
        return
    results = read_results(run, config.source)
    found = predicting.predict(results, source, device=device, download=download, progress=progress)
    print_predictions(found, results.captions, output=output, as_json=json_)

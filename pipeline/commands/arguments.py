"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from clusterpipe.pipeline.commands.completing import assignments, run_directories

SourceArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders, patterns or archives of images, list of paths (`-`: on stdin), or file of "
        "arrays or features. Default: what the run remembers, else the demonstration.",
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        "-r",
        autocompletion=run_directories,
        help="Folder of artifacts. Default: runs/<source name>.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file of settings. Default: ./pipeline.toml."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        autocompletion=assignments,
        help="Change one setting, as table.field=value; repeatable.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed, of which every stage derives its own.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Run even if fresh.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="Say what would run, why, and for how long."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only, no progress.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print every figure and every cluster at the end.")
]
Run = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        "-r",
        autocompletion=run_directories,
        help="Run directory. Default: the latest under runs/.",
    ),
]

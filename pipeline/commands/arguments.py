"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print every figure and every cluster at the end.")
]
Run = Annotated[
    Path | None,
    typer.Option("--run-dir", "-r", help="The run. Default: the latest under runs/."),
]

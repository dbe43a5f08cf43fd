"""Before a run: init, config, models, heads."""

from pathlib import Path
from typing import Annotated

import typer

from clusterpipe.pipeline.commands.arguments import ConfigFile, Json, RunDir, Set, SourceArgument
from clusterpipe.pipeline.commands.completing import settings
from clusterpipe.pipeline.engine.config import Config, override
from clusterpipe.pipeline.resolving import DEFAULT_FILE, absolute, configured
from clusterpipe.pipeline.resolving import reset as resetting


def init(
    source: Annotated[str | None, typer.Argument(help="Images the settings are for.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = DEFAULT_FILE,
    set: Set = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file.")] = False,
) -> None:
    """Write a pipeline.toml that lists every setting with its meaning, to edit.

    A run that starts in the same folder reads it; `clusterpipe config` shows what came of it.
    """
    from clusterpipe.pipeline.terminal.settings import write_settings

    config = override(Config(), set or ())
    if source is not None:
        config = config.set("source.path", absolute(source), "argument")
    write_settings(config, output, replace=force)
    typer.echo(output)


def show_config(
    source: SourceArgument = None,
    run_dir: RunDir = None,
    file: ConfigFile = None,
    set: Set = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Show only what is no default.")
    ] = False,
    reset: Annotated[
        list[str] | None,
        typer.Option(
            "--reset",
            metavar="KEY",
            autocompletion=settings,
            help="Give a setting of the run, or a whole table, its default again; repeatable.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Show each setting as a run would take it, and where it came from.

    In rising order: defaults, ./pipeline.toml or --config (a run that is there keeps its own),
    --set, options.
    """
    from clusterpipe.pipeline.terminal.settings import print_reset, print_settings

    if reset:
        print_reset(resetting(source, run_dir, reset), as_json=json_)
        return
    config, _ = configured(source, run_dir, file, set, None, {})
    print_settings(config, changed_only=changed, as_json=json_)


models = typer.Typer()


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, json_: Json = False) -> None:
    """List backbones: size, width, licence, and whether their weights are on disk."""
    from clusterpipe.pipeline.terminal.models import print_models

    if context.invoked_subcommand is None:
        print_models(as_json=json_)


@models.command("fetch")
def fetch_models(
    names: Annotated[list[str], typer.Argument(help="Backbones, or fast, balanced, best.")],
) -> None:
    """Download weights once, into the Hugging Face cache (HF_HOME)."""
    from clusterpipe.pipeline.terminal import models

    models.fetch_models(names)


def heads(
    name: Annotated[str | None, typer.Argument(help="A head, to list its settings.")] = None,
    json_: Json = False,
) -> None:
    """List cluster heads in a line each, or the settings of one."""
    from clusterpipe.pipeline.terminal.heads import print_heads

    print_heads(name, as_json=json_)

"""The command line: which commands there are, and what an error becomes. Each body stands in
`commands/`; nothing heavy is imported until one runs."""

import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from clusterpipe.cache.errors import ClusterpipeError
from clusterpipe.pipeline.commands import correcting, looking, running, setting_up, using
from clusterpipe.pipeline.engine.threads import use_threads
from clusterpipe.pipeline.terminal.escaping import message
from clusterpipe.pipeline.terminal.signals import end_in_time, raise_interrupted
from clusterpipe.stages import STAGES

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
    threads: Annotated[
        int,
        typer.Option(
            min=0,
            help="Threads to compute with. 0 = as OMP_NUM_THREADS says, else the cores that this "
            "process may use.",
        ),
    ] = 0,
) -> None:
    """Options before the command."""
    use_threads(threads)


COMMANDS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Run": {
        "run-all": running.everything(),
        **{name: running.one_stage(stage) for name, stage in STAGES.items()},
        "correct": correcting.commands(),
        "status": running.status,
    },
    "Look at a run": {
        "runs": looking.list_runs,
        "report": looking.report,
        "metrics": looking.metrics,
        "search": looking.search,
        "plots": looking.plots,
        "inspect": looking.inspect,
        "compare": looking.compare,
    },
    "Use the result": {
        "export": using.export,
        "predict": using.predict,
    },
    "Set up": {
        "init": setting_up.init,
        "config": setting_up.show_config,
        "models": setting_up.models,
        "heads": setting_up.heads,
    },
}
for panel, commands in COMMANDS.items():
    for name, body in commands.items():
        if isinstance(body, typer.Typer):
            app.add_typer(body, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(body)


def main() -> None:
    """Entry point: runs the command, turns deliberate errors into one line and an exit code."""
    raise_interrupted()
    end_in_time()
    warnings.filterwarnings("ignore", module="PIL")  # a damaged image becomes a row, not a remark
    if "--debug" in sys.argv:
        app()
    try:
        app()
    except ClusterpipeError as error:
        text = "\n".join([str(error), *getattr(error, "__notes__", ())])
        typer.echo(message(f"clusterpipe: {text}"), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the last line of defence, shown whole by --debug
        name = type(error).__name__
        text = f"clusterpipe: unexpected {name}: {error} (--debug shows where)"
        typer.echo(message(text), err=True)
        sys.exit(1)

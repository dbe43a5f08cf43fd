"""Correcting: what a person does to the clusters of a run, and the log of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline.commands.arguments import Json, Quiet, Run
from clusterpipe.pipeline.commands.options import command
from clusterpipe.pipeline.commands.running import stage_parts
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.resolving import existing_run, run_to_read
from clusterpipe.stages import STAGES

if TYPE_CHECKING:
    from clusterpipe.cache.corrections import Act
    from clusterpipe.pipeline.results.correcting import Speaker

HELP = (
    "Correct the clusters of a run: rename, merge, split, move, reject, ...\n\n"
    "Each act is a line of corrections.jsonl, which names images, so that it holds for the next "
    "fit, another method and another number of clusters. Without an act, the log is replayed onto "
    "the clusters as they are now, as run-all does; assignments.h5 stays as the machine made it."
)
Author = Annotated[str, typer.Option("--author", help="Name to note with the act.")]
Cluster = Annotated[int, typer.Argument(help="Number of the cluster.")]
Images = Annotated[list[str], typer.Argument(help="Images by id, path, row or file.")]
NEW = "new"


def commands() -> typer.Typer:
    """`correct`, with a command for each act."""
    group = typer.Typer(invoke_without_command=True, help=HELP)
    group.callback()(_replaying())
    for name, body in ACTS.items():
        group.command(name)(body)
    return group


def _replaying() -> Callable[..., None]:
    """`correct` by itself: the command of the stage, and what takes in a whole file of acts."""
    stage = STAGES["correct"]
    base, keys, run_one = stage_parts(stage)
    file = Annotated[
        Path | None, typer.Option("--from", help="File of acts, as the report downloads it.")
    ]

    folders = Annotated[
        Path | None,
        typer.Option(
            "--from-folders",
            metavar="DIR",
            help="Folders of an export that were sorted by hand since: take that in.",
        ),
    ]

    def body(
        *,
        ctx: typer.Context,
        from_: Path | None,
        from_folders: Path | None,
        author: str,
        **given: Any,
    ) -> None:
        said = [from_, from_folders, author]
        if ctx.invoked_subcommand:
            if any([*said, *(given[name] for name in ("run_dir", "force", "settings"))]):
                raise UsageError(
                    f"give options behind the act: correct {ctx.invoked_subcommand} ..."
                )
            return
        if from_:
            _take_in(from_, given["run_dir"], author, given["quiet"])
            return
        if from_folders:
            _take_in_folders(from_folders, given["run_dir"], author, given["quiet"])
            return
        run_one(**given)

    extra = {
        "ctx": (typer.Context, None),
        "from_": (file, None),
        "from_folders": (folders, None),
        "author": (Author, ""),
    }
    return command("correct", HELP, body, {**extra, **base}, keys)


def _take_in(file: Path, run_dir: Path | None, author: str, quiet: bool) -> None:
    from clusterpipe.pipeline.results.correcting import read_acts

    _record(lambda config, run: read_acts(file, run, author), run_dir, quiet)


def _take_in_folders(folder: Path, run_dir: Path | None, author: str, quiet: bool) -> None:
    from clusterpipe.pipeline.results.sorted_folders import acts_of_folders

    _do(lambda speaker: acts_of_folders(folder, speaker), run_dir, author, quiet)


def _do(
    said: "Callable[[Speaker], Sequence[Act]]", run_dir: Path | None, author: str, quiet: bool
) -> None:
    """Records what a speaker says of the clusters that the run stands by."""
    from clusterpipe.pipeline.results.correcting import Speaker
    from clusterpipe.pipeline.results.reading import read_results

    def acts(config: Config, run: RunDirectory) -> "Sequence[Act]":
        return said(Speaker(read_results(run, config.source), author))

    _record(acts, run_dir, quiet)


def _record(
    acts: "Callable[[Config, RunDirectory], Sequence[Act]]", run_dir: Path | None, quiet: bool
) -> None:
    """Adds acts to the log of a run, and prints what became of them."""
    from clusterpipe.pipeline.results.correcting import record
    from clusterpipe.pipeline.terminal.console import Reporter
    from clusterpipe.pipeline.terminal.corrections import print_added

    reporter = Reporter(quiet)
    config, run = existing_run(run_dir)
    if not (said := acts(config, run)):
        reporter.note("there is nothing to correct")
        return
    print_added(record(config, run, said, progress=reporter.progress, tell=reporter.tell))


# ---------------------------------------------------------------- acts


def rename(
    cluster: Cluster,
    name: Annotated[str, typer.Argument(help="Name of the cluster from now on.")],
    run_dir: Run = None,
    author: Author = "",
    quiet: Quiet = False,
) -> None:
    """Call a cluster by a name, which stands in the place of its caption."""
    _do(lambda s: [s.act("rename", clusters=[cluster], name=name)], run_dir, author, quiet)


def merge(
    clusters: Annotated[list[int], typer.Argument(help="Numbers of two or more clusters.")],
    run_dir: Run = None,
    author: Author = "",
    quiet: Quiet = False,
) -> None:
    """Make one cluster of several; it has the number of the first, and others keep theirs."""
    _do(lambda s: [s.act("merge", clusters=clusters)], run_dir, author, quiet)


def split(
    cluster: Cluster,
    into: Annotated[int, typer.Option(min=2, help="Number of clusters to make of it.")] = 2,
    run_dir: Run = None,
    author: Author = "",
    quiet: Quiet = False,
) -> None:
    """Part a cluster by k-means; the largest piece keeps the number.

    A selection of images becomes a cluster of its own by `clusterpipe correct move ID... --to new`.
    """
    _do(lambda s: [s.act("split", clusters=[cluster], into=into)], run_dir, author, quiet)


def move(
    images: Images,
    to: Annotated[str, typer.Option(help="Number of the cluster, or 'new' for one of their own.")],
    run_dir: Run = None,
    author: Author = "",
    quiet: Quiet = False,
) -> None:
    """Move images to another cluster, or into a new one."""
    if to == NEW:
        _do(lambda s: [s.act("gather", images=images)], run_dir, author, quiet)
        return
    if not to.isdecimal():
        raise UsageError(f"--to takes the number of a cluster, or {NEW!r}, not {to!r}")
    _do(lambda s: [s.act("move", images=images, clusters=[int(to)])], run_dir, author, quiet)


def reject(images: Images, run_dir: Run = None, author: Author = "", quiet: Quiet = False) -> None:
    """Take images out of their clusters: they are none of these."""
    _do(lambda s: s.rejections(images), run_dir, author, quiet)


def pin(images: Images, run_dir: Run = None, author: Author = "", quiet: Quiet = False) -> None:
    """Keep images in the clusters that they are in, whatever a later fit says."""
    _do(lambda s: s.pins(images), run_dir, author, quiet)


def same(images: Images, run_dir: Run = None, author: Author = "", quiet: Quiet = False) -> None:
    """Hold images together, in the cluster of the one that is surest."""
    _do(lambda s: [s.act("same", images=images)], run_dir, author, quiet)


def not_same(
    images: Images, run_dir: Run = None, author: Author = "", quiet: Quiet = False
) -> None:
    """Keep two images in different clusters; the less sure one goes to its second likeliest."""
    _do(lambda s: [s.act("not-same", images=images)], run_dir, author, quiet)


def keep(images: Images, run_dir: Run = None, author: Author = "", quiet: Quiet = False) -> None:
    """Keep these images of their groups of near-duplicates."""
    _do(lambda s: [s.act("keep", images=images)], run_dir, author, quiet)


def drop(images: Images, run_dir: Run = None, author: Author = "", quiet: Quiet = False) -> None:
    """Leave images out of what is unique; the files stay where they are."""
    _do(lambda s: [s.act("drop", images=images)], run_dir, author, quiet)


def star(images: Images, run_dir: Run = None, author: Author = "", quiet: Quiet = False) -> None:
    """Put images first among the exemplars of their clusters."""
    _do(lambda s: [s.act("star", images=images)], run_dir, author, quiet)


def note(
    text: Annotated[str, typer.Argument(help="Text of the note.")],
    image: Annotated[
        list[str] | None, typer.Option("--image", help="Image it is about; repeatable.")
    ] = None,
    cluster: Annotated[
        list[int] | None, typer.Option("--cluster", help="Cluster it is about; repeatable.")
    ] = None,
    run_dir: Run = None,
    author: Author = "",
    quiet: Quiet = False,
) -> None:
    """Note something in the log, about images, clusters or the whole run."""
    _do(
        lambda s: [s.act("note", text=text, images=image or (), clusters=cluster or ())],
        run_dir,
        author,
        quiet,
    )


def undo(
    line: Annotated[
        int, typer.Argument(help="Line of the log to take back. Default: the last in force.")
    ] = 0,
    run_dir: Run = None,
    author: Author = "",
    quiet: Quiet = False,
) -> None:
    """Take back an act; to undo an undo does it again."""
    from clusterpipe.pipeline.results.correcting import undoing

    _record(lambda config, run: [undoing(run, line, author)], run_dir, quiet)


def log(run_dir: Run = None, json_: Json = False) -> None:
    """Print the log: every act, and whether it still applies, or why not."""
    from clusterpipe.pipeline.results.correcting import logged
    from clusterpipe.pipeline.terminal.console import Reporter
    from clusterpipe.pipeline.terminal.corrections import print_log

    _, run = run_to_read(run_dir, Reporter().note)
    print_log(logged(run), as_json=json_)


ACTS: dict[str, Callable[..., None]] = {
    "rename": rename,
    "merge": merge,
    "split": split,
    "move": move,
    "reject": reject,
    "pin": pin,
    "same": same,
    "not-same": not_same,
    "keep": keep,
    "drop": drop,
    "star": star,
    "note": note,
    "undo": undo,
    "log": log,
}

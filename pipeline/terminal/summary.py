"""Summary at the end of a run: one screen, or with --verbose all of it."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console, RenderableType
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.execute import RunResult
from clusterpipe.pipeline.results.outcome import Curated, Outcome, outcome
from clusterpipe.pipeline.terminal.escaping import shown
from clusterpipe.pipeline.terminal.figures import tables

JSON_VERSION = 1
MOST_CLUSTERS = 20  # in the table of one screen
WIDE = 2.5  # an interval whose ends are more than so many times apart
_HEADLINE = {"accuracy": "accuracy", "nmi": "NMI", "ari": "ARI"}


def print_outcome(result: RunResult, config: Config, *, as_json: bool, verbose: bool) -> None:
    """Prints the outcome of a run on stdout."""
    found = outcome(RunDirectory(result.folder), config, result.pictures, result.plots)
    if as_json:
        stages = [asdict(event) for event in result.events]
        document = {"schema_version": JSON_VERSION, **asdict(found), "stages": stages}
        typer.echo(json_text(document))
        return
    print_found(found, config, verbose=verbose)


def print_found(found: Outcome, config: Config, *, verbose: bool) -> None:
    """Prints an outcome on stdout: on one screen, or in full."""
    console = Console(highlight=False)
    parts = _in_full(found, config) if verbose else _one_screen(found, config)
    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))


def _one_screen(found: Outcome, config: Config) -> Iterator[RenderableType]:
    yield shown(*_counts(found, config.source.limit))
    if attention := list(_attention(found)):
        yield shown(f"look at     {'; '.join(attention)}", style="yellow")
    if found.clusters:
        yield _cluster_table(found, MOST_CLUSTERS)
    if scores := _scores(found):
        yield shown(scores)
    yield from (shown(remark, style="italic") for remark in found.remarks)
    yield shown(*_where_next(found))


def _in_full(found: Outcome, config: Config) -> Iterator[RenderableType]:
    yield shown(*_counts(found, config.source.limit))
    if found.k_reason:
        yield shown(found.k_reason)
    yield from (shown(line) for line in _attention(found))
    for table, protocol in tables(found):
        yield table
        yield shown(protocol, style="dim")
    if found.clusters:
        yield _cluster_table(found, len(found.clusters))
    if found.captioned:
        yield shown(found.captioned, style="dim")
    yield from (shown(remark, style="italic") for remark in found.remarks)
    yield shown(*_where_next(found))


# ---------------------------------------------------------------- lines


def _counts(found: Outcome, limit: int) -> Iterator[str]:
    trial = f" (a trial on {limit:,}; --limit 0 takes all)" if limit else ""
    yield f"{_counted(found.images, 'image')}{trial}"
    if found.clusters:
        yield f"{_filled(found)}{_asked(found)}"
    if found.corrections:
        yield (
            f"corrected by {_counted(found.corrections.corrections, 'correction')}; the clusters "
            f"of {found.corrections.method} stay in assignments.h5"
        )


def _filled(found: Outcome) -> str:
    """The number of clusters, or how many of those asked for hold an image."""
    asked = found.k_estimated or found.k_given or found.filled
    if found.corrections:
        asked = found.filled
    if found.filled == asked:
        return _counted(asked, "cluster")
    return f"{found.filled:,} of {_counted(asked, 'cluster')} filled"


def _asked(found: Outcome) -> str:
    """Origin of the number of clusters."""
    if found.corrections:
        return f", {found.k_estimated:,} as estimated" if found.k_estimated else ""
    if found.k_estimated and found.k_interval:
        low, high = found.k_interval
        return f", interval {low:,} to {high:,}{_truth(found)}"
    return ", as given" if found.filled == found.k_given else ""


def _truth(found: Outcome) -> str:
    if not found.classes or not found.k_interval:
        return ""
    low, high = found.k_interval
    if found.classes == found.k_estimated:
        verdict = ""
    else:
        inside = low <= found.classes <= high
        verdict = ", inside the interval" if inside else ", missed by the interval"
    return f"; the truth is {found.classes:,}{verdict}"


def _attention(found: Outcome) -> Iterator[str]:
    """Lines that need attention: missing, repeated, isolated or out of date."""
    if found.skipped:
        where = Path(found.run_dir) / f"{Embeddings.name}.h5"
        yield f"{found.skipped:,} skipped (the reasons: `clusterpipe inspect {where}`)"
    if found.unassigned:
        yield f"{_counted(found.unassigned, 'image')} in no cluster"
    if found.k_interval and found.k_interval[1] > WIDE * found.k_interval[0]:
        low, high = found.k_interval
        yield f"{low:,} to {high:,} clusters are plausible, probabilities are of this number only"
    if found.corrections and found.corrections.open:
        yield (
            f"{_counted(found.corrections.open, 'correction')} no longer apply as a whole (why: "
            f"`clusterpipe correct log --run-dir {found.run_dir}`)"
        )
    if found.curation:
        yield from _curation(found.curation)
    for name in found.outdated:
        yield f"{name} is out of date and left out"


def _curation(found: Curated) -> Iterator[str]:
    if found.repeated:
        yield (
            f"{_counted(found.repeated, 'image')} nearly the same as another "
            f"({_counted(found.groups, 'group')}, {_counted(found.copies, 'exact copy')})"
        )
    if found.outliers:
        yield f"{_counted(found.outliers, 'outlier')}, least like any other"


def _scores(found: Outcome) -> str:
    """Accuracy, NMI and ARI of the method the run stands by; empty without labels."""
    scores = []
    for row in found.metrics:
        if row["method"] == found.method and row["metric"] in _HEADLINE:
            chance = "" if row["chance"] is None else f" (chance {row['chance']:.3f})"
            scores.append(f"{_HEADLINE[row['metric']]} {row['chosen']:.3f}{chance}")
    return f"by labels   {', '.join(scores)}" if scores else ""


def _where_next(found: Outcome) -> Iterator[str]:
    of = f"--run-dir {found.run_dir}"
    yield f"artifacts   {found.run_dir}"
    if found.pictures:
        yield f"pictures    {found.pictures}"
    if found.plots:
        yield f"plots       {found.plots}"
    if found.clusters:
        yield f"browse      clusterpipe report --open {of}"
    if found.metrics:
        yield f"all figures clusterpipe metrics {of}"


def _counted(count: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{count:,} {what if count == 1 else plural}"


# ---------------------------------------------------------------- clusters


def _cluster_table(found: Outcome, most: int) -> Table:
    """A row per cluster; of more than `most` the largest, and how many more there are."""
    clusters = list(found.clusters)
    if len(clusters) > most:
        clusters = sorted(clusters, key=lambda cluster: -cluster.images)[:most]
    labelled = any(cluster.true_class for cluster in found.clusters)
    table = Table(box=None, pad_edge=False)
    table.add_column("cluster", justify="right", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("caption")
    if labelled:
        table.add_column("mostly (ground truth)")
    for cluster in clusters:
        cells: list[RenderableType] = [str(cluster.cluster), f"{cluster.images:,}"]
        cells.append(_cut(cluster.caption))
        if labelled and cluster.true_class:
            cells.append(_cut(f"{cluster.true_class} {cluster.share:.0%}"))
        table.add_row(*cells)
    if left := len(found.clusters) - len(clusters):
        images = sum(c.images for c in found.clusters) - sum(c.images for c in clusters)
        table.add_row("", f"{images:,}", f"and {left:,} more")
    return table


def _cut(name: str) -> RenderableType:
    """A name in one line, cut where the table is too wide."""
    text = shown(name)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text

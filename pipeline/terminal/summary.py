"""What a person reads at the end: the outcome of a run, the state of its stages, what it costs."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console, RenderableType
from rich.table import Table

from clusterpipe.cache import artifact
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import (
    Assignment,
    Assignments,
    Captions,
    Curation,
    Embeddings,
    KEstimate,
    Metrics,
)
from clusterpipe.cache.sources import SourceConfig
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.embedding_cost import Estimate
from clusterpipe.pipeline.engine.execute import RunResult
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.pipeline.engine.plan import StageState
from clusterpipe.pipeline.results.pictures import cluster_captions
from clusterpipe.pipeline.terminal.escaping import shown

JSON_VERSION = 1
_STYLES = {
    "fresh": "green",
    "missing": "yellow",
    "stale": "yellow",
    "partial": "yellow",
    "blocked": "yellow",
    "skipped": "dim",
    "corrupt": "red",
}
DEMONSTRATION = (
    "This is a demonstration, not a benchmark: crops of one photograph are easy to group. "
    "Give a folder of your own: clusterpipe run-all FOLDER"
)
SUPERVISED = (
    "The packaged backbone is supervised on ImageNet labels and knows only their 1,000 words; its "
    "captions often miss. For real work take CLIP or DINOv2 (embed.backbones)."
)
GIVEN = "captions: the names that zero-shot was given (assign.class_names)"


# ---------------------------------------------------------------- the outcome


@dataclass(frozen=True)
class Cluster:
    """One cluster in the summary."""

    cluster: int
    images: int
    caption: str
    true_class: str
    share: float


@dataclass(frozen=True)
class Curated:
    """Groups of near-duplicates, the images that repeat another of their group, those of them that
    are exact copies, and the outliers."""

    groups: int
    repeated: int
    copies: int
    outliers: int


@dataclass(frozen=True)
class Outcome:
    """What `run-all` ends with."""

    run_dir: str
    images: int
    skipped: int
    k: int | None
    k_estimated: int | None
    k_interval: tuple[int, int] | None
    k_reason: str
    classes: int | None
    clusters: tuple[Cluster, ...]
    method: str
    metrics: tuple[dict[str, Any], ...]
    protocol: str
    retrieval: tuple[dict[str, Any], ...]
    retrieval_protocol: str
    captions: tuple[dict[str, Any], ...]
    caption_protocol: str
    captioned: str
    curation: Curated | None
    pictures: str | None
    plots: str | None
    remarks: tuple[str, ...]


def outcome(
    run: RunDirectory, config: Config, sheets: Sequence[Path], plots: Sequence[Path] = ()
) -> Outcome:
    """Reads the outcome of a run from whatever artifacts are there."""
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    metrics = _if_current(run, Metrics)
    captions = _if_current(run, Captions)
    curation = _if_current(run, Curation)
    assignments = _if_current(run, Assignments)
    chosen = assignments.methods[assignments.chosen] if assignments else None
    named = chosen is not None and chosen.name is not None
    clusters = _clusters(run, index, chosen)
    estimate = None if config.of("assign").k or named else _if_current(run, KEstimate)
    return Outcome(
        run_dir=str(run.folder),
        images=len(index.id),
        skipped=len(index.skipped_path),
        k=len(clusters) or None,
        k_estimated=estimate.k if estimate else None,
        k_interval=(int(estimate.interval[0]), int(estimate.interval[1])) if estimate else None,
        k_reason=estimate.reason if estimate else "",
        classes=len(np.unique(index.label[index.label >= 0])) if index.label is not None else None,
        clusters=clusters,
        method=_method(run),
        metrics=tuple(_metric_rows(metrics)) if metrics else (),
        protocol=metrics.protocol if metrics else "",
        retrieval=tuple(_retrieval_rows(metrics)) if metrics else (),
        retrieval_protocol=(metrics.retrieval_protocol or "") if metrics else "",
        captions=tuple(_caption_rows(metrics)) if metrics else (),
        caption_protocol=(metrics.caption_protocol or "") if metrics else "",
        captioned=GIVEN if named else _captioned(captions) if captions else "",
        curation=_curated(curation) if curation else None,
        pictures=str(sheets[0].parent) if sheets else None,
        plots=str(plots[0].parent) if plots else None,
        remarks=tuple(_remarks(config, index)),
    )


def _remarks(config: Config, index: Embeddings) -> Iterator[str]:
    if config.source.path == SourceConfig().path:
        yield DEMONSTRATION
    if any(space.backbone.startswith("packaged:") for space in index.spaces.values()):
        yield SUPERVISED


def show(result: RunResult, config: Config, *, as_json: bool) -> None:
    """Prints the outcome of a run on stdout."""
    found = outcome(RunDirectory(result.folder), config, result.pictures, result.plots)
    if as_json:
        stages = [asdict(event) for event in result.events]
        document = {"schema_version": JSON_VERSION, **asdict(found), "stages": stages}
        typer.echo(json.dumps(document, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(_headline(found, config.source.limit), soft_wrap=True)
    if found.metrics:
        console.print(_metrics_table(found))
        console.print(shown(found.protocol, style="dim"), soft_wrap=True)
    if found.retrieval:
        console.print(_retrieval_table(found))
        console.print(shown(found.retrieval_protocol, style="dim"), soft_wrap=True)
    if found.captions:
        console.print(_caption_table(found))
        console.print(shown(found.caption_protocol, style="dim"), soft_wrap=True)
    if found.clusters:
        console.print(_cluster_table(found))
    if found.captioned:
        console.print(shown(found.captioned, style="dim"), soft_wrap=True)
    for remark in found.remarks:
        console.print(shown(remark, style="italic"), soft_wrap=True)
    console.print(shown(f"artifacts  {found.run_dir}"), soft_wrap=True)
    if found.pictures:
        console.print(shown(f"pictures   {found.pictures}"), soft_wrap=True)
    if found.plots:
        console.print(shown(f"plots      {found.plots}"), soft_wrap=True)


def _headline(found: Outcome, limit: int) -> RenderableType:
    lines = [f"{found.images:,} images"]
    if limit:
        lines[0] += f" (a trial on {limit:,}; --limit 0 takes all)"
    if found.skipped:
        where = Path(found.run_dir) / f"{Embeddings.name}.h5"
        lines[0] += f", {found.skipped:,} skipped: the reasons are in {where} /skipped"
    if found.k:
        given = "" if found.k_estimated else ", as given"
        lines.append(f"{found.k} cluster{'s' * (found.k != 1)}{given}")
    if found.k_estimated and found.k_interval:
        low, high = found.k_interval
        lines.append(f"K estimated {found.k_estimated}, interval {low} to {high}")
        if found.classes:
            lines[-1] += f"; the truth is {found.classes}{_verdict(found)}"
        lines.append(found.k_reason)
    if found.curation:
        lines.append(_curation_line(found.curation))
    return shown(*(line for line in lines if line))


def _curated(curation: Curation) -> Curated:
    in_groups = int((curation.group >= 0).sum())
    return Curated(
        groups=len(curation.representative),
        repeated=in_groups - len(curation.representative),
        copies=int((curation.copy_of != np.arange(len(curation.copy_of))).sum()),
        outliers=int(curation.outlier.sum()),
    )


def _curation_line(found: Curated) -> str:
    repeated = "no near-duplicates"
    if found.repeated:
        repeated = (
            f"{_counted(found.repeated, 'image')} nearly the same as another "
            f"({_counted(found.groups, 'group')}, {_counted(found.copies, 'exact copy')})"
        )
    return f"{repeated}; {_counted(found.outliers, 'outlier')}, least like any other"


def _counted(count: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{count:,} {what if count == 1 else plural}"


def _verdict(found: Outcome) -> str:
    if found.k_estimated is None or found.k_interval is None or found.classes is None:
        return ""
    if found.k_estimated == found.classes:
        return ""
    low, high = found.k_interval
    inside = low <= found.classes <= high
    return ", inside the interval" if inside else ", missed by the interval"


def _method(run: RunDirectory) -> str:
    """The method the run stands by; empty without clusters."""
    if not describes(Assignments, run):
        return ""
    return str(artifact.read_value(run.artifact(Assignments), Assignments, "chosen"))


def _clusters(
    run: RunDirectory, index: Embeddings, chosen: Assignment | None
) -> tuple[Cluster, ...]:
    if chosen is None:
        return ()
    captions = cluster_captions(run, chosen)
    return tuple(
        _cluster(number, np.flatnonzero(chosen.label == number), caption, index)
        for number, caption in enumerate(captions)
    )


def _cluster(number: int, members: Any, caption: str, index: Embeddings) -> Cluster:
    if index.label is None or index.class_name is None:
        return Cluster(number, len(members), caption, "", math.nan)
    labels = index.label[members]
    counts = np.bincount(labels[labels >= 0], minlength=len(index.class_name))
    if not counts.sum():
        return Cluster(number, len(members), caption, "", math.nan)
    top = int(counts.argmax())
    return Cluster(
        number, len(members), caption, index.class_name[top], float(counts[top] / counts.sum())
    )


def _metric_rows(metrics: Metrics) -> list[dict[str, Any]]:
    rows = []
    for a, method in enumerate(metrics.method):
        for b, metric in enumerate(metrics.metric):
            if not math.isnan(metrics.value[a, b]):
                rows.append(
                    {
                        "method": str(method),
                        "metric": str(metric),
                        "chosen": float(metrics.chosen_value[a, b]),
                        "mean": float(metrics.value[a, b]),
                        "spread": float(metrics.spread[a, b]),
                        "chance": _number(metrics.chance[a, b]),
                        "unit": str(metrics.unit[b]),
                    }
                )
    return rows


def _metrics_table(found: Outcome) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "metric"):
        table.add_column(heading, no_wrap=True)
    for heading in ("this run", "over seeds", "chance"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.metrics:
        chance = "" if row["chance"] is None else f"{row['chance']:.3f}"
        unit = row["unit"].replace(" per ", "/")
        metric = f"{row['metric']} ({unit})" if unit else row["metric"]
        spread = f"{row['mean']:.3f} ± {row['spread']:.3f}"
        table.add_row(row["method"], metric, f"{row['chosen']:.3f}", spread, chance)
    return table


def _retrieval_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    spaces, measures = metrics.retrieval_space, metrics.retrieval_metric
    value, chance = metrics.retrieval_value, metrics.retrieval_chance
    if spaces is None or measures is None or value is None or chance is None:
        return
    for (r, space), (v, metric) in product(enumerate(spaces), enumerate(measures)):
        yield {
            "space": str(space),
            "metric": str(metric),
            "value": float(value[r, v]),
            "chance": float(chance[v]),
        }


def _retrieval_table(found: Outcome) -> Table:
    """A row per feature space, and one for chance, which is the same in all."""
    rows: dict[str, list[str]] = {}
    for row in found.retrieval:
        rows.setdefault(row["space"], []).append(f"{row['value']:.3f}")
    first = found.retrieval[0]["space"]
    chance = {row["metric"]: row["chance"] for row in found.retrieval if row["space"] == first}
    table = Table(box=None, pad_edge=False)
    table.add_column("image search in", no_wrap=True)
    for metric in chance:
        table.add_column(metric, justify="right", no_wrap=True)
    for space, values in rows.items():
        table.add_row(space, *values)
    table.add_row("chance", *(f"{value:.3f}" for value in chance.values()))
    return table


def _captioned(captions: Captions) -> str:
    """Who named what: the captioner, the clusters, the features they were read off, the words."""
    naming = captions.methods[captions.chosen]
    leak = ", the class names of the source, which leak the answer" if captions.leaks else ""
    return (
        f"captions: {captions.chosen}, of the clusters of {naming.assignment} in "
        f"{naming.clustered}, by the features of {naming.space} and the "
        f"{len(captions.word):,} words of {naming.vocabulary}{leak}"
    )


def _caption_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    methods, measures = metrics.caption_method, metrics.caption_metric
    value, chance = metrics.caption_value, metrics.caption_chance
    if methods is None or measures is None or value is None or chance is None:
        return
    for (h, method), (o, metric) in product(enumerate(methods), enumerate(measures)):
        if not math.isnan(value[h, o]):
            yield {
                "method": str(method),
                "metric": str(metric),
                "value": float(value[h, o]),
                "chance": _number(chance[h, o]),
            }


def _caption_table(found: Outcome) -> Table:
    """A row per measure, a column per captioner; chance in brackets."""
    rows: dict[str, dict[str, str]] = {}
    for row in found.captions:
        chance = "" if row["chance"] is None else f" ({row['chance']:.3f})"
        rows.setdefault(row["metric"], {})[row["method"]] = f"{row['value']:.3f}{chance}"
    methods = list(dict.fromkeys(row["method"] for row in found.captions))
    table = Table(box=None, pad_edge=False)
    table.add_column("captions (chance)", no_wrap=True)
    for method in methods:
        table.add_column(method, justify="right", no_wrap=True)
    for metric, values in rows.items():
        table.add_row(metric, *(values.get(method, "") for method in methods))
    return table


def _cluster_table(found: Outcome) -> Table:
    labelled = any(cluster.true_class for cluster in found.clusters)
    table = Table(box=None, pad_edge=False)
    table.add_column("cluster", justify="right")
    table.add_column("images", justify="right")
    table.add_column("caption")
    if labelled:
        table.add_column("mostly (ground truth)")
    for cluster in found.clusters:
        cells: list[RenderableType] = [str(cluster.cluster), f"{cluster.images:,}"]
        cells.append(shown(cluster.caption))
        if labelled and cluster.true_class:
            cells.append(shown(f"{cluster.true_class} {cluster.share:.0%}"))
        table.add_row(*cells)
    return table


def _if_current(run: RunDirectory, kind: Any) -> Any:
    return artifact.read(run.artifact(kind), kind) if describes(kind, run) else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


# ---------------------------------------------------------------- the state of the stages


def show_states(run: RunDirectory, states: Sequence[StageState], costs: Estimate | None) -> None:
    """Prints one row per stage on stdout, and what a pending embedding takes."""
    console = Console(highlight=False)
    console.print(shown(str(run.folder), style="bold"), soft_wrap=True)
    for state in states:
        line = shown(f"{state.stage:<12}")
        line.append(f"{state.state:<9}", _STYLES[state.state])
        line.append_text(shown("; ".join(state.reasons), style="dim"))
        console.print(line, soft_wrap=True)
    if costs:
        console.print(shown(str(costs)), soft_wrap=True)

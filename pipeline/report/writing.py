"""Puts a report together: thumbnails, map, data, page."""

import io
import json
import shlex
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import canonical, digest
from clusterpipe.cache.schema import Assignments
from clusterpipe.cache.sources import ImageSource, open_source
from clusterpipe.cache.storage import explained, replacing, sweep, write_text
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.report import content
from clusterpipe.pipeline.report.page import page_context, percent
from clusterpipe.pipeline.report.thumbnails import write_thumbnails
from clusterpipe.pipeline.results.export import refuse_the_source
from clusterpipe.pipeline.results.map_layout import MAP_NAMES, lay_out, map_method
from clusterpipe.pipeline.results.reading import Results

SCRIPTS = (
    "basics",
    "clusters",
    "acts",
    "keeping",
    "tiles",
    "selection",
    "cards",
    "groups",
    "one_cluster",
    "route",
    "duplicates",
    "viewer",
    "map",
    "map_drawing",
    "map_pointer",
    "naming",
    "chooser",
    "workbench",
    "start",
)
"""Files of the page's script, in their order: one scope, as browsers load no modules from disk."""
_MARK = 'content="clusterpipe '


@dataclass(frozen=True)
class ReportSettings:
    """Settings of a report: at most `images` images, each with a thumbnail and a point on the map.

    `map` is one of MAPS; "auto" takes UMAP where it is installed, else t-SNE.
    """

    map: str = "auto"
    images: int = 50_000
    doubtful_below: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """The page, and how many of the images it shows have a thumbnail.

    `gone` counts those whose original is no longer where the run found it.
    """

    page: Path
    images: int
    thumbnails: int
    gone: int


def write_report(
    results: Results,
    config: Config,
    *,
    output: Path | None = None,
    settings: ReportSettings = ReportSettings(),
    progress: Progress = silent,
) -> Report:
    """Writes the report into `output`, by default `report` below the run; gives its page.

    Thumbnails and the map are kept between reports while the images and features are the same.
    Raises UsageError for an unknown map, and when `output` holds something else or lies in the
    source.
    """
    folder = (output or results.run.folder / "report").absolute()
    _refuse_others(folder)
    if output:
        refuse_the_source(folder, config.source)
    method = map_method(settings.map)
    kind = content.kinds(results, doubtful_below=settings.doubtful_below)
    rows = content.shown_rows(results, kind, settings.images)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        thumbnails = _thumbnails(results, config, rows, folder, progress)
        points = _points(results, rows, folder, method, settings.seed, progress)
        columns = content.image_columns(results, rows, kind, points, thumbnails, folder)
        data = {
            "images": columns,
            "clusters": content.cluster_columns(results),
            "classes": results.class_names,
            "doubtfulBelow": settings.doubtful_below,
            "run": _about_run(results, config, rows),
        }
        gone = sum(map(results.is_gone, rows.tolist()))
        _write_page(folder, page_context(results, config, kind, len(rows), method, gone), data)
    return Report(folder / "index.html", len(rows), sum(map(bool, thumbnails)), gone)


def _about_run(results: Results, config: Config, rows: NDArray[np.intp]) -> dict[str, str]:
    """Facts for the workbench: where its acts are kept, what they speak of, how to take them in.

    Acts name images and clusters by their numbers in this report, which `key` stands for.
    """
    folder = str(results.run.folder.absolute())
    numbers = [results.index.id[rows].tolist(), results.clusters.label.tolist()]
    return {
        "name": Path(config.source.path).name,
        "folder": folder,
        "key": digest(json.dumps([numbers, results.captions]).encode()),
        "command": f"clusterpipe correct --from FILE --run-dir {shlex.quote(folder)}",
    }


def _thumbnails(
    results: Results, config: Config, rows: NDArray[np.intp], folder: Path, progress: Progress
) -> list[str]:
    source: Any = None
    with suppress(UsageError):  # the images are gone; earlier thumbnails may be there
        source = open_source(config.source, progress=progress)
    images = source if isinstance(source, ImageSource) else None
    return write_thumbnails(
        results, images, rows.tolist(), folder / "thumbnails", progress=progress
    )


def _points(
    results: Results,
    rows: NDArray[np.intp],
    folder: Path,
    method: str,
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Points of the rows on the map (n, 2); from an earlier report if it is the same map."""
    head = artifact.header(results.run.artifact(Assignments), Assignments)
    what = [head.content_id, dict(head.identity.inputs), method, seed, rows.tolist()]
    key = digest(canonical(what).encode())
    kept = folder / "map.npz"
    if (points := _kept_points(kept, key)) is not None:
        return points
    with progress(f"map by {MAP_NAMES[method]}", total=len(rows), unit="images") as advance:
        points = lay_out(results, rows, method, seed)
        advance(len(rows))
    with replacing(kept) as temporary, temporary.open("wb") as file:
        np.savez(file, key=key, points=points)
    return points


def _kept_points(path: Path, key: str) -> NDArray[np.float32] | None:
    """The map of an earlier report; None where there is none, another one or a damaged one."""
    damage = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
    with suppress(*damage), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
        if str(stored["key"]) == key:
            return np.asarray(stored["points"])
    return None


def _write_page(folder: Path, context: dict[str, Any], data: dict[str, Any]) -> None:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("clusterpipe.pipeline.report", "assets")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["percent"] = percent
    page = environment.get_template("index.html").render(context)
    write_text(folder / "data.js", f"const CLUSTERPIPE = {json.dumps(data)};\n")
    script = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    write_text(folder / "report.js", f'"use strict";\n(() => {{\n{script}}})();\n')
    write_text(folder / "report.css", _asset("report.css"))
    write_text(folder / "index.html", page)


def _asset(name: str) -> str:
    asset = files("clusterpipe.pipeline.report") / "assets" / name
    return asset.read_text(encoding="utf-8")


def _refuse_others(folder: Path) -> None:
    """A report only ever replaces a report."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    page = folder / "index.html"
    if page.exists() and _MARK in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        return
    if (folder / "thumbnails").is_dir() and not page.exists():  # an interrupted one
        return
    raise UsageError(f"{folder} is not empty and no report: name another --output")

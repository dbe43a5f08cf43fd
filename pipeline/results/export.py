"""`clusterpipe export`: the clusters as a table of one row per image, or as folders."""

import csv
import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import ImageSource, SourceConfig, open_source, stored_path
from clusterpipe.cache.sources.cells import harmless
from clusterpipe.cache.storage import replacing
from clusterpipe.pipeline.results import other_tools
from clusterpipe.pipeline.results.cluster_folders import by_month_folders, write_folders
from clusterpipe.pipeline.results.reading import Results

COLUMNS: Mapping[str, type] = {
    "id": str,  # the image's name within its source
    "path": str,  # its file, absolute; empty for what is not a file
    "cluster": int,  # -1 unassigned
    "cluster_coarse": int,  # the group of clusters that it is in; empty for none
    "cluster_fine": int,  # the part of its cluster
    "caption": str,
    "caption_origin": str,  # a captioner, or you; empty without a caption
    "probability": float,
    "second_cluster": int,  # the likeliest after `cluster`; empty if there is one cluster
    "second_probability": float,
    "outlier_score": float,
    "exemplar": int,  # place among its cluster's exemplars, from 1; empty for the others
    "duplicate_group": int,  # the same for near-duplicates; empty for what has none
    "is_representative": bool,  # false for duplicates of the image to keep
    "similarity": float,  # with the image most like it
    "isolation": float,  # mean distance, to the images nearest to it and to all
    "is_outlier": bool,  # among the most isolated
    "label": str,  # ground truth; empty where unknown
    "split": str,
    "width": int,
    "height": int,
    "digest": str,
}
EXIF: Mapping[str, type] = {  # of which a table has those that embed kept, if they are asked for
    "taken": str,  # local time, 2021-06-03T12:30:01; empty where unknown
    "camera": str,
    "latitude": float,  # degrees
    "longitude": float,
}
FORMATS = (
    *("csv", "json", "parquet", "folders", "copies"),
    *("label-studio", "fiftyone", "embedding-atlas"),
)
_NAMES: Mapping[str, str] = {  # of files or folders that are not named by their format
    "folders": "clusters",
    "months": "months",
    "copies": "copies.csv",
    "label-studio": "label-studio",
    "fiftyone": "fiftyone",
    "embedding-atlas": "embedding-atlas.parquet",
}
_FOLDERS = ("folders", "months", "label-studio", "fiftyone")
_TABLES = ("csv", "json", "parquet")

Columns = Mapping[str, list[Any]]


@dataclass(frozen=True)
class Exported:
    """Place of an export, and its number of images; with `dry_run`, where it would lie.

    `missing` images are no longer in the source; `replaced` files were there before; `folders`
    counts the images of each folder by name.
    """

    path: Path
    images: int
    missing: int = 0
    replaced: int = 0
    folders: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False


def export(
    results: Results,
    source: SourceConfig,
    *,
    to: str,
    output: Path | None = None,
    copy: bool = False,
    dry_run: bool = False,
    raw: bool = False,
    unique: bool = False,
    exif: bool = False,
    by_month: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Exported:
    """Writes the clusters to `output`, by default below the run, in one of `FORMATS`.

    With `copy`, folders hold copies instead of links; with `dry_run`, nothing is written; with
    `raw`, csv keeps what a spreadsheet would take for a formula as it is; with `unique`, one image
    of each group of near-duplicates is taken; with `exif`, tables have the columns of `EXIF` that
    embed kept; with `by_month`, folders lie in one of the month that the images were taken in, such
    as 2021-06, or in `undated`. `seed` is that of a map.
    Originals are only ever read. Raises UsageError for another format, a place that is not ours to
    write to, or a missing pyarrow; StorageError.
    """
    if to not in FORMATS:
        near = difflib.get_close_matches(to, FORMATS, n=1)
        raise UsageError(
            f"--to takes {', '.join(FORMATS)}, not {to!r}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    if by_month and to != "folders":
        raise UsageError("--by-month sorts folders: add --to folders")
    path = _place(results.run, output, "months" if by_month else to)
    if output:
        refuse_the_source(path, source)
    if to == "folders":
        images = open_source(source, progress=progress)
        if not isinstance(images, ImageSource):
            raise UsageError(f"{source.path} holds features: there are no images to put in folders")
        rows = _rows_taken(results, unique)
        fill = by_month_folders if by_month else write_folders
        done = fill(results, images, path, rows=rows, copy=copy, dry_run=dry_run, progress=progress)
        n = sum(done.sizes.values())
        return Exported(path, n, done.missing, done.replaced, done.sizes, dry_run)
    replaced = int(path.exists())
    rows = _rows_taken(results, unique)
    table = copies(results) if to == "copies" else _taken(columns(results, exif=exif), rows)
    if to in ("label-studio", "fiftyone"):
        other_tools.refuse_without_files(table, to)
    if to == "embedding-atlas" and not dry_run:
        _refuse_without_pyarrow(to)
        more = other_tools.map_and_neighbours(results, rows, seed=seed, progress=progress)
        _written(partial(_write_parquet, more=more))(table, path)
    elif not dry_run:
        write = _write_raw_csv if raw and to in ("csv", "copies") else _WRITERS[to]
        write(table, path) if to in _FOLDERS else _written(write)(table, path)
    return Exported(path, len(table["id"]), replaced=replaced, dry_run=dry_run)


def _rows_taken(results: Results, unique: bool) -> NDArray[np.intp]:
    """Rows to export. Raises UsageError where it is not known which are unique."""
    if not unique:
        return np.arange(len(results.index.id))
    if results.curation is None:
        raise UsageError(
            f"near-duplicates are not known: run `clusterpipe curate --run-dir "
            f"{results.run.folder}` first"
        )
    return np.flatnonzero(results.is_representative)


def _taken(table: Columns, rows: NDArray[np.intp]) -> dict[str, list[Any]]:
    return {name: [column[row] for row in rows] for name, column in table.items()}


def copies(results: Results) -> dict[str, list[Any]]:
    """Images that are nearly the same as one that is kept: files that could be deleted.

    Nothing is deleted. Raises UsageError before curation.
    """
    kept = _rows_taken(results, True)
    table, curation = columns(results), results.curation
    rows = np.setdiff1d(np.arange(len(table["id"])), kept)
    group = np.asarray([-1] if curation is None else curation.group)
    stands = {int(group[row]): row for row in reversed(kept.tolist()) if group[row] >= 0}
    keeper = [stands.get(int(group[row])) for row in rows]
    size, digest = results.index.size, results.index.digest
    return {
        "path": [table["path"][row] for row in rows],
        "kept": ["" if k is None else table["path"][k] for k in keeper],
        "exact": [
            k is not None and digest[k] == digest[r] for k, r in zip(keeper, rows, strict=True)
        ],
        "similarity": [table["similarity"][row] for row in rows],
        "bytes": [int(size[row]) for row in rows],
        "id": [table["id"][row] for row in rows],
        "kept_id": ["" if k is None else table["id"][k] for k in keeper],
    }


def columns(results: Results, *, exif: bool = False) -> dict[str, list[Any]]:
    """The table, column by column, as plain values and None; ready for `pandas.DataFrame`.

    With `exif` the columns of `EXIF` that embed kept, too.
    """
    clusters, index = results.clusters, results.index
    n = len(index.id)
    label = clusters.label.tolist()
    several = clusters.top_label.shape[1] > 1
    found = {
        "id": index.id.tolist(),
        "path": [_path(results.file(row)) for row in range(n)],
        "cluster": label,
        **_levels(results),
        "caption": [results.captions[k] if k >= 0 else "" for k in label],
        "caption_origin": [results.origins[k] if k >= 0 and results.origins else "" for k in label],
        "probability": _numbers(clusters.probability),
        "second_cluster": _known(clusters.top_label[:, 1]) if several else [None] * n,
        "second_probability": _numbers(clusters.top_probability[:, 1]) if several else [None] * n,
        "outlier_score": _numbers(clusters.outlier_score),
        "exemplar": [rank or None for rank in results.exemplar_rank.tolist()],
        **_curation(results),
        "label": results.true_class,
        "split": [None] * n if index.split is None else index.split.tolist(),
        "width": index.width.tolist(),
        "height": index.height.tolist(),
        "digest": index.digest.tolist(),
    }
    return {name: found[name] for name in COLUMNS} | (_exif(results) if exif else {})


def _exif(results: Results) -> dict[str, list[Any]]:
    """Raises UsageError where embed kept none."""
    kept = {name: getattr(results.index, name) for name in EXIF}
    found = {name: column for name, column in kept.items() if column is not None}
    if not found:
        raise UsageError(
            "this run keeps no EXIF: `clusterpipe embed --set embed.exif=time --force --run-dir "
            f"{results.run.folder}` reads it, and embeds nothing again"
        )
    return {n: _numbers(c) if EXIF[n] is float else c.tolist() for n, c in found.items()}


def _levels(results: Results) -> dict[str, list[Any]]:
    if results.levels is None:
        return dict.fromkeys(("cluster_coarse", "cluster_fine"), [None] * len(results.index.id))
    coarse = np.append(results.levels.coarse, -1)[results.clusters.label]  # -1 is the last
    return {"cluster_coarse": _known(coarse), "cluster_fine": _known(results.levels.fine)}


def _known(clusters: Any) -> list[int | None]:
    return [cluster if cluster >= 0 else None for cluster in clusters.tolist()]


def _curation(results: Results) -> dict[str, list[Any]]:
    curation = results.curation
    if curation is None:
        names = ("duplicate_group", "is_representative", "similarity", "isolation", "is_outlier")
        return {name: [None] * len(results.index.id) for name in names}
    return {
        "duplicate_group": [group if group >= 0 else None for group in curation.group.tolist()],
        "is_representative": results.is_representative.tolist(),
        "similarity": _numbers(curation.similarity),
        "isolation": _numbers(curation.isolation),
        "is_outlier": (curation.outlier > 0).tolist(),
    }


def _numbers(values: Any) -> list[float | None]:
    """Six decimals are more than the features carry; what is not finite is unknown."""
    rounded = np.asarray(values, np.float64).round(6)
    known = np.isfinite(rounded)
    return [x if ok else None for x, ok in zip(rounded.tolist(), known.tolist(), strict=True)]


def _path(path: Path | None) -> str:
    """A path as it is stored, so that a table of ours can be a source."""
    return "" if path is None else stored_path(str(path))


def _rows(table: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(*table.values(), strict=True)


def _write_csv(table: Columns, path: Path) -> None:
    """A table that no spreadsheet computes with."""
    texts = {name for name in table if {**COLUMNS, **EXIF}.get(name, str) is str}
    safe = {
        name: [harmless(cell) if isinstance(cell, str) else cell for cell in column]
        if name in texts
        else column
        for name, column in table.items()
    }
    _write_raw_csv(safe, path)


def _write_raw_csv(table: Columns, path: Path) -> None:
    """As RFC 4180 has it; lines end in CR LF, or else a CR in a file name would not be quoted.

    All texts are quoted: blanks at their ends are theirs.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(table)
        writer.writerows(_rows(table))


def _write_json(table: Columns, path: Path) -> None:
    """An array of objects, one to a line."""
    lines = (
        json.dumps(dict(zip(table, row, strict=True)), ensure_ascii=False) for row in _rows(table)
    )
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        file.writelines(f"{',' * bool(n)}\n{line}" for n, line in enumerate(lines))
        file.write("\n]\n")


def _refuse_without_pyarrow(to: str) -> None:
    if find_spec("pyarrow") is None:
        raise UsageError(f"--to {to} needs pyarrow: pip install pyarrow")


def _write_parquet(
    table: Columns, path: Path, more: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """The table, and columns of other types."""
    _refuse_without_pyarrow("parquet")
    import pyarrow
    from pyarrow import parquet

    kinds = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, kinds[{**COLUMNS, **EXIF}[name]]) for name in table])
    written = pyarrow.table(dict(table), schema=schema)
    for name, column in more.items():
        written = written.append_column(name, column)
    parquet.write_table(written, path)


_WRITERS: Mapping[str, Callable[[Columns, Path], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
    "copies": _write_csv,
    "label-studio": other_tools.label_studio,
    "fiftyone": other_tools.fiftyone,
}


def writer_of(path: Path) -> Callable[[Columns, Path], None]:
    """Writer of a table of our columns, in the format that the ending of `path` names.

    Raises UsageError for another ending.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in _TABLES:
        raise UsageError(f"{path} should end in .{' or .'.join(_TABLES)}")
    return _written(_WRITERS[ending])


def _written(write: Callable[[Columns, Path], None]) -> Callable[[Columns, Path], None]:
    def whole(table: Columns, path: Path) -> None:
        with replacing(path) as temporary:
            write(table, temporary)

    return whole


def _place(run: RunDirectory, output: Path | None, to: str) -> Path:
    name = _NAMES.get(to, f"clusters.{to}")
    path = (output or run.folder / "export" / name).absolute()
    return path / name if path.is_dir() and to not in _FOLDERS else path


def refuse_the_source(path: Path, source: SourceConfig) -> None:
    """Nothing is written over a source, or among its images, where the next scan would find it."""
    for name in (source.path, *source.also):
        given = Path(name).expanduser().absolute()
        if given.exists() and path.resolve().is_relative_to(given.resolve()):
            raise UsageError(f"{path} is part of the source {given}: name another --output")

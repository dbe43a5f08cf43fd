"""Exports that other tools open: Label Studio, FiftyOne, Embedding Atlas."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress
from clusterpipe.cache.rows import normalise, take
from clusterpipe.cache.storage import write_text
from clusterpipe.pipeline.results.map_layout import lay_out, map_method
from clusterpipe.pipeline.results.predict import clustered
from clusterpipe.pipeline.results.reading import Results

Columns = Mapping[str, Sequence[Any]]
NEIGHBOURS = 15  # of each image, in Embedding Atlas
_LOCAL = "/data/local-files/?d="  # Label Studio's address of a file below its document root


def label_studio(table: Columns, folder: Path) -> None:
    """Writes tasks with predictions and their scores, and the labelling interface they belong to.

    Files are addressed as Label Studio serves local ones, from the root of the file system:
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/ and LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true. An
    image in no cluster has no prediction.
    """
    tasks = [_task(row) for row in _rows(table)]
    choices = sorted({choice for row in _rows(table) if (choice := _choice(row))})
    lines = [f"    <Choice value={quoteattr(choice)}/>" for choice in choices]
    config = "\n".join(
        [
            "<View>",
            '  <Image name="image" value="$image"/>',
            '  <Choices name="cluster" toName="image" choice="single" showInline="true">',
            *lines,
            "  </Choices>",
            "</View>",
        ]
    )
    write_text(folder / "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    write_text(folder / "interface.xml", config + "\n")


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    data = {key: row[key] for key in ("id", "digest", "cluster", "caption")}
    task: dict[str, Any] = {"data": {"image": _LOCAL + row["path"].lstrip("/"), **data}}
    if choice := _choice(row):
        result = {
            "from_name": "cluster",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [choice]},
        }
        prediction = {"model_version": "clusterpipe", "score": row["probability"]}
        task["predictions"] = [{**prediction, "result": [result]}]
    return task


def _choice(row: Mapping[str, Any]) -> str:
    """The cluster of an image in words that no other cluster has; empty for none."""
    return f"{row['cluster']:03d} {row['caption']}".strip() if row["cluster"] >= 0 else ""


def fiftyone(table: Columns, folder: Path) -> None:
    """Writes a dataset of FiftyOne's type FiftyOneImageClassificationDataset.

    data.json names the files, where they lie; labels.json has for each a label with its confidence,
    and the other columns as attributes, each of its own type.
    """
    names = [f"{row:08d}" for row in range(len(table["id"]))]
    rows = list(_rows(table))
    own = ("path", "cluster", "caption", "probability")
    labels = {
        name: {
            "label": _choice(row) or "unassigned",
            "confidence": row["probability"],
            "attributes": {
                "cluster": row["cluster"],
                **{key: v for key, v in row.items() if key not in own and v is not None},
            },
        }
        for name, row in zip(names, rows, strict=True)
    }
    document = {"classes": sorted({label["label"] for label in labels.values()}), "labels": labels}
    files = {name: row["path"] for name, row in zip(names, rows, strict=True)}
    write_text(folder / "data.json", json.dumps(files, ensure_ascii=False))
    write_text(folder / "labels.json", json.dumps(document, ensure_ascii=False))


def map_and_neighbours(
    results: Results, rows: NDArray[np.intp], *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Columns that Embedding Atlas reads beside the table: `x` and `y`, and `neighbors`.

    Neighbours are rows of the file and their cosine distances, nearest first.
    """
    import pyarrow

    from clusterpipe.stages.numerics.neighbours import neighbours

    with progress("map", total=len(rows), unit="images") as advance:
        points = lay_out(results, rows, map_method("auto"), seed)
        advance(len(rows))
    features = normalise(take(clustered(results).rows, rows))
    near = neighbours(features, NEIGHBOURS, seed=seed)
    pairs = [
        {"ids": index.tolist(), "distances": (1 - cosine.astype(np.float64)).round(6).tolist()}
        for index, cosine in zip(near.index, near.cosine, strict=True)
    ]
    return {
        "x": pyarrow.array(points[:, 0].astype(np.float64)),
        "y": pyarrow.array(points[:, 1].astype(np.float64)),
        "neighbors": pyarrow.array(pairs),
    }


def _rows(table: Columns) -> Iterator[dict[str, Any]]:
    """The rows of a table."""
    for values in zip(*table.values(), strict=True):
        yield dict(zip(table, values, strict=True))


def refuse_without_files(table: Columns, tool: str) -> None:
    """Raises UsageError where images are no files, which the tool could open."""
    if not all(table["path"]):
        raise UsageError(f"{tool} opens files, and not every image of this run is one")

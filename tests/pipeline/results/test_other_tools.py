"""Exports that end the work: one of each, what could be deleted, and what other tools open."""

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from finished_run import FinishedRun, finished_run
from tables import read

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.results import export as exporting
from clusterpipe.pipeline.results import other_tools
from clusterpipe.pipeline.results.reading import Results, read_results


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """24 images in 3 clusters; 0 and 3 are alike, of which 3 stays; 1, 2 and 4, of which 4 does."""
    return finished_run(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def results(made: FinishedRun) -> Results:
    return read_results(made.run, made.config.source)


def export(made: FinishedRun, results: Results, to: str, output: Path, **more: Any) -> Path:
    return exporting.export(results, made.config.source, to=to, output=output, **more).path


def test_one_image_of_each_group_is_unique(
    made: FinishedRun, results: Results, tmp_path: Path
) -> None:
    table = read(export(made, results, "csv", tmp_path / "unique.csv", unique=True))
    left = np.setdiff1d(np.arange(24), [0, 1, 2])
    assert [row["id"] for row in table] == [str(results.index.id[row]) for row in left]
    done = exporting.export(
        results, made.config.source, to="folders", output=tmp_path / "f", unique=True
    )
    assert done.images == 21


def test_copies_are_listed_beside_what_is_kept_and_nothing_is_deleted(
    made: FinishedRun, results: Results, tmp_path: Path
) -> None:
    with export(made, results, "copies", tmp_path / "copies.csv").open() as file:
        table = list(csv.DictReader(file))
    ids = results.index.id
    assert [(row["id"], row["kept_id"]) for row in table] == [
        (ids[0], ids[3]),
        (ids[1], ids[4]),
        (ids[2], ids[4]),
    ]
    assert all(Path(row["path"]).is_file() and Path(row["kept"]).is_file() for row in table)


def test_label_studio_gets_tasks_with_scored_predictions_of_its_interface(
    made: FinishedRun, results: Results, tmp_path: Path
) -> None:
    folder = export(made, results, "label-studio", tmp_path / "tasks")
    tasks = json.loads((folder / "tasks.json").read_text())
    interface = ElementTree.parse(folder / "interface.xml").getroot()
    choices = {choice.get("value") for choice in interface.iter("Choice")}
    assert len(tasks) == 24
    assert choices == {"000 red bicycle", "001 grey cat", "002 blue boat"}
    for task, probability in zip(tasks, results.clusters.probability, strict=True):
        path = "/" + task["data"]["image"].removeprefix("/data/local-files/?d=")
        assert Path(path).is_file()
        (prediction,) = task["predictions"]
        assert prediction["score"] == pytest.approx(float(probability), abs=1e-6)
        (result,) = prediction["result"]
        control = interface.find(f"Choices[@name='{result['from_name']}']")
        assert control is not None
        assert control.get("toName") == result["to_name"]
        assert set(result["value"]["choices"]) <= choices


def test_fiftyone_gets_files_and_labels_by_one_name_each_of_its_own_type(
    made: FinishedRun, results: Results, tmp_path: Path
) -> None:
    folder = export(made, results, "fiftyone", tmp_path / "dataset")
    files = json.loads((folder / "data.json").read_text())
    document = json.loads((folder / "labels.json").read_text())
    assert files.keys() == document["labels"].keys()
    assert not any("." in name for name in files)  # its importer takes away endings
    assert all(Path(path).is_file() for path in files.values())
    first = next(iter(document["labels"].values()))
    assert first["label"] == "000 red bicycle"
    assert first["label"] in document["classes"]
    assert isinstance(first["confidence"], float)
    assert isinstance(first["attributes"]["cluster"], int)
    assert isinstance(first["attributes"]["is_representative"], bool)


def test_embedding_atlas_gets_points_and_true_neighbours(
    made: FinishedRun, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import parquet

    monkeypatch.setattr(other_tools, "map_method", lambda _: "pca")  # UMAP takes its time
    path = export(made, results, "embedding-atlas", tmp_path / "atlas.parquet")
    table = parquet.read_table(path)
    assert set(exporting.COLUMNS) < set(table.column_names)
    x = np.asarray(table["x"])
    assert x.min() >= 0
    assert x.max() <= 1
    features = np.asarray(results.index.spaces["toy"].features[:], np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    distance = 1 - features @ features.T
    np.fill_diagonal(distance, np.inf)
    for row, near in enumerate(table["neighbors"].to_pylist()):
        expected = np.sort(distance[row])[: len(near["ids"])]
        np.testing.assert_allclose(near["distances"], expected, atol=1e-5)
        np.testing.assert_allclose(distance[row][near["ids"]], expected, atol=1e-5)


def test_what_is_unique_is_not_guessed_before_curation(
    made: FinishedRun, results: Results, tmp_path: Path
) -> None:
    from dataclasses import replace

    before = replace(results, curation=None)
    for to, more in (("csv", {"unique": True}), ("copies", {})):
        with pytest.raises(UsageError, match="clusterpipe curate"):
            export(made, before, to, tmp_path / "x.csv", **more)

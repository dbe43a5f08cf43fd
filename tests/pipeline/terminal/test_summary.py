"""What a run ends with: one screen, whose numbers are those of the artifacts."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finished_run import FinishedRun, finished_run
from records import provenance

from clusterpipe.cache import artifact
from clusterpipe.cache.schema import Assignments, Captions
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.execute import result
from clusterpipe.pipeline.results.outcome import Cluster, Outcome, outcome
from clusterpipe.pipeline.terminal.figures import print_figures
from clusterpipe.pipeline.terminal.summary import print_found, print_outcome

SCREEN = 35  # lines


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return finished_run(tmp_path_factory.mktemp("summary"))


@pytest.fixture(scope="module")
def found(made: FinishedRun) -> Outcome:
    return outcome(made.run, made.config)


def told(
    found: Outcome,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    verbose: bool = False,
) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    print_found(found, Config(), verbose=verbose)
    return capsys.readouterr().out


def test_the_outcome_is_what_the_artifacts_say(
    made: FinishedRun, found: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    print_outcome(result(made.run, ()), made.config, as_json=False, verbose=False)
    out = capsys.readouterr().out
    assert "24 images" in out
    assert "3 clusters, interval 2 to 4; the truth is 3" in out
    assert "1 skipped" in out
    assert "3 images nearly the same as another (2 groups, 1 exact copy)" in out
    assert "1 outlier" in out
    assert re.search(r"0 +8 +red bicycle +red bicycle 100%", out)
    assert "accuracy 1.000 (chance 0.400), NMI 0.900 (chance 0.100)" in out
    assert f"clusterpipe report --open --run-dir {made.run.folder}" in out
    assert "silhouette" not in out
    assert "shortest" not in out


def test_all_else_is_in_metrics_and_verbose(
    found: Outcome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = told(found, capsys, monkeypatch, verbose=True)
    print_figures(found, as_json=False)
    figures = capsys.readouterr().out
    for text in ("shortest", "silhouette", "over seeds", "image search in", "captions (chance)"):
        assert text in full
        assert text in figures
    print_figures(found, as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in values["metrics"]} == {"accuracy", "nmi", "silhouette"}
    assert values["k_reason"] == "shortest"


def test_many_clusters_fit_one_screen(
    found: Outcome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.permutation(np.arange(1, 55))
    clusters = tuple(
        Cluster(number, int(size), "a name that is longer than a column " * 3, "class " * 20, 0.5)
        for number, size in enumerate(sizes)
    )
    many = replace(found, clusters=clusters, filled=54, remarks=())
    out = told(many, capsys, monkeypatch)
    assert len(out.splitlines()) <= SCREEN
    listed = [line.split() for line in out.splitlines() if re.match(r" +\d+ +\d+ ", line)]
    assert [int(row[1]) for row in listed] == list(range(54, 34, -1))
    assert [int(sizes[int(row[0])]) for row in listed] == list(range(54, 34, -1))
    assert re.search(rf"{sum(range(1, 35))} +and 34 more", out)
    full = told(many, capsys, monkeypatch, verbose=True)
    assert "more" not in full
    assert len([line for line in full.splitlines() if re.match(r" +\d+ +\d+ ", line)]) == 54


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "3 clusters, interval 2 to 4; the truth is 3"),
        ({"classes": None}, "3 clusters, interval 2 to 4"),
        ({"classes": 4}, "3 clusters, interval 2 to 4; the truth is 4, inside the interval"),
        ({"classes": 9}, "3 clusters, interval 2 to 4; the truth is 9, missed by the interval"),
        (
            {"filled": 2, "classes": None},
            "2 of 3 clusters filled, interval 2 to 4",
        ),
        ({"k_estimated": None, "k_given": 3}, "3 clusters, as given"),
        ({"k_estimated": None, "k_given": 196}, "3 of 196 clusters filled"),
        ({"k_estimated": None, "filled": 1}, "1 cluster"),
    ],
)
def test_the_number_of_clusters_and_how_it_came_about(
    changes: dict[str, object],
    line: str,
    found: Outcome,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed: Outcome = replace(found, **changes)  # type: ignore[arg-type]
    assert told(changed, capsys, monkeypatch).splitlines()[1] == line


def test_what_is_well_is_not_mentioned(
    found: Outcome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    well = replace(found, skipped=0, curation=None, metrics=(), retrieval=(), captions=())
    out = told(well, capsys, monkeypatch)
    for text in ("look at", "by labels", "clusterpipe metrics"):
        assert text not in out
    assert "5 images in no cluster" in told(replace(well, unassigned=5), capsys, monkeypatch)


def test_empty_clusters_and_images_without_one_are_counted(tmp_path: Path) -> None:
    made = finished_run(tmp_path)
    path = made.run.artifact(Assignments)
    before = artifact.read(path, Assignments)
    label = np.where(before.methods["kmeans"].label == 2, -1, before.methods["kmeans"].label)
    changed = replace(before, methods={"kmeans": replace(before.methods["kmeans"], label=label)})
    header = artifact.header(path)
    artifact.write(
        path, changed, provenance(schema=Assignments.schema, inputs=dict(header.identity.inputs))
    )
    found = outcome(made.run, made.config)
    assert (found.k, found.filled, found.unassigned) == (3, 2, 8)


def test_captions_of_other_clusters_are_called_out_of_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = finished_run(tmp_path)
    path = made.run.artifact(Captions)
    stamp = provenance(schema=Captions.schema, inputs={"assignments.h5 /chosen": "another"})
    artifact.write(path, artifact.read(path, Captions), stamp)
    found = outcome(made.run, made.config)
    assert found.outdated == ("captions.h5",)
    assert "captions.h5 is out of date and left out" in told(found, capsys, monkeypatch)


def test_a_wide_interval_is_told_with_what_it_means_for_probabilities(
    found: Outcome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = told(replace(found, k_interval=(2, 40)), capsys, monkeypatch)
    assert "2 to 40 clusters are plausible, probabilities are of this number only" in " ".join(
        wide.split()
    )
    assert "plausible" not in told(found, capsys, monkeypatch)

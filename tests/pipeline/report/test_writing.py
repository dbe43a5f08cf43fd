"""Writing a report: what is kept, what is replaced, what is refused."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import NAMES, finished_run

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.report import Report, ReportSettings, write_report
from clusterpipe.pipeline.results.reading import read_results

pytestmark = pytest.mark.slow

N = len(NAMES)


def write(home: Path, **settings: Any) -> Report:
    done = finished_run(home) if not (home / "run").exists() else None
    if done is None:
        from clusterpipe.cache.run_directory import RunDirectory
        from clusterpipe.pipeline.engine.config import Config, load

        run = RunDirectory(home / "run")
        config = load(Config(), run.config)
    else:
        run, config = done.run, done.config
    output = settings.pop("output", None)
    results = read_results(run, config.source)
    return write_report(
        results, config, output=output, settings=ReportSettings(**{"map": "pca", **settings})
    )


def data(report: Report) -> Any:
    return json.loads((report.page.parent / "data.js").read_text().partition("=")[2].strip(" ;\n"))


def test_it_is_one_folder_without_an_external_url(tmp_path: Path) -> None:
    folder = write(tmp_path).page.parent
    for path in folder.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            assert re.findall(r"(?:https?:)?//[\w.]+\.\w+", path.read_text()) == []
    thumbnails = list((folder / "thumbnails").rglob("*.webp"))
    assert len(thumbnails) == N
    assert folder == tmp_path / "run/report"


def test_a_second_report_draws_nothing_again(tmp_path: Path) -> None:
    folder = write(tmp_path).page.parent
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.webp")}
    kept[folder / "map.npz"] = (folder / "map.npz").stat().st_mtime_ns
    write(tmp_path, doubtful_below=0.9)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    before = data(write(tmp_path, map="tsne"))["images"]["x"]
    assert (folder / "map.npz").stat().st_mtime_ns != kept[folder / "map.npz"]
    assert data(write(tmp_path, map="pca"))["images"]["x"] != before


def test_few_of_many_are_exemplars_then_what_stands_out(tmp_path: Path) -> None:
    report = write(tmp_path, images=8)
    assert (report.images, report.thumbnails) == (8, 8)
    images = data(report)["images"]
    assert sorted(map(bool, images["rank"])) == [False] * 2 + [True] * 6
    assert [kind for kind in images["kind"] if kind]
    assert f"8 of the {N} images are shown" in report.page.read_text()
    assert len(list(report.page.parent.rglob("*.webp"))) == 8


def test_thresholds_decide_who_stands_apart(tmp_path: Path) -> None:
    images = data(write(tmp_path))["images"]
    assert images["kind"].count("outlier") == 1
    assert images["kind"].count("doubtful") == sum(p < 0.5 for p in images["probability"])
    images = data(write(tmp_path, doubtful_below=1.0))["images"]
    assert set(images["kind"]) == {"doubtful", "outlier"}


def test_outliers_are_those_that_curate_found(tmp_path: Path) -> None:
    images = data(write(tmp_path))["images"]
    outliers = [kind == "outlier" for kind in images["kind"]]
    assert outliers == images["alone"]
    assert sum(outliers) == 1


def test_images_that_are_gone_keep_their_thumbnails(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert write(tmp_path).thumbnails == N
    assert write(tmp_path, output=tmp_path / "new").thumbnails == 0


def test_links_to_originals_survive_moving_run_and_images(tmp_path: Path) -> None:
    from urllib.parse import unquote

    report = write(tmp_path)
    for link, name in zip(data(report)["images"]["original"], NAMES, strict=True):
        assert (report.page.parent / unquote(link)).resolve() == tmp_path / "photos" / name
        assert not link.startswith("/")


def test_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/index.html").write_text("my own page")
    with pytest.raises(UsageError, match="no report"):
        write(tmp_path, output=tmp_path / "mine")
    assert (tmp_path / "mine/index.html").read_text() == "my own page"


def test_nothing_is_written_among_the_images(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="part of the source"):
        write(tmp_path, output=tmp_path / "photos/report")
    assert not (tmp_path / "photos/report").exists()


def test_an_unknown_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="umap, tsne, pca"):
        write(tmp_path, map="mds")


def test_a_run_without_labels_captions_or_estimate(tmp_path: Path) -> None:
    """What is missing is left out, and nothing else."""
    done = finished_run(tmp_path)
    for name in ("captions", "metrics", "k_estimate"):
        (done.run.folder / f"{name}.h5").unlink()
    results = read_results(done.run, done.config.source)
    bare = replace(results, index=replace(results.index, label=None, class_name=None))
    page = write_report(bare, done.config).page.read_text()
    assert 'id="map"' in page
    for absent in ('id="confusion"', 'id="k"', "accuracy"):
        assert absent not in page


def test_given_features_have_a_map_and_no_thumbnails(tmp_path: Path) -> None:
    done = finished_run(tmp_path)
    np.savez(tmp_path / "features.npz", features=np.ones((N, 4), np.float32))
    config = done.config.set("source.path", str(tmp_path / "features.npz"), "test")
    results = read_results(done.run, config.source)
    index = replace(results.index, path=np.array([""] * N, object))
    report = write_report(replace(results, index=index), config, settings=ReportSettings(map="pca"))
    assert (report.images, report.thumbnails) == (N, 0)
    assert set(data(report)["images"]["original"]) == {""}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: b"",
        lambda data: data[:60] + bytes(40) + data[100:],
        lambda data: data[:-30] + bytes(30),
        lambda data: b"x" * len(data),
    ],
)
def test_what_is_damaged_of_an_earlier_report_is_drawn_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    folder = write(tmp_path, map="pca").page.parent
    kept = folder / "map.npz"
    before = data(write(tmp_path, map="pca"))["images"]
    kept.write_bytes(damage(kept.read_bytes()))
    assert data(write(tmp_path, map="pca"))["images"] == before


@pytest.mark.parametrize("length", [0, 5, 100])
def test_a_thumbnail_that_was_cut_short_is_drawn_anew(tmp_path: Path, length: int) -> None:
    folder = write(tmp_path, map="pca").page.parent
    thumbnail = sorted(folder.rglob("*.webp"))[0]
    whole = thumbnail.read_bytes()
    thumbnail.write_bytes(whole[:length])
    assert write(tmp_path, map="pca").thumbnails == N
    assert thumbnail.read_bytes() == whole


def test_it_says_that_originals_are_gone(tmp_path: Path) -> None:
    first = write(tmp_path, map="pca")
    assert (first.gone, "no longer where" in first.page.read_text()) == (0, False)
    originals = [path for path in tmp_path.rglob("*") if path.name == Path(NAMES[0]).name]
    originals[0].unlink()
    second = write(tmp_path, map="pca")
    assert second.gone == 1
    assert "1 originals are no longer where the run found them" in second.page.read_text()

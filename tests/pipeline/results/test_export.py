"""`export`: the same columns in every format, and folders that never touch an original."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from program import paint
from records import provenance, sample
from tables import read

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import StorageError, UsageError
from clusterpipe.cache.provenance import file_digest
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignment, Curation, Embeddings
from clusterpipe.cache.sources import SourceConfig, file_path, open_source
from clusterpipe.cache.sources.cells import harmless
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.pipeline.results.cluster_folders import RECORD
from clusterpipe.pipeline.results.export import COLUMNS, columns, export
from clusterpipe.pipeline.results.reading import Results
from clusterpipe.pipeline.terminal.exported import print_export

N, K = 12, 3
CAPTIONS = ["Red bicycle", '../../etc, "passwd"\n=1+1', ""]


@pytest.fixture
def source(tmp_path: Path) -> SourceConfig:
    return SourceConfig(path=str(paint(tmp_path / "photos", per_kind=4)))


@pytest.fixture
def results(source: SourceConfig, tmp_path: Path) -> Results:
    """Three folders of four pictures each, dealt to three clusters in turn; one unassigned."""
    folder = Path(source.path)
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    label = np.arange(N) % K
    label[-1] = -1
    index: Embeddings = sample(Embeddings, n=N, c=2)
    index = replace(
        index,
        id=np.array(paths, object),
        path=np.array(paths, object),
        digest=np.array([file_digest(folder / path) for path in paths], object),
        label=np.arange(N) % 3 - 1,
        class_name=np.array(["cat", "dog"], object),
        split=None,
    )
    clusters: Assignment = replace(
        sample(Assignment, n=N, k=K, m=2, q=2),
        label=label,
        exemplar=np.array([[6, 0], [1, -1], [2, 5]]),
        outlier_score=np.array([np.inf] + [1.5] * (N - 1)),
    )
    curation: Curation = replace(
        sample(Curation, n=N, g=1),
        group=np.array([0, 0, -1, 0] + [-1] * (N - 4)),
        representative=np.array([3]),
        outlier=(np.arange(N) == 5).astype(np.int8),
    )
    run = RunDirectory(tmp_path / "run")
    return Results(run, folder, index, "kmeans", clusters, CAPTIONS, curation)


def test_every_format_holds_the_same(results: Results, source: SourceConfig) -> None:
    tables = [read(export(results, source, to=to).path) for to in ("csv", "json", "parquet")]
    for table in tables:
        assert [list(row) for row in table] == [list(COLUMNS)] * N
        for row in table:  # CSV cannot tell an empty text from none
            row.update({name: None for name, value in row.items() if value == ""})
    assert tables[0] == tables[1] == tables[2]


def test_what_the_columns_hold(results: Results) -> None:
    table = columns(results)
    assert table["path"] == [f"{results.folder}/{name}" for name in results.index.id]
    assert all(Path(path).is_file() for path in table["path"])
    assert table["cluster"] == results.clusters.label.tolist()
    assert table["caption"][:4] == [*CAPTIONS, CAPTIONS[0]]
    assert table["caption"][-1] == ""
    assert table["exemplar"] == [2, 1, 1, None, None, 2, 1] + [None] * 5
    assert table["label"][:4] == [None, "cat", "dog", None]
    assert table["split"] == [None] * N
    assert table["outlier_score"][:2] == [None, 1.5]
    assert table["duplicate_group"] == [0, 0, None, 0] + [None] * (N - 4)
    assert table["is_representative"] == [False, False] + [True] * (N - 2)
    assert table["is_outlier"] == [False] * 5 + [True] + [False] * (N - 6)
    np.testing.assert_allclose(table["probability"], results.clusters.probability, atol=5e-7)


def test_before_curation_its_columns_are_empty(results: Results) -> None:
    table = columns(replace(results, curation=None))
    assert list(table) == list(COLUMNS)
    assert table["duplicate_group"] == table["is_representative"] == [None] * N


def test_a_table_is_a_source(results: Results, source: SourceConfig) -> None:
    from clusterpipe.cache.sources import open_source

    done = export(results, source, to="csv")
    again = open_source(SourceConfig(path=str(done.path))).manifest
    assert list(again.id) == list(results.index.id)
    assert list(again.class_name) == ["cat", "dog"]


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("copy", [False, True])
def test_folders_hold_the_images_and_leave_the_originals(
    copy: bool, results: Results, source: SourceConfig
) -> None:
    before = state(results.folder)
    done = export(results, source, to="folders", copy=copy)
    assert (done.images, done.missing) == (N, 0)
    folders = sorted(path.name for path in done.path.iterdir() if path.is_dir())
    assert folders == ["000_red-bicycle", "001_etc-passwd-1-1", "002_cluster", "unassigned"]
    made = sorted(path for path in done.path.rglob("*.png"))
    assert len(made) == N
    assert sorted(map(file_digest, made)) == sorted(results.index.digest)
    for path in made:
        assert path.is_symlink() is not copy
        assert copy or not os.path.isabs(os.readlink(path))  # noqa: PTH115, PTH117
    assert state(results.folder) == before


def test_links_survive_moving_run_and_photos_together(
    results: Results, source: SourceConfig, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = export(results, source, to="folders")
    for name in ("photos", "run"):
        shutil.move(tmp_path / name, home / name)
    moved = home / done.path.relative_to(tmp_path)
    assert all(path.is_file() for path in moved.rglob("*.png"))


def test_equal_names_are_numbered(results: Results, source: SourceConfig) -> None:
    """kind0, kind1 and kind2 hold pictures of the same names, which meet in one cluster."""
    together = replace(results, clusters=replace(results.clusters, label=np.zeros(N, int)))
    done = export(together, source, to="folders")
    names = {path.name for path in (done.path / "000_red-bicycle").iterdir()}
    assert names == {f"00{i}{suffix}.png" for i in range(4) for suffix in ("", "_2", "_3")}


def dated(results: Results) -> Results:
    """The images taken in two months, one of them unknown."""
    taken = [f"2021-0{6 + row % 2}-03T12:30:01" if row else "" for row in range(N)]
    index = replace(results.index, taken=np.array(taken, object), latitude=np.full(N, np.nan))
    return replace(results, index=index)


def test_folders_lie_in_their_months(results: Results, source: SourceConfig) -> None:
    done = export(dated(results), source, to="folders", by_month=True)
    assert {name.split("/")[0] for name in done.folders} == {"2021-06", "2021-07", "undated"}
    assert (done.path.name, done.images) == ("months", N)
    assert sum(path.is_symlink() for path in done.path.glob("*/*/*")) == N
    again = export(dated(results), source, to="folders", by_month=True)
    assert (again.replaced, again.images) == (N, N)


def test_months_need_a_time_and_folders(results: Results, source: SourceConfig) -> None:
    nothing = replace(results, index=replace(results.index, taken=None))
    with pytest.raises(UsageError, match="no image says when"):
        export(nothing, source, to="folders", by_month=True)
    with pytest.raises(UsageError, match="--to folders"):
        export(results, source, to="csv", by_month=True)


@pytest.mark.parametrize("to", ["csv", "json", "parquet"])
def test_exif_is_exported_if_asked_for(results: Results, source: SourceConfig, to: str) -> None:
    index = replace(dated(results).index, camera=np.full(N, "=1+1", object), longitude=None)
    with_exif = replace(results, index=index)
    assert "taken" not in read(export(with_exif, source, to=to).path)[0]
    table = read(export(with_exif, source, to=to, exif=True).path)
    assert table[1]["taken"] == "2021-07-03T12:30:01"
    assert not table[1]["latitude"]
    assert "longitude" not in table[1]
    assert table[1]["camera"] == ("'=1+1" if to == "csv" else "=1+1")


def test_a_run_without_exif_says_how_to_have_it(results: Results, source: SourceConfig) -> None:
    none = dict.fromkeys(("taken", "camera", "latitude", "longitude"))
    bare = replace(results, index=replace(results.index, **none))
    with pytest.raises(UsageError, match=r"embed\.exif=time"):
        export(bare, source, to="csv", exif=True)


def test_where_symlinks_fail_hard_links_are_made_and_then_copies(
    results: Results, source: SourceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    done = export(results, source, to="folders")
    made = list(done.path.rglob("*.png"))
    assert {path.stat().st_nlink for path in made} == {2}
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    done = export(results, source, to="folders")
    made = list(done.path.rglob("*.png"))
    assert {path.stat().st_nlink for path in made} == {1}
    assert sorted(map(file_digest, made)) == sorted(results.index.digest)


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("to", ["csv", "json", "parquet", "folders"])
def test_a_dry_run_says_what_the_export_then_does(
    to: str, results: Results, source: SourceConfig, tmp_path: Path
) -> None:
    before = everything(tmp_path)
    foreseen = export(results, source, to=to, dry_run=True)
    assert everything(tmp_path) == before
    done = export(results, source, to=to)
    assert replace(foreseen, dry_run=False) == done
    after = everything(tmp_path)
    again = export(results, source, to=to, dry_run=True)
    assert again.replaced == (N if to == "folders" else 1)
    assert everything(tmp_path) == after


def test_a_dry_run_is_told_by_folder(
    results: Results, source: SourceConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    foreseen = export(results, source, to="folders", dry_run=True)
    assert foreseen.folders == {
        "000_red-bicycle": 4,
        "001_etc-passwd-1-1": 4,
        "002_cluster": 3,
        "unassigned": 1,
    }
    print_export(foreseen, as_json=False)
    told = capsys.readouterr().out
    assert told.startswith(f"would write 12 images in folders: {foreseen.path}\n")
    assert "       3  002_cluster\n" in told


def test_a_dry_run_refuses_what_the_export_would(results: Results, source: SourceConfig) -> None:
    first = export(results, source, to="folders")
    mine = first.path / "000_blue-car"
    mine.write_text("mine")
    turned = replace(results, captions=["blue car", "boat", "plane"])
    before = everything(first.path)
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="000_blue-car is in the way"):
            export(turned, source, to="folders", dry_run=dry_run)
        assert everything(first.path) == before


def test_what_lies_behind_a_link_is_not_ours(results: Results, source: SourceConfig) -> None:
    """A cluster's folder that was turned into a link to the originals: nothing there is touched."""
    done = export(results, source, to="folders", copy=True)
    together = done.path / "000_red-bicycle"
    copies = {path.name: path.read_bytes() for path in together.iterdir()}
    shutil.rmtree(together)
    elsewhere = done.path.parent / "elsewhere"
    elsewhere.mkdir()
    for name, content in copies.items():
        (elsewhere / name).write_bytes(content)
    together.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="in the way"):
        export(results, source, to="folders", copy=True)
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == copies


def test_a_full_disk_leaves_no_half_of_a_copy(
    results: Results, source: SourceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shutil.copy2
    copied: list[Path] = []

    def full(original: Path, target: Path) -> None:
        copied.append(target)
        if len(copied) == 3:
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        whole(original, target)

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(StorageError, match="no space left"):
        export(results, source, to="folders", copy=True)
    folder = results.run.folder / "export/clusters"
    assert {file_digest(path) for path in folder.rglob("*.png")} < set(results.index.digest)
    assert len(list(folder.rglob("*.png"))) == 2
    done = export(results, source, to="folders", copy=True)  # goes on from there
    assert (done.images, done.replaced) == (N, 2)
    assert len(list(folder.rglob("*.png"))) == N


@pytest.mark.parametrize("record", ["", "[1]", "no JSON", "{"])
def test_a_folder_with_a_damaged_record_is_refused(
    record: str, results: Results, source: SourceConfig, tmp_path: Path
) -> None:
    (tmp_path / RECORD).write_text(record)
    with pytest.raises(UsageError, match="no export"):
        export(results, source, to="folders", output=tmp_path)


def test_a_file_is_no_folder(results: Results, source: SourceConfig, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="no export"):
        export(results, source, to="folders", output=tmp_path / "mine")
    with pytest.raises(StorageError, match="cannot be written"):
        export(results, source, to="csv", output=tmp_path / "mine" / "clusters.csv")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_second_export_replaces_the_first_and_nothing_else(
    results: Results, source: SourceConfig
) -> None:
    first = export(results, source, to="folders", copy=True)
    note = first.path / "000_red-bicycle" / "note.txt"
    note.write_text("mine")
    edited = first.path / "001_etc-passwd-1-1" / "001.png"
    edited.write_bytes(b"edited by hand")
    turned = replace(results, captions=["blue car", "boat", "plane"])
    second = export(turned, source, to="folders")
    assert second.images == N
    assert note.read_text() == "mine"
    assert edited.read_bytes() == b"edited by hand"
    left = {path.name for path in second.path.iterdir() if path.is_dir()}
    assert left == {
        "000_red-bicycle",
        "001_etc-passwd-1-1",
        "000_blue-car",
        "001_boat",
        "002_plane",
        "unassigned",
    }
    assert len(list(second.path.rglob("*.png"))) == N + 1


def test_what_is_in_the_way_is_not_written_over(results: Results, source: SourceConfig) -> None:
    first = export(results, source, to="folders")
    mine = first.path / "000_red-bicycle" / "000.png"
    mine.unlink()
    export(replace(results, captions=["a", "b", "c"]), source, to="folders")
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    for _ in range(2):
        with pytest.raises(UsageError, match="in the way"):
            export(results, source, to="folders")
        assert mine.read_bytes() == b"mine"


def test_files_that_are_gone_are_counted(results: Results, source: SourceConfig) -> None:
    (results.folder / "kind0" / "000.png").unlink()
    done = export(results, source, to="folders")
    assert (done.images, done.missing) == (N - 1, 1)


def test_a_folder_of_something_else_is_refused(
    results: Results, source: SourceConfig, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="no export"):
        export(results, source, to="folders", output=other)
    assert (other / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("record", ['{"../../photos/kind0": ""}', '{"../x": ""}', '{"/a/b": ""}'])
def test_a_forged_record_removes_nothing_outside(
    record: str, results: Results, source: SourceConfig, tmp_path: Path
) -> None:
    (tmp_path / "run/export/x").mkdir(parents=True)
    folder = tmp_path / "run/export/clusters"
    folder.mkdir()
    (folder / RECORD).write_text(record)
    before = state(results.folder)
    export(results, source, to="folders")
    assert state(results.folder) == before
    assert (tmp_path / "run/export/x").exists()


@pytest.mark.parametrize("to", ["csv", "folders"])
def test_nothing_is_written_into_the_source(
    to: str, results: Results, source: SourceConfig
) -> None:
    before = state(results.folder)
    with pytest.raises(UsageError, match="part of the source"):
        export(results, source, to=to, output=results.folder / "clusters")
    assert state(results.folder) == before


def test_images_of_an_array_are_drawn(results: Results, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (N, 5, 4, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    source = SourceConfig(path=str(tmp_path / "images.npz"))
    ids = np.array([str(row) for row in range(N)], object)
    index = replace(results.index, id=ids, path=np.array([""] * N, object))
    drawn = replace(results, index=index)
    for _ in range(2):  # the second replaces the first
        done = export(drawn, source, to="folders")
        assert (done.images, done.missing) == (N, 0)
        assert len(list(done.path.rglob("*.png"))) == N
    from PIL import Image

    found = next(path for path in done.path.rglob("*.png") if path.stem == "4")
    np.testing.assert_array_equal(np.asarray(Image.open(found)), pixels[4])


def test_features_have_no_images_to_put_in_folders(results: Results, tmp_path: Path) -> None:
    np.savez(tmp_path / "features.npz", features=np.ones((N, 4), np.float32))
    with pytest.raises(UsageError, match="holds features"):
        export(results, SourceConfig(path=str(tmp_path / "features.npz")), to="folders")


def test_an_unknown_format_names_the_nearest(results: Results, source: SourceConfig) -> None:
    with pytest.raises(UsageError, match="did you mean parquet"):
        export(results, source, to="parquett")


def test_names_that_are_not_utf8_are_written(results: Results, source: SourceConfig) -> None:
    index = replace(results.index, path=np.array(["./caf%E9.png"] * N, object))
    for to in ("csv", "json", "parquet"):
        done = export(replace(results, index=index), source, to=to)
        stored = read(done.path)[0]["path"]
        assert file_path(stored).endswith("/caf\udce9.png")


def test_any_file_name_is_one_row(results: Results, source: SourceConfig) -> None:
    """Names that a person can give a file, and that a spreadsheet, shell or page may stumble on."""
    odd = [
        "new\nline",
        "car\rreturn",
        'a "quote", comma',
        "<b>&amp;",
        "=1+1",
        " led",
        "{{7}}",
        "日本🙂",
    ]
    index = replace(results.index, id=np.array((odd * 2)[:N], object))
    for to in ("csv", "json", "parquet"):
        done = export(replace(results, index=index), source, to=to, raw=True)
        assert [row["id"] for row in read(done.path)] == (odd * 2)[:N]
    done = export(replace(results, index=index), source, to="csv")
    assert [row["id"] for row in read(done.path)] == [harmless(name) for name in (odd * 2)[:N]]


def test_a_table_of_ours_is_read_back_to_the_same_ids(results: Results, tmp_path: Path) -> None:
    """Whatever file names hold; the table lies elsewhere than the images."""
    folder = tmp_path / "odd"
    folder.mkdir()
    odd = [" led", "trailed ", "=1+1", "'=1+1", "@x", "-2", 'a "quote", comma', "a, b", "new\nline"]
    odd += ["car\rreturn", "tab\tbed", "./dot", "caf\udce9", "100%", "%41", "हिन्दी", "x" * 251]
    names = [f"{name}.png" for name in odd]
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    config = SourceConfig(path=str(folder))
    listed = open_source(config).manifest
    assert len(listed) == len(odd)
    n = len(listed)
    take = np.arange(n) % N
    clusters = replace(
        results.clusters,
        **{
            f: getattr(results.clusters, f)[take]
            for f in ("label", "probability", "top_label", "top_probability", "outlier_score")
        },
    )
    index = results.index
    columns = ("digest", "width", "height")
    index = replace(index, **{f: getattr(index, f)[take] for f in columns})
    index = replace(index, id=listed.id, path=listed.path, label=None, split=None, class_name=None)
    clusters = replace(clusters, exemplar=clusters.exemplar % n)
    mine = replace(results, folder=folder, index=index, clusters=clusters, curation=None)
    done = export(mine, config, to="csv", output=tmp_path / "table.csv")
    again = open_source(SourceConfig(path=str(done.path)))
    assert list(again.manifest.id) == list(listed.id)
    assert isinstance(again, FileImages)
    assert [again.read(row) for row in range(n)] == [b"x"] * n


def test_an_export_of_a_run_is_that_of_its_artifacts(tmp_path: Path) -> None:
    """Clusters of other embeddings are refused, by name of the command that helps."""
    from clusterpipe.cache.errors import MissingArtifact
    from clusterpipe.cache.schema import Assignments
    from clusterpipe.pipeline.results.reading import read_results

    run = RunDirectory(tmp_path)
    artifact.write(
        run.artifact(Embeddings), sample(Embeddings, n=N), provenance(schema=Embeddings.schema)
    )
    stale = replace(sample(Assignments, n=N), chosen="clip")
    inputs = {"embeddings.h5 /id": "another"}
    artifact.write(
        run.artifact(Assignments),
        stale,
        provenance(stage="assign", schema=Assignments.schema, inputs=inputs),
    )
    with pytest.raises(MissingArtifact, match="run-all --run-dir"):
        read_results(run, SourceConfig())

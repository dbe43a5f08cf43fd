"""What people bring: bad files among good ones, tables, arrays, features."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from program import Command, content_ids, draw, paint

from clusterpipe.cache.schema import Metrics
from clusterpipe.pipeline import Config, run_all
from clusterpipe.pipeline.engine.config import override


def test_bad_images_become_rows_and_the_run_goes_on(tmp_path: Path, clusterpipe: Command) -> None:
    folder = paint(tmp_path / "mixed", per_kind=12)
    good = (folder / "kind0/000.png").read_bytes()
    (folder / "truncated.png").write_bytes(good[: len(good) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is no image")
    (folder / "notes.txt").write_text("left alone")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "loop").symlink_to(folder)
    draw(0, 50).convert("L").save(folder / "gray.png")
    draw(0, 51).convert("CMYK").save(folder / "cmyk.jpg")
    draw(1, 52).convert("P").save(folder / "palette.gif")
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)).save(folder / "deep.png")
    done = clusterpipe("run-all", folder, "--max-bad", "0.2")
    assert done.code == 0, done.err
    with h5py.File(tmp_path / "runs/mixed/embeddings.h5") as file:
        skipped = dict(
            zip(file["skipped/path"].asstr(), file["skipped/reason"].asstr(), strict=True)
        )
        assert len(file["id"]) == 40
    assert set(skipped) == {"truncated.png", "empty.jpg", "text.jpg", "gone.png", "notes.txt"}
    assert all(skipped.values())
    assert "40 images" in done.out
    assert "4 skipped" in done.out
    assert "not read: 1 .txt" in done.out
    again = clusterpipe("run-all", folder)
    assert again.action("embed") == "fresh"


def test_too_many_bad_images_are_an_error(tmp_path: Path, clusterpipe: Command) -> None:
    folder = paint(tmp_path / "half", per_kind=2)
    for number in range(4):
        (folder / f"{number}.jpg").write_text("this is no image")
    done = clusterpipe("run-all", folder)
    assert done.code == 3
    assert "4 of 10 images are unreadable" in done.err
    assert clusterpipe("embed", folder, "--max-bad", "0.5").code == 0


def test_a_folder_without_images_is_an_error(tmp_path: Path, clusterpipe: Command) -> None:
    (tmp_path / "nothing").mkdir()
    done = clusterpipe("run-all", "nothing")
    assert done.code == 3
    assert "no image" in done.err


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Two spaces of 150 rows in three groups, with labels and a split."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 50)
    a = (np.eye(3, 24) * 4)[label] + 0.4 * rng.normal(size=(150, 24))
    b = (np.eye(3, 10) * 3)[label] + 0.4 * rng.normal(size=(150, 10))
    path = tmp_path / "features.npz"
    split = np.where(np.arange(150) % 5, "train", "test")
    np.savez(path, features_a=a, features_b=b, labels=label, split=split)
    return path


def test_features_skip_the_backbone(features: Path, tmp_path: Path, clusterpipe: Command) -> None:
    done = clusterpipe("run-all", features, "--set", "assign.k=3", "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert found["k"] == 3
    accuracy = [row for row in found["metrics"] if row["metric"] == "accuracy"]
    assert accuracy[0]["chosen"] == 1.0
    assert accuracy[0]["chance"] < 0.6
    skipped = {e["stage"] for e in found["stages"] if e["action"] == "skipped"}
    assert skipped == {"estimate-k", "caption", "correct"}
    with h5py.File(tmp_path / "runs/features/embeddings.h5") as file:
        assert file["a/features"].shape == (150, 24)
        assert file["b/features"].shape == (150, 10)
        assert file["a/features"].dtype == np.float64


def test_spaces_side_by_side(features: Path, tmp_path: Path, clusterpipe: Command) -> None:
    done = clusterpipe("embed", features, "--run-dir", "runs/x")
    assert done.code == 0, done.err
    assert clusterpipe("estimate-k", "--run-dir", "runs/x").code == 0
    both = clusterpipe("refine", "--run-dir", "runs/x", "--set", "refine.space=concatenate")
    assert both.code == 0, both.err
    with h5py.File(tmp_path / "runs/x/refined.h5") as file:
        inputs = json.loads(file.attrs["inputs"])
        assert len(file["features"]) == 150
    assert set(inputs) == {"embeddings.h5 /a/features", "embeddings.h5 /b/features"}


def test_permuting_the_labels_changes_metrics_and_nothing_else(
    features: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(features))
    arrays["labels"] = np.random.default_rng(1).permutation(arrays["labels"])
    np.savez(tmp_path / "permuted.npz", **arrays)
    runs = {}
    for name in ("features", "permuted"):
        config = override(Config(), [f"source.path='{tmp_path / name}.npz'"])
        runs[name] = content_ids(run_all(config, run_dir=tmp_path / name).folder)
    assert runs["features"].pop("metrics") != runs["permuted"].pop("metrics")
    features_index, permuted_index = (run["embeddings"] for run in runs.values())
    assert features_index.pop("label") != permuted_index.pop("label")
    for own_of_the_file in ("size", "mtime"):
        del features_index[own_of_the_file], permuted_index[own_of_the_file]
    assert runs["features"] == runs["permuted"]
    assert Metrics.name not in runs["features"]


def test_arrays_of_images(tmp_path: Path, clusterpipe: Command) -> None:
    pictures = np.stack([np.asarray(draw(i % 3, i)) for i in range(24)])
    np.savez(tmp_path / "pictures.npz", images=pictures, labels=np.arange(24) % 3)
    done = clusterpipe("run-all", "pictures.npz", "--set", "assign.k=3", "--json")
    assert done.code == 0, done.err
    assert done.json()["classes"] == 3
    assert len(list((tmp_path / "runs/pictures/pictures").glob("*.png"))) == 3


def test_a_table_of_paths(tmp_path: Path, clusterpipe: Command) -> None:
    folder = paint(tmp_path / "images", per_kind=8)
    rows = [
        f"images/{path.relative_to(folder)},{path.parent.name},{'train' if i % 4 else 'test'}"
        for i, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    table = "\n".join(["path,label,split", *rows, "images/absent.png,kind0,train"])
    (tmp_path / "list.csv").write_text(table)
    done = clusterpipe("run-all", "list.csv", "--set", "assign.fit_split=train", "--json")
    assert done.code == 0, done.err
    assert (done.json()["images"], done.json()["skipped"]) == (24, 1)
    with h5py.File(tmp_path / "runs/list/metrics.h5") as file:
        assert list(file["split"].asstr()) == ["all", "test", "train"]

"""`clusterpipe run-all`: from a folder to named, evaluated clusters, and only what is needed."""

import os
import shutil
from itertools import product
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from program import ARTIFACTS, Command, content_ids, draw, paint

STAGES = ("embed", "estimate-k", "refine", "assign", "caption", "evaluate", "curate")


def test_a_run_leaves_every_artifact_and_a_picture_per_cluster(finished: Path) -> None:
    folder = finished / "runs/photos"
    assert {path.stem for path in folder.glob("*.h5")} == set(ARTIFACTS)
    with h5py.File(folder / "assignments.h5") as file:
        chosen = file["chosen"].asstr()[()]
        clusters = len(file[chosen]["centroid"])
        assert len(file[chosen]["label"]) == 60
    sheets = sorted((folder / "pictures").glob("*.png"))
    assert len(sheets) == clusters
    with Image.open(sheets[0]) as sheet:
        assert sheet.width > 500
    assert not list((finished / "photos").rglob("*.h5"))


def test_the_second_run_runs_nothing_and_says_so(home: Path, clusterpipe: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.h5")}
    done = clusterpipe("run-all", "photos", cwd=home)
    assert done.code == 0
    assert [done.action(stage) for stage in STAGES] == ["fresh"] * 7
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.h5")} == before


def test_a_caption_setting_reruns_caption_and_evaluate_at_most(
    home: Path, clusterpipe: Command
) -> None:
    done = clusterpipe("run-all", "photos", "--set", "caption.phrases=3", cwd=home)
    assert "caption.phrases 5 -> 3" in done.err
    actions = {stage: done.action(stage) for stage in STAGES}
    assert actions.pop("caption") == "ran"
    assert actions.pop("evaluate") in ("ran", "fresh")
    assert set(actions.values()) == {"fresh"}
    with h5py.File(home / "runs/photos/captions.h5") as file:
        assert file[file["chosen"].asstr()[()]]["text"].shape[1] == 3


def test_labels_rerun_evaluate_only(home: Path, clusterpipe: Command) -> None:
    foreseen = clusterpipe("run-all", "photos", "--labels-from-folders", "-n", "--json", cwd=home)
    states = {row["stage"]: row["state"] for row in foreseen.json()["stages"]}
    done = clusterpipe("run-all", "photos", "--labels-from-folders", cwd=home)
    actions = {stage: done.action(stage) for stage in STAGES}
    assert actions.pop("embed") == "refreshed"
    assert actions.pop("evaluate") == "ran"
    assert set(actions.values()) == {"fresh"}
    assert states.pop("evaluate") == "stale"
    assert states.pop("correct") == "skipped"
    assert set(states.values()) == {"fresh"}
    assert "accuracy" in done.out
    assert "chance" in done.out
    measured = clusterpipe("run-all", "photos", "--json", cwd=home).json()["retrieval"]
    spaces, metrics = ("embeddings", "refined"), ("precision@20", "mAP@100")
    assert [(m["space"], m["metric"]) for m in measured] == list(product(spaces, metrics))
    assert all(m["chance"] < m["value"] <= 1 for m in measured)


def test_touching_every_image_reruns_nothing(home: Path, clusterpipe: Command) -> None:
    before = content_ids(home / "runs/photos")
    for path in (home / "photos").rglob("*.png"):
        os.utime(path, (1, 1))
    done = clusterpipe("run-all", "photos", cwd=home)
    assert done.action("embed") == "refreshed"
    assert {done.action(stage) for stage in STAGES[1:]} == {"fresh"}
    after = content_ids(home / "runs/photos")
    for column in ("mtime", "stamp"):
        del before["embeddings"][column], after["embeddings"][column]
    assert after == before
    again = clusterpipe("run-all", "photos", cwd=home)
    assert again.action("embed") == "fresh"


def test_new_and_changed_images_embed_only_themselves(home: Path, clusterpipe: Command) -> None:
    shards = home / "runs/photos/embeddings"
    before = {path.name: path.stat().st_mtime_ns for path in shards.rglob("*.h5")}
    with h5py.File(home / "runs/photos/embeddings.h5") as file:
        old_rows, old_ids = file["packaged/features"][:], list(file["id"].asstr())
    paint(home / "photos", per_kind=2, start=100)
    draw(3, 7).save(home / "photos/kind0/000.png")
    (home / "photos/kind1/000.png").unlink()
    foreseen = clusterpipe("status", cwd=home)
    assert "6 new images; 1 changed image; 1 removed image" in foreseen.out
    done = clusterpipe("run-all", "photos", cwd=home)
    assert done.code == 0, done.err
    added = [path for path in shards.rglob("*.h5") if path.name not in before]
    with h5py.File(added[0]) as file:
        assert len(added) == 1
        assert len(file["features"]) == 7
    assert all((added[0].parent / n).stat().st_mtime_ns == t for n, t in before.items())
    with h5py.File(home / "runs/photos/embeddings.h5") as file:
        ids = list(file["id"].asstr())
        rows = file["packaged/features"][:]
    kept = [name for name in old_ids if name not in ("kind0/000.png", "kind1/000.png")]
    assert ids[: len(kept)] == kept
    assert len(ids) == 65
    assert np.array_equal(rows[: len(kept)], old_rows[[old_ids.index(name) for name in kept]])


def test_rerunning_one_stage_remembers_its_setting(home: Path, clusterpipe: Command) -> None:
    done = clusterpipe("assign", "--run-dir", "runs/photos", "--set", "assign.k=2", cwd=home)
    assert (done.code, done.out.strip()) == (0, "runs/photos/assignments.h5")
    again = clusterpipe("assign", "--run-dir", "runs/photos", cwd=home)
    assert again.action("assign") == "fresh"
    status = clusterpipe("status", cwd=home)
    assert "assign.k" in status.out
    with h5py.File(home / "runs/photos/assignments.h5") as file:
        assert len(file[file["chosen"].asstr()[()]]["centroid"]) == 2


def test_captions_and_metrics_of_other_clusters_are_not_shown(
    home: Path, clusterpipe: Command
) -> None:
    before = clusterpipe("run-all", "photos", "--json", cwd=home).json()
    assert before["metrics"]
    assert any(cluster["caption"] for cluster in before["clusters"])
    done = clusterpipe(
        "run-all", "photos", "--set", "assign.k=2", "--until", "assign", "--json", cwd=home
    )
    assert [cluster["caption"] for cluster in done.json()["clusters"]] == ["", ""]
    assert done.json()["metrics"] == []


def test_until_and_force(home: Path, clusterpipe: Command) -> None:
    done = clusterpipe("run-all", "--force", "assign", "--until", "assign", "photos", cwd=home)
    assert [done.action(stage) for stage in STAGES] == [*["fresh"] * 3, "ran", *["nothing"] * 3]
    after = clusterpipe("run-all", "photos", cwd=home)
    assert [after.action(stage) for stage in STAGES] == ["fresh"] * 7


def test_the_run_can_be_moved_and_its_images_can_be_gone(home: Path, clusterpipe: Command) -> None:
    shutil.move(home / "runs", home / "elsewhere")
    shutil.rmtree(home / "photos")
    done = clusterpipe("evaluate", "--force", "--run-dir", "elsewhere/photos", cwd=home)
    assert done.code == 0, done.err
    assert clusterpipe("status", "--run-dir", "elsewhere/photos", cwd=home).code == 0


def test_clusters_are_exported(home: Path, clusterpipe: Command) -> None:
    done = clusterpipe("export", "--to", "csv", cwd=home)
    assert done.code == 0, done.err
    lines = Path(done.out.strip()).read_text().splitlines()
    assert len(lines) == 61
    assert lines[0].startswith('"id","path","cluster","cluster_coarse","cluster_fine","caption"')
    done = clusterpipe("export", "--to", "folders", "--output", "sorted", "--json", cwd=home)
    assert done.json()["images"] == 60
    assert len([path for path in (home / "sorted").rglob("*.png") if path.is_symlink()]) == 60
    assert clusterpipe("export", "--to", "xlsx", cwd=home).code == 2


def test_new_images_join_the_clusters(home: Path, clusterpipe: Command) -> None:
    """Those of the run get what they have, and alone what they get among others."""
    with h5py.File(home / "runs/photos/assignments.h5") as file:
        clusters = file[file["chosen"].asstr()[()]]
        label, probability = clusters["label"][:], clusters["probability"][:]
    (home / "photos/broken.png").write_bytes(b"no image")
    all_of_them = clusterpipe("predict", "photos", "--json", cwd=home)
    assert all_of_them.code == 0, all_of_them.err
    told = all_of_them.json()
    assert told["cluster"] == label.tolist()
    np.testing.assert_allclose(told["probability"], probability, atol=1e-5)
    assert list(told["skipped"]) == ["broken.png"]
    alone = clusterpipe("predict", "photos/kind1/007.png", "--json", cwd=home).json()
    row = told["id"].index("kind1/007.png")
    assert alone["cluster"] == [told["cluster"][row]]
    assert abs(alone["probability"][0] - told["probability"][row]) <= 1e-5
    draw(1, 99).save(home / "new.png")
    new = clusterpipe("predict", "new.png", "--json", cwd=home).json()
    kinds = label.reshape(3, 20)
    assert new["cluster"][0] == np.bincount(kinds[1]).argmax()
    assert clusterpipe("predict", "photos/broken.png", cwd=home).code == 3


def test_json_on_stdout_is_the_whole_of_stdout(home: Path, clusterpipe: Command) -> None:
    done = clusterpipe("run-all", "photos", "--json", cwd=home)
    assert done.json()["images"] == 60
    assert done.json()["schema_version"] == 1
    quiet = clusterpipe("run-all", "photos", "--quiet", "--json", cwd=home)
    assert quiet.err == ""
    assert quiet.json()["clusters"] == done.json()["clusters"]

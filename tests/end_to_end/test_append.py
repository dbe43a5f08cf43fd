"""`predict --append` by the real program: nothing that was there changes, and nothing is lost."""

import shutil
from pathlib import Path

import h5py
import numpy as np
from program import Command, content_ids, draw, paint

from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline import run_all
from clusterpipe.pipeline.config import Config, load


def clusters(run: Path) -> dict[str, np.ndarray]:
    with h5py.File(run / "assignments.h5") as file:
        group = file[file["chosen"].asstr()[()]]
        found = {name: group[name][:] for name in ("label", "probability", "exemplar")}
    with h5py.File(run / "embeddings.h5") as file:
        return found | {"id": file["id"].asstr()[:], "skipped": file["skipped/path"].asstr()[:]}


def test_new_images_join_a_run_that_stays_as_it_is(home: Path, clusterpipe: Command) -> None:
    run, new = home / "runs/photos", paint(home / "new", per_kind=1, start=50)
    shutil.copytree(run, home / "before")
    shutil.copy(home / "photos/kind1/003.png", new / "again.png")
    (new / "broken.png").write_bytes(b"no image")
    draw(2, 99).save(home / "photos/kind2/late.png")
    was, ids = clusters(run), content_ids(run)
    refused = clusterpipe("predict", "new", "--append", cwd=home)
    assert refused.code == 2
    assert "not up to date (1 new image)" in refused.err
    assert not (run / "appended.csv").exists()

    inside = clusterpipe("predict", "photos/kind2/late.png", "--append", "--json", cwd=home)
    assert inside.code == 0, inside.err
    done = clusterpipe("predict", "new", "--append", "--json", cwd=home)
    assert done.code == 0, done.err
    found, told = clusters(run), done.json()
    for name in ("label", "probability", "id"):
        np.testing.assert_array_equal(found[name][:60], was[name])
    np.testing.assert_array_equal(found["exemplar"], was["exemplar"])
    paths = [str(new / f"kind{kind}/050.png") for kind in range(3)]
    assert found["id"][60:].tolist() == ["kind2/late.png", *paths]
    assert found["skipped"].tolist() == [str(new / "broken.png")]
    assert told["id"] == [*paths, str(new / "again.png")]
    assert told["cluster"][:3] == found["label"][61:].tolist()
    assert told["cluster"][3] == found["label"][found["id"].tolist().index("kind1/003.png")]
    assert list(told["skipped"]) == [str(new / "broken.png")]
    assert "again.png is in the run already, as kind1/003.png" in done.err
    assert content_ids(run)["k_estimate"] == ids["k_estimate"]
    finish_after_kills(home, content_ids(run))


def finish_after_kills(home: Path, expected: dict[str, dict[str, str]]) -> None:
    """Wherever a kill falls, run-all finishes; what it writes is what an undisturbed one wrote."""
    run, whole = home / "runs/photos", home / "whole"
    shutil.copytree(run, whole)
    for lost in (["assignments"], ["refined", "assignments"], ["embeddings", "k_estimate"], []):
        for name in lost:
            shutil.copy(home / "before" / f"{name}.h5", run / f"{name}.h5")
        if "embeddings" in lost:
            shutil.copy(home / "before/refined.h5", run / "refined.h5")
            shutil.copy(home / "before/assignments.h5", run / "assignments.h5")
        config = load(Config(), run / "pipeline.toml")
        done = run_all(config, run_dir=run, until="" if not lost else "assign")
        actions = {event.stage: event.action for event in done.events}
        assert actions["assign"] == ("extended" if lost else "fresh")
        assert actions.get("evaluate", "ran") == "ran"
        now = content_ids(run)
        for name in ("embeddings", "k_estimate", "refined", "assignments"):
            assert now[name] == expected[name], lost
    assert RunDirectory(run).appended.exists()

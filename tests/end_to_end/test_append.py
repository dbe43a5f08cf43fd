"""`predict --append`: nothing that was there changes, and nothing is lost."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from program import Command, content_ids, draw, paint

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline import run_all
from clusterpipe.pipeline.engine.config import Config, load
from clusterpipe.pipeline.results.append import append

STAGES = ("embeddings", "k_estimate", "refined", "assignments")


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
    config, was, ids = load(Config(), run / "pipeline.toml"), clusters(run), content_ids(run)
    with pytest.raises(UsageError, match=r"not up to date \(1 new image\)"):
        append(config, RunDirectory(run), new, tell=lambda event: None)
    assert not (run / "appended.csv").exists()
    late = home / "photos/kind2/late.png"
    inside = append(config, RunDirectory(run), late, tell=lambda event: None)
    assert inside.found.id == ["kind2/late.png"]

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
    finish_after_kills(home, found)


def finish_after_kills(home: Path, expected: dict[str, np.ndarray]) -> None:
    """Wherever a kill falls, run-all finishes; what it writes is what an undisturbed one wrote."""
    run = home / "runs/photos"
    config = load(Config(), run / "pipeline.toml")
    for lost in (STAGES[3:], STAGES):
        for name in lost:
            shutil.copy(home / "before" / f"{name}.h5", run / f"{name}.h5")
        for action in ("extended", "fresh"):
            done = run_all(config, run_dir=run, until="assign")
            assert {event.stage: event.action for event in done.events}["assign"] == action
        now = clusters(run)
        for name in ("label", "id", "skipped", "exemplar"):
            np.testing.assert_array_equal(now[name], expected[name])
        np.testing.assert_allclose(now["probability"], expected["probability"], atol=1e-5)
        np.testing.assert_array_equal(now["probability"][:60], expected["probability"][:60])

"""Faults, caused for real: kills, interrupts, full disks, damaged files, locks."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny_backbone
from program import Command, Running, content_ids, paint

from clusterpipe.cache import artifact


def wait_for(condition: Callable[[], bool], process: Running, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not process.has_ended() and not condition():
        time.sleep(0.02)


SMALL = ("--set", "embed.shard_size=8", "--set", "embed.batch_size=8", "--set", "assign.k=3")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return paint(tmp_path / "photos", per_kind=16)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings of a run that takes a moment, with a backbone of 32 x 32 pixels."""
    definition = tiny_backbone.save(tmp_path_factory.mktemp("tiny") / "tiny.pt")
    return ("--set", f'embed.backbones=["tiny={definition}"]', *SMALL)


def test_killed_runs_resume_to_the_same_content(
    photos: Path, tmp_path: Path, clusterpipe: Command
) -> None:
    whole = clusterpipe("run-all", photos, "--run-dir", "whole", *SMALL)
    assert whole.code == 0, whole.err
    for shards in (1, 3):
        process = Running("run-all", photos, "--run-dir", "killed", *SMALL, cwd=tmp_path)
        wait_for(lambda n=shards: len(list(tmp_path.glob("killed/*/*/*.h5"))) >= n, process)
        process.kill()
        assert process.wait().code == -signal.SIGKILL
    status = clusterpipe("status", "--run-dir", "killed")
    assert "partial" in status.out
    assert "of 48 images embedded" in status.out
    resumed = clusterpipe("run-all", photos, "--run-dir", "killed", *SMALL)
    assert resumed.code == 0, resumed.err
    assert content_ids(tmp_path / "killed") == content_ids(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.tmp"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_keeps_what_was_finished(
    photos: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = Running("run-all", photos, *SMALL, cwd=tmp_path)
    shards = tmp_path / "runs/photos/embeddings"
    wait_for(lambda: any(shards.glob("*/*.h5")), process)
    process.send_signal(number)
    done = process.wait()
    assert done.code == code
    assert "interrupted" in done.err
    assert "Traceback" not in done.err
    for shard in shards.glob("*/*.h5"):
        with h5py.File(shard) as file:
            assert len(file["features"]) > 0


def test_a_training_that_was_killed_or_interrupted_goes_on(
    tmp_path: Path, clusterpipe: Command
) -> None:
    features = np.random.default_rng(0).normal(size=(160, 16))
    np.save(tmp_path / "features.npy", features.astype(np.float32))
    small = ("preset='paper'", "hidden=32", "width=8", "batch=64", "epochs=60")
    settings = [part for setting in small for part in ("--set", f"refine.{setting}")]
    assert clusterpipe("embed", "features.npy", "--run-dir", "whole", *settings).code == 0
    run = tmp_path / "broken"
    shutil.copytree(tmp_path / "whole", run)
    # a checkpoint after every step, which takes the longer: the signals come in time
    refine = ("refine", "--run-dir", run, "--set", "refine.checkpoint_seconds=0")
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        before = kept_steps(run)
        process = Running(*refine, cwd=tmp_path)
        wait_for(lambda before=before: kept_steps(run) > before + 2, process)
        process.send_signal(number)
        done = process.wait()
        assert done.code == code
        assert "Traceback" not in done.err
        assert not (run / "refined.h5").exists()
    kept = kept_steps(run)
    assert f"{kept} of 170 steps are kept" in clusterpipe("status", "--run-dir", run).out
    resumed = clusterpipe("refine", "--run-dir", run, "--set", "refine.checkpoint_seconds=60")
    assert resumed.code == 0, resumed.err
    assert f"refine: {kept} of 170 steps are kept" in resumed.err
    assert clusterpipe("refine", "--run-dir", "whole").code == 0
    assert content_ids(run) == content_ids(tmp_path / "whole")
    assert {path.name for path in run.glob("*.h5")} == {"embeddings.h5", "refined.h5"}


def kept_steps(run: Path) -> int:
    """How many steps of its training a run has kept."""
    path = run / "checkpoint.h5"
    return int(artifact.header(path).attributes["done"]) if path.exists() else 0


def test_a_second_run_is_refused_while_the_first_works(
    photos: Path, tmp_path: Path, clusterpipe: Command
) -> None:
    process = Running("run-all", photos, *SMALL, cwd=tmp_path)
    wait_for(lambda: (tmp_path / "runs/photos/pipeline.toml").exists(), process)
    second = clusterpipe("run-all", photos)
    status = clusterpipe("status", "--run-dir", "runs/photos")
    process.kill()
    process.wait()
    assert second.code == 7
    assert "in use by another clusterpipe" in second.err
    assert status.code == 0


def test_damaged_and_foreign_artifacts_are_named(
    photos: Path, tmp_path: Path, clusterpipe: Command, tiny: tuple[str, ...]
) -> None:
    assert clusterpipe("run-all", photos, "--until", "assign", *tiny).code == 0
    run = tmp_path / "runs/photos"
    data = (run / "refined.h5").read_bytes()
    (run / "refined.h5").write_bytes(data[: len(data) // 2])
    assert "corrupt" in clusterpipe("status").out
    inspected = clusterpipe("inspect", run / "refined.h5")
    assert inspected.code == 5
    assert "refined.h5" in inspected.err
    broken = clusterpipe("assign", "--force", "--run-dir", run)
    assert broken.code == 5
    assert "clusterpipe refine --run-dir" in broken.err
    repaired = clusterpipe("run-all", photos)
    assert repaired.code == 0
    assert repaired.action("refine") == "ran"
    assert repaired.action("assign") == "fresh"
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    foreign = clusterpipe("inspect", "foreign.h5")
    assert (foreign.code, "not a clusterpipe artifact" in foreign.err) == (5, True)


def test_a_lost_shard_is_noticed_and_only_its_images_are_embedded(
    photos: Path, tmp_path: Path, clusterpipe: Command, tiny: tuple[str, ...]
) -> None:
    assert clusterpipe("run-all", photos, "--until", "embed", *tiny).code == 0
    before = content_ids(tmp_path / "runs/photos")
    shards = sorted((tmp_path / "runs/photos/embeddings").rglob("*.h5"))
    shards[1].unlink()
    broken = clusterpipe("refine", "--run-dir", "runs/photos")
    assert broken.code == 5
    assert shards[1].name in broken.err
    repaired = clusterpipe("run-all", photos, "--until", "embed")
    assert repaired.code == 0, repaired.err
    left = sorted((tmp_path / "runs/photos/embeddings").rglob("*.h5"))
    with h5py.File(left[-1]) as file:
        assert len(file["features"]) == 8
    after = content_ids(tmp_path / "runs/photos")
    assert len(after["embeddings"]) == len(before["embeddings"])


def test_a_full_disk_is_told_and_loses_nothing(
    photos: Path, tmp_path: Path, clusterpipe: Command, tiny: tuple[str, ...]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        done = clusterpipe("run-all", photos, "--run-dir", small / "run", *tiny)
        assert done.code == 8, done.err
        assert "no space left" in done.err
        assert "Traceback" not in done.err
        subprocess.run(["mount", "-o", "remount,size=40m", small], check=True)
        assert clusterpipe("run-all", photos, "--run-dir", small / "run", *tiny).code == 0
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_folder_that_cannot_be_written(
    photos: Path, tmp_path: Path, clusterpipe: Command
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", locked], capture_output=True, check=False
    )
    if mounted.returncode:
        locked.chmod(0o500)
    try:
        done = clusterpipe("run-all", photos, "--run-dir", locked / "run")
    finally:
        subprocess.run(["umount", "-l", locked], capture_output=True, check=False)
        locked.chmod(0o700)
    assert done.code == 8
    assert "cannot be written" in done.err

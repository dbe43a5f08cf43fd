"""Nothing half-written is ever seen: kills, full disks and read-only folders, caused for real."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import kill_writer
import numpy as np
import pytest
from faults import (
    LARGE,
    fill_meanwhile,
    fill_up,
    isolated,
    limit_disk,
    limit_files,
    write_until_full,
)
from records import assert_same, in_memory, provenance, sample

from clusterpipe.cache import artifact, storage
from clusterpipe.cache.errors import StorageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings, Refined
from clusterpipe.cache.shards import ShardStore

SHARDS = 10
NO_SPACE = (
    "no space left to write {}: free some and run the same command again; what was finished is kept"
)


def entries(folder: Path) -> set[str]:
    """The names of all files below `folder`, hidden ones too."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


# ---------------------------------------------------------------- whole or not at all


def test_text_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "pipeline.toml"
    for text in ("first = 1\n", "zweites = 'ä🐟'\n"):
        storage.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert entries(tmp_path) == {"new/folder/pipeline.toml"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with storage.replacing(path) as temporary:
            temporary.write_text("new, but not finished")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert entries(tmp_path) == {"file"}


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with storage.replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with storage.replacing(path) as one, storage.replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert entries(tmp_path) == {"file"}


def test_a_reader_sees_one_version_or_another_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [letter * 200_000 for letter in "ab"]
    storage.write_text(path, versions[0])
    done = threading.Event()

    def rewrite() -> None:
        for turn in range(60):
            storage.write_text(path, versions[turn % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = set()
    while not done.is_set():
        text = path.read_text()
        assert text in versions
        seen.add(text[0])
    writer.join()
    assert seen == {"a", "b"}


def test_an_open_artifact_is_read_to_its_end_while_a_new_one_takes_its_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "refined.h5"
    old, new = (sample(Refined, seed=seed, n=9) for seed in (1, 2))
    artifact.write(path, old, provenance(schema=old.schema))
    with h5py.File(path) as file:
        artifact.write(path, new, provenance(schema=new.schema))
        np.testing.assert_array_equal(file["features"][:], old.features)
    assert_same(in_memory(artifact.read(path, Refined)), new)


def test_only_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    script = (
        "import signal, os, sys, pathlib; from clusterpipe.cache import storage\n"
        "with storage.replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "folder" / "file"
    storage.write_text(path, "old")
    (tmp_path / ".editor.tmp").touch()
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(entries(tmp_path)) == 3
    storage.sweep(tmp_path)
    assert entries(tmp_path) == {"folder/file", ".editor.tmp"}


def test_what_another_process_is_writing_is_not_swept(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from clusterpipe.cache import storage\n"
        "with storage.replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('whole'); print('open', flush=True); input()"
    )
    path = tmp_path / ("x" * 250)
    command = [sys.executable, "-c", script, str(path)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        storage.sweep(tmp_path)
        assert len(entries(tmp_path)) == 1
        writer.communicate("\n")
    assert writer.returncode == 0
    assert path.read_text() == "whole"


def test_what_another_machine_left_is_swept_after_a_day(tmp_path: Path) -> None:
    left = tmp_path / f".0badcafe.{os.getpid()}.1234{storage._SUFFIX}"
    left.touch()
    storage.sweep(tmp_path)
    assert left.exists()
    os.utime(left, (time.time() - 90_000,) * 2)
    storage.sweep(tmp_path)
    assert not left.exists()


# ---------------------------------------------------------------- SIGKILL


def writer(run: Path, *forever: str) -> list[str]:
    return [sys.executable, kill_writer.__file__, str(run), str(SHARDS), *forever]


def kill_after(run: Path, seconds: float) -> None:
    """Starts the writer and kills it so long after it has begun to write."""
    with subprocess.Popen(writer(run, "forever"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        time.sleep(seconds)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def content(run: Path) -> dict[str, str]:
    found = sorted(run.rglob("*.h5"))
    return {str(path.relative_to(run)): artifact.header(path).content_id for path in found}


@pytest.mark.slow
def test_kills_at_random_moments_cost_nothing_that_was_finished(tmp_path: Path) -> None:
    """What exists is whole after each kill, and in the end all is as if never interrupted."""
    run, whole = tmp_path / "killed", tmp_path / "whole"
    store = ShardStore(RunDirectory(run).shards("clip"))
    moments = random.Random(0)
    finished: set[int] = set()
    for _ in range(6):
        kill_after(run, moments.uniform(0, 0.1))
        assert finished <= set(store.numbers())
        finished = set(store.numbers())
        assert [number for number, _ in store.shards()] == sorted(finished)
        index = RunDirectory(run).artifact(Embeddings)
        if index.exists():
            rows = artifact.read(index, Embeddings).spaces["clip"].features
            assert not np.isnan(rows[0 : rows.shape[0]]).any()
    for folder in (run, whole):
        subprocess.run(writer(folder), stdout=subprocess.DEVNULL, check=True)
    assert content(run) == content(whole)
    assert len(content(run)) == SHARDS + 1
    assert entries(run) == entries(whole)


# ---------------------------------------------------------------- a full disk


SIZES = [10_000, 60_000, 100_000, 200_000, 400_000, 700_000, 1_000_000]
limited_files = pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")


def test_a_full_disk_is_told_whenever_it_fills_up(disk: Path) -> None:
    """HDF5 crashes the process on some of these, so it must never meet the end of the disk."""
    path = disk / "embeddings.h5"
    said = isolated(fill_up, path, partial(limit_disk, disk), SIZES[2:])
    assert said == [NO_SPACE.format(path)] * 10
    assert entries(disk) == {"embeddings.h5"}
    limit_disk(disk, 64_000_000)
    large = sample(Embeddings, seed=2, **LARGE)
    artifact.write(path, large, provenance(schema=large.schema))
    assert_same(in_memory(artifact.read(path, Embeddings)), large)


@limited_files
def test_a_limit_on_the_size_of_files_is_told_like_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "run" / "embeddings.h5"
    said = isolated(fill_up, path, limit_files, SIZES)
    assert said == [NO_SPACE.format(path)] * 14
    assert entries(tmp_path) == {"run/embeddings.h5"}


def test_a_disk_that_others_fill_meanwhile_is_told_as_well(disk: Path) -> None:
    path = disk / "refined.h5"
    said = isolated(fill_meanwhile, path, partial(write_until_full, disk / "others"))
    assert said == NO_SPACE.format(path)
    assert entries(disk) == {"refined.h5", "others"}


@limited_files
def test_a_limit_that_is_met_while_closing_is_told_as_well(tmp_path: Path) -> None:
    """HDF5 tells of it by a RuntimeError."""
    path = tmp_path / "refined.h5"
    said = isolated(fill_meanwhile, path, partial(limit_files, 1_000_000))
    assert said == NO_SPACE.format(path)
    assert entries(tmp_path) == {"refined.h5"}


def test_what_fits_is_reserved_and_what_does_not_is_refused(disk: Path) -> None:
    limit_disk(disk, 1 << 20)
    path = disk / "file"
    path.touch()
    for size in (0, 1, 900_000):
        storage.reserve(path, size)
        assert path.stat().st_size == 0
        assert shutil.disk_usage(disk).free == 1 << 20
    with pytest.raises(OSError, match="No space"):
        storage.reserve(path, 2_000_000)


@pytest.mark.parametrize("kind", [Embeddings, Refined])
@pytest.mark.parametrize("n", [0, 3, 3000])
def test_more_is_reserved_than_is_written(kind: type[Any], n: int, tmp_path: Path) -> None:
    path = tmp_path / "artifact.h5"
    record = sample(kind, n=n, d=8)
    if kind is Embeddings:
        long = ["/".join("é" * (1 + row % 800)) for row in range(n)]
        record = replace(record, path=np.array(long, dtype=object))
    artifact.write(path, record, provenance(schema=record.schema))
    assert path.stat().st_size <= artifact._room(record) <= 3 * path.stat().st_size + 400_000


# ---------------------------------------------------------------- not writable


def test_a_folder_that_cannot_be_written_is_told(disk: Path) -> None:
    storage.write_text(disk / "file", "old")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for path in (disk / "file", disk / "new" / "file"):
        with pytest.raises(StorageError, match="choose another --run-dir") as raised:
            storage.write_text(path, "new")
        assert raised.value.exit_code == 8
    with pytest.raises(StorageError, match="cannot be written"):
        artifact.write(disk / "refined.h5", sample(Refined), provenance(schema=Refined.schema))
    for folder in (disk, disk / "run"):
        with pytest.raises(StorageError), RunDirectory(folder).locked():
            pass
    assert (disk / "file").read_text() == "old"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        storage.write_text(folder / "file", "new")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StorageError, match=r"run/file cannot be written \(File exists\)"):
        storage.write_text(tmp_path / "run" / "file", "new")
    assert (tmp_path / "run").read_text() == "a file"


@pytest.mark.parametrize(
    ("number", "complaint"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EFBIG, "no space left"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
        (errno.EPERM, "cannot be written"),
    ],
)
def test_the_systems_refusals_are_explained(tmp_path: Path, number: int, complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint), storage.explained(tmp_path):
        raise OSError(number, os.strerror(number))


def test_other_errors_are_not_explained_away(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), storage.explained(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

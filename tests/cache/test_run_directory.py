"""One writer per run, and the places of its files."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusterpipe.cache.errors import RunLocked
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings, KEstimate

HOLDER = """
import sys
from pathlib import Path
from clusterpipe.cache.run_directory import RunDirectory

with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its stdin is closed or it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_everything_has_its_place(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.artifact(Embeddings) == tmp_path / "embeddings.h5"
    assert run.artifact(KEstimate) == tmp_path / "k_estimate.h5"
    assert run.shards("clip") == tmp_path / "embeddings" / "clip"
    assert run.config == tmp_path / "pipeline.toml"
    assert run.pictures == tmp_path / "pictures"


def test_a_second_writer_is_refused_at_once_until_the_first_ends(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with holder(run.folder) as process:
        began = time.monotonic()
        with pytest.raises(RunLocked, match=r"in use by another clusterpipe") as raised:
            run.locked().__enter__()
        assert time.monotonic() - began < 5
        assert str(run.folder) in str(raised.value)
        assert raised.value.exit_code == 7
        process.communicate("")
    with run.locked():
        pass


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with holder(run.folder) as process:
        process.kill()
        assert process.wait() == -signal.SIGKILL
        with run.locked():
            pass


def test_two_runs_in_one_process_exclude_each_other_as_well(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with run.locked(), pytest.raises(RunLocked), RunDirectory(tmp_path).locked():
        pass
    with run.locked():
        pass


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with run.locked():
        pass


def test_runs_in_different_folders_do_not_know_each_other(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "a").locked(), RunDirectory(tmp_path / "b").locked():
        pass


def test_the_holder_sweeps_what_a_killed_run_left_and_nothing_else(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    foreign = [tmp_path / name for name in (".other.tmp", "notes.tmp", ".hidden", "a.h5")]
    leftover = run.shards("clip") / ".000017.h5.0123abcd.clusterpipe.tmp"
    leftover.parent.mkdir(parents=True)
    for file in (*foreign, leftover):
        file.touch()
    with run.locked():
        assert not leftover.exists()
        assert all(file.exists() for file in foreign)

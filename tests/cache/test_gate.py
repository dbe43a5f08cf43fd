"""The way to an artifact: verified before it is parsed, once while it stays what it is."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from faults import edited, unsealed
from records import assert_same, in_memory, provenance, sample

from clusterpipe.cache import artifact, foreign, gate, seal
from clusterpipe.cache.errors import DamagedArtifact, StorageError
from clusterpipe.cache.inspection import inspect
from clusterpipe.cache.schema import Artifact, Embeddings, KEstimate, Refined


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "refined.h5"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed, in order; nothing is known of any at first."""
    found: list[Path] = []
    check = seal.check
    monkeypatch.setattr(seal, "check", lambda path, own: (found.append(path), check(path, own)))
    forget()
    return found


def forget() -> None:
    """Makes the next look one of another command."""
    seal._known.clear()
    seal._memos.clear()


def refined(path: Path, n: int = 50, kind: type[Artifact] = Refined) -> Artifact:
    record: Artifact = sample(kind, n=n, e=8, seed=n)
    artifact.write(path, record, provenance(schema=kind.schema))
    return record


def settle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the time pass after which a file that was just written is remembered."""
    written = seal.state(path).ctime / 1e9
    monkeypatch.setattr(seal.time, "time", lambda: written + 3)


def test_the_seal_is_in_front_and_other_programs_read_on(path: Path) -> None:
    refined(path)
    assert path.read_bytes().startswith(b"clusterpipe artifact, sealed\nsize ")
    with h5py.File(path) as file:
        assert file.userblock_size == seal.BLOCK
        assert seal.read(path).content_id == file.attrs["content_id"]
        assert file["features"].shape == (50, 8)


def test_a_file_is_hashed_once_while_it_stays_what_it_is(path: Path, hashed: list[Path]) -> None:
    refined(path)
    forget()
    for _ in range(3):
        artifact.read(path, Refined)
    assert hashed == [path]
    os.utime(path)
    artifact.read(path, Refined)
    assert hashed == [path, path]
    inspect(path)
    assert len(hashed) == 3


def test_a_large_file_is_remembered_between_commands(
    path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    refined(path, n=60_000)
    small = path.with_name("k_estimate.h5")
    refined(small, kind=KEstimate)
    settle(path, monkeypatch)
    for _ in range(3):
        forget()
        artifact.read(path, Refined)
        artifact.read(small, KEstimate)
    assert (hashed.count(path), hashed.count(small)) == (1, 3)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    forget()
    with pytest.raises(DamagedArtifact, match="not those that were written"):
        artifact.read(path, Refined)


def test_what_was_written_a_moment_ago_is_not_remembered(path: Path, hashed: list[Path]) -> None:
    refined(path, n=60_000)
    for _ in range(2):
        forget()
        artifact.read(path, Refined)
    assert len(hashed) == 2
    assert not path.with_name(seal.MEMO).exists()


@pytest.mark.parametrize("memo", [b"\xff" * 100, b"", b"1 2 3\n" * 1000, None])
def test_a_damaged_memory_costs_a_look_and_nothing_else(
    path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch, memo: bytes | None
) -> None:
    record = refined(path, n=60_000)
    settle(path, monkeypatch)
    if memo is None:
        os.mkfifo(path.with_name(seal.MEMO))
    else:
        path.with_name(seal.MEMO).write_bytes(memo)
    forget()
    assert_same(in_memory(artifact.read(path, Refined)), record)
    assert hashed == [path]


def test_bytes_of_the_seal_itself_count(path: Path) -> None:
    refined(path)
    data = path.read_bytes()
    for at in (0, 30, 60, 150, 300, seal.BLOCK - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(DamagedArtifact):
            artifact.read(path, Refined)


def test_a_zeroed_block_of_the_heap_of_strings_is_refused_at_once(tmp_path: Path) -> None:
    """HDF5 2.0 loops for ever on this one, deaf to signals."""
    path = tmp_path / "embeddings.h5"
    refined(path, kind=Embeddings)
    data = bytearray(path.read_bytes())
    start = data.find(b"GCOL") + 16 + 24 + 8
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    for look in (artifact.header, inspect):
        with pytest.raises(DamagedArtifact, match="not those that were written"):
            look(path)


# ---------------------------------------------------------------- without a seal


def test_a_file_written_before_is_accepted_once_and_sealed(path: Path) -> None:
    record = refined(path)
    unsealed(path)
    assert_same(in_memory(artifact.read(path, Refined)), record)
    assert path.read_bytes().startswith(b"clusterpipe artifact, sealed\n")
    assert seal.read(path).content_id == artifact.header(path).content_id
    assert_same(in_memory(artifact.read(path, Refined)), record)


def test_a_file_written_before_with_other_data_is_refused(path: Path) -> None:
    refined(path)
    with h5py.File(path) as file:
        place = file["features"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    unsealed(path)
    for _ in range(2):
        with pytest.raises(DamagedArtifact, match="/features does not fit its content id"):
            artifact.read(path, Refined)
    assert seal.is_unsealed(path)


@pytest.mark.slow
def test_a_file_on_which_hdf5_does_not_end_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "SECONDS", 3)
    path = tmp_path / "embeddings.h5"
    refined(path, kind=Embeddings)
    data = bytearray(path.read_bytes())
    start = data.find(b"GCOL") + 16 + 24 + 8
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    unsealed(path)
    with pytest.raises(DamagedArtifact, match="HDF5"):
        artifact.read(path, Embeddings)


def test_a_folder_that_cannot_be_written_is_read(disk: Path) -> None:
    record = refined(disk / "refined.h5")
    unsealed(disk / "refined.h5")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert_same(in_memory(artifact.read(disk / "refined.h5", Refined)), record)
    assert seal.is_unsealed(disk / "refined.h5")


# ---------------------------------------------------------------- what is no such file


def link_outside(file: h5py.File) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink("other.h5", "/features")


def soft_link(file: h5py.File) -> None:
    file.move("features", "elsewhere")
    file["features"] = h5py.SoftLink("/elsewhere")


def store_outside(file: h5py.File) -> None:
    shape = file["features"].shape
    del file["features"]
    file.create_dataset("features", shape, "f4", external=[("/etc/hostname", 0, 1600)])


def make_of_itself(file: h5py.File) -> None:
    shape, dtype = file["features"].shape, file["features"].dtype
    del file["features"]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("refined.h5", "features", shape=shape, dtype=dtype)[...]
    file.create_virtual_dataset("features", layout)


def claim_much(file: h5py.File) -> None:
    del file["features"]
    file.create_dataset("features", (10**12, 8), "f4", chunks=(1000, 8))


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (link_outside, "is a link"),
        (soft_link, "is a link"),
        (store_outside, "another file"),
        (make_of_itself, "is no shard of it"),
        (claim_much, "0 of them are stored"),
    ],
)
def test_data_that_lie_elsewhere_or_nowhere_are_refused(
    path: Path, change: Callable[[h5py.File], None], reason: str, sealed: bool
) -> None:
    refined(path)
    with edited(path) as file:
        change(file)
    if not sealed:
        unsealed(path)
    with pytest.raises(DamagedArtifact, match=reason):
        artifact.read(path, Refined)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_not_opened(path: Path, make: Callable[[Path], object]) -> None:
    path.parent.mkdir()
    make(path)
    for look in (artifact.header, inspect):
        with pytest.raises(DamagedArtifact, match="is not a regular file"):
            look(path)


def test_a_file_that_is_replaced_while_it_is_read_is_read_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refined(path)
    check, later = seal.check, sample(Refined, n=7, e=8)
    replaced: list[bool] = []

    def meanwhile(path: Path, own: seal.Seal) -> None:
        check(path, own)
        if not replaced:
            replaced.append(True)
            artifact.write(path, later, provenance(schema=Refined.schema))

    forget()
    monkeypatch.setattr(seal, "check", meanwhile)
    assert_same(in_memory(artifact.read(path, Refined)), later)


def test_threads_may_look_at_once(path: Path) -> None:
    record = refined(path, n=2000)
    forget()
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(in_memory(artifact.read(path, Refined))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(one.features, record.features) for one in found)  # type: ignore[attr-defined]


@contextmanager
def no_permissions(path: Path) -> Iterator[None]:
    """Somebody who may not read `path`; root becomes nobody for a while."""
    path.chmod(0)
    if root := os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(0o600)


def test_what_may_not_be_read_is_not_called_damaged(path: Path) -> None:
    refined(path)
    forget()
    with no_permissions(path), pytest.raises(StorageError, match="Permission denied"):
        gate.admit(path)
    gate.admit(path)


def test_what_a_disk_does_not_give_back_is_damaged(tmp_path: Path) -> None:
    """Reading this file fails as a bad sector does."""
    (tmp_path / "refined.h5").symlink_to("/proc/self/mem")
    with pytest.raises(DamagedArtifact, match="Input/output error"):
        gate.admit(tmp_path / "refined.h5", Refined)

"""Checkpoints: found again by the same work only, verified, and interruptions that wait."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from records import assert_same, in_memory, provenance, sample

from clusterpipe.cache.checkpoints import CheckpointStore, unbroken
from clusterpipe.cache.errors import DamagedArtifact
from clusterpipe.cache.schema import Checkpoint

IDENTITY = provenance(stage="refine").identity


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoint.h5", IDENTITY)


def keep(store: CheckpointStore, seed: int = 0) -> Checkpoint:
    record: Checkpoint = sample(Checkpoint, seed=seed)
    store.write(record, seconds=1.0, device="cpu")
    return record


def test_nothing_is_kept_at_first_and_the_last_of_what_was(store: CheckpointStore) -> None:
    assert store.read() is None
    assert store.header() is None
    keep(store, seed=1)
    record = keep(store, seed=2)
    assert_same(in_memory(store.read()), record)
    header = store.header()
    assert header
    assert (header.attributes["done"], header.attributes["steps"]) == (record.done, record.steps)
    assert [path.name for path in store.path.parent.iterdir()] == ["checkpoint.h5"]
    store.remove()
    assert store.read() is None
    store.remove()


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"stage_version": 2}, {"config": {}}, {"inputs": {"source": "cd"}}]
)
def test_other_work_does_not_go_on_from_it(
    store: CheckpointStore, other: dict[str, object]
) -> None:
    keep(store)
    foreign = replace(store, identity=replace(IDENTITY, **other))
    assert foreign.read() is None
    assert store.read() is not None
    keep(foreign)
    assert store.read() is None


def test_every_flipped_bit_of_the_state_is_noticed(store: CheckpointStore) -> None:
    record = keep(store)
    data = store.path.read_bytes()
    start = data.index(record.state["weight"].tobytes())
    for at in range(start, start + record.state["weight"].nbytes):
        store.path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(DamagedArtifact, match=r"checkpoint\.h5"):
            store.read()
    store.path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedArtifact, match=r"checkpoint\.h5"):
        store.read()


class Stopped(Exception):
    """What the handler below raises."""


@pytest.fixture
def raising() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("raising")
def test_an_interruption_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    done = list[str]()

    def work() -> None:
        with unbroken():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            done.append("whole")

    with pytest.raises(Stopped):
        work()
    assert done == ["whole"]
    with pytest.raises(Stopped):
        os.kill(os.getpid(), number)


@pytest.mark.usefixtures("raising")
def test_errors_pass_and_other_threads_hold_nothing_back() -> None:
    with pytest.raises(ZeroDivisionError), unbroken():
        raise ZeroDivisionError
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGINT)
    done = []

    def work() -> None:
        with unbroken():
            done.append("elsewhere")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["elsewhere"]

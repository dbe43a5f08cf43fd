"""A run whose refinement was broken off: what is told, what goes on, and what starts anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from clusterpipe.cache import artifact
from clusterpipe.cache.progress import Advance
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Checkpoint, Refined
from clusterpipe.pipeline import Config, run_stage
from clusterpipe.pipeline.engine import plan
from clusterpipe.pipeline.engine.config import override
from clusterpipe.pipeline.engine.events import StageEvent
from clusterpipe.stages import STAGES


@pytest.fixture
def config(tmp_path: Path) -> Config:
    features = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    settings = ("epochs=2", "batch=72", "learning_rate=0.01", "checkpoint_seconds=3600")
    source = f"source.path='{tmp_path / 'features.npy'}'"
    return override(Config(), [source, *(f"refine.{setting}" for setting in settings)])


@pytest.fixture
def broken(config: Config, tmp_path: Path) -> RunDirectory:
    """A run whose refinement was interrupted after 7 of 22 steps."""

    @contextmanager
    def interrupted(what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        done = list[int]()

        def advance(count: int) -> None:
            done.append(count)
            if len(done) == 7:
                raise KeyboardInterrupt

        yield advance

    run_stage("embed", config, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_stage("refine", config, tmp_path / "run", progress=interrupted)
    return RunDirectory(tmp_path / "run")


def refined(config: Config, run: RunDirectory) -> list[StageEvent]:
    """Runs refine; what is told of it."""
    told = list[StageEvent]()
    run_stage("refine", config, run.folder, tell=told.append)
    return told


def state(config: Config, run: RunDirectory) -> plan.StageState:
    return plan.state_of(STAGES["refine"], config, run)


def whole(config: Config, folder: Path) -> str:
    """The content id of what an unbroken run makes."""
    for stage in ("embed", "refine"):
        run_stage(stage, config, folder)
    return artifact.header(folder / "refined.h5", Refined).content_id


def test_it_goes_on_says_so_and_leaves_no_checkpoint(
    config: Config, broken: RunDirectory, tmp_path: Path
) -> None:
    kept = ("7 of 22 steps are kept",)
    assert state(config, broken) == plan.StageState("refine", "partial", kept)
    starts, ran = refined(config, broken)
    assert (starts.action, starts.reasons, ran.action) == ("starts", kept, "ran")
    assert not broken.artifact(Checkpoint).exists()
    expected = whole(config, tmp_path / "whole")
    assert artifact.header(broken.artifact(Refined)).content_id == expected


def test_a_damaged_checkpoint_is_named_and_training_starts_anew(
    config: Config, broken: RunDirectory, tmp_path: Path
) -> None:
    path = broken.artifact(Checkpoint)
    weight = artifact.read(path, Checkpoint).state["network.feature_head.weight"]
    data = path.read_bytes()
    start = data.index(weight.tobytes())
    path.write_bytes(data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :])
    note = next(event for event in refined(config, broken) if event.action == "note")
    assert note.reasons == (f"{path} was damaged and is removed: refine starts anew",)
    expected = whole(config, tmp_path / "whole")
    assert artifact.header(broken.artifact(Refined)).content_id == expected


@pytest.mark.parametrize("changed", ["refine.learning_rate=0.02", "seed=1"])
def test_other_settings_start_anew(
    config: Config, broken: RunDirectory, tmp_path: Path, changed: str
) -> None:
    config = override(config, [changed])
    assert state(config, broken).state == "missing"
    refined(config, broken)
    assert artifact.header(broken.artifact(Refined)).content_id == whole(config, tmp_path / "whole")
    assert not broken.artifact(Checkpoint).exists()


def test_how_it_runs_may_change(config: Config, broken: RunDirectory) -> None:
    assert state(override(config, ["compute.device=cpu"]), broken).state == "partial"


def test_a_stale_stage_tells_what_is_kept(config: Config, broken: RunDirectory) -> None:
    kept = broken.artifact(Checkpoint).read_bytes()
    refined(override(config, ["refine.learning_rate=0.02"]), broken)
    broken.artifact(Checkpoint).write_bytes(kept)
    found = state(config, broken)
    assert found.state == "stale"
    assert found.reasons[-1] == "7 of 22 steps are kept"

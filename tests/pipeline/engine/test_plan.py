"""The order of stages and the reasons for running them, on the real stages and small features."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Metrics
from clusterpipe.cache.sources import SourceConfig, open_source
from clusterpipe.pipeline import Config, run_all, run_stage
from clusterpipe.pipeline.engine import inputs, plan
from clusterpipe.pipeline.engine.config import override
from clusterpipe.stages import STAGES

pytestmark = pytest.mark.slow

MOST_OPENED = 15  # to tell what evaluate reads, of four artifacts


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of three well-separated groups, as a file."""
    rng = np.random.default_rng(0)
    centres = np.eye(3, 16) * 5
    features = np.concatenate([c + 0.3 * rng.normal(size=(40, 16)) for c in centres])
    path = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(path, features=features.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def finished(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A run of all stages, to be looked at only."""
    config, folder = config_of(blobs), tmp_path_factory.mktemp("finished")
    run_all(config, run_dir=folder)
    return config, folder


def config_of(path: Path, *assignments: str) -> Config:
    return override(Config(), [f"source.path='{path}'", *assignments])


def states(config: Config, folder: Path) -> dict[str, plan.StageState]:
    found = plan.examine(config, RunDirectory(folder), open_source(config.source))
    return {state.stage: state for state in found}


def test_the_order_is_the_card_s() -> None:
    last = ["assign", "correct", "levels", "caption", "evaluate", "curate"]
    expected = ["embed", "estimate-k", "refine", *last]
    assert [stage.name for stage in plan.order(Config())] == list(STAGES) == expected


def test_a_stage_moves_behind_what_it_reads() -> None:
    config = override(Config(), ["estimate_k.features=refined"])
    names = [stage.name for stage in plan.order(config)]
    assert names[:5] == ["embed", "refine", "estimate-k", "assign", "correct"]


def test_seeds_differ_by_stage_and_follow_the_one_seed() -> None:
    seeds = {inputs.stage_seed(seed, stage) for seed in (0, 1) for stage in STAGES}
    assert len(seeds) == 2 * len(STAGES)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_everything_is_missing_at_first_and_fresh_at_last(
    finished: tuple[Config, Path], tmp_path: Path
) -> None:
    found = states(finished[0], tmp_path)
    assert found.pop("correct").state == "skipped"
    assert {s.state for s in found.values()} <= {"missing", "blocked"}
    found = states(*finished)
    assert found.pop("caption").state == found.pop("correct").state == "skipped"
    assert {s.state for s in found.values()} == {"fresh"}


def test_a_changed_setting_is_named_and_what_follows_waits(finished: tuple[Config, Path]) -> None:
    config, folder = finished
    found = states(override(config, ["assign.temperature=0.7"]), folder)
    assert found["refine"].state == "fresh"
    assert found["assign"].state == "stale"
    assert found["assign"].reasons[0].startswith("assign.temperature")
    assert found["assign"].reasons[0].endswith("-> 0.7")
    assert found["evaluate"].state == "blocked"


def test_harmless_settings_change_nothing(finished: tuple[Config, Path]) -> None:
    config, folder = finished
    found = states(override(config, ["embed.workers=3", "compute.device=cpu"]), folder)
    assert {s.state for s in found.values()} == {"fresh", "skipped"}


def test_a_given_k_makes_estimate_k_needless(blobs: Path, tmp_path: Path) -> None:
    config = config_of(blobs, "assign.k=4")
    result = run_all(config, run_dir=tmp_path)
    assert "k_estimate" not in result.artifacts
    skipped = next(event for event in result.events if event.stage == "estimate-k")
    assert skipped.action == "skipped"
    assert "assign.k" in skipped.reasons[0]


def test_an_unknown_space_is_named(blobs: Path, tmp_path: Path) -> None:
    config = config_of(blobs, "refine.space=clip")
    with pytest.raises(UsageError, match=r"refine\.space is 'clip', but .* has features"):
        run_all(config, run_dir=tmp_path)


def test_a_source_that_is_gone_leaves_the_run_usable(finished: tuple[Config, Path]) -> None:
    config, folder = finished
    found = plan.examine(config, RunDirectory(folder), None)
    assert {s.state for s in found} == {"fresh", "skipped"}


def test_a_limit_is_part_of_what_the_source_holds(
    blobs: Path, finished: tuple[Config, Path]
) -> None:
    config, folder = finished
    limited = override(config, ["source.limit=60"])
    assert limited.source == SourceConfig(path=str(blobs), limit=60)
    assert states(limited, folder)["embed"].reasons == ("60 removed images",)


def test_labels_added_to_given_features_rerun_evaluate_only(blobs: Path, tmp_path: Path) -> None:
    path = tmp_path / "blobs.npz"
    features = np.load(blobs)["features"]
    np.savez(path, features=features)
    config = config_of(path, "assign.k=3", "assign.features=embeddings")
    run_all(config, run_dir=tmp_path / "run")
    np.savez(path, features=features, labels=np.repeat(np.arange(3), 40))
    found = states(config, tmp_path / "run")
    assert {s.stage for s in found.values() if s.needs_run} == {"evaluate"}
    result = run_all(config, run_dir=tmp_path / "run")
    actions = {event.stage: event.action for event in result.events}
    assert actions.pop("embed") == "refreshed"
    assert actions.pop("evaluate") == "ran"
    assert set(actions.values()) == {"fresh", "skipped"}
    assert result.metrics["annealed"]["accuracy"] == 1.0


def test_what_can_be_done_without_is_read_once_it_is_there(blobs: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "blobs.npz"
    np.savez(labelled, features=np.load(blobs)["features"], labels=np.repeat(np.arange(3), 40))
    config, run = (
        config_of(labelled, "assign.k=3", "assign.features=embeddings"),
        RunDirectory(tmp_path / "run"),
    )
    for name in ("embed", "assign", "evaluate", "evaluate"):
        last = run_stage(name, config, run.folder)
    assert last.events[0].action == "fresh"
    assert list(artifact.read(run.artifact(Metrics), Metrics).retrieval_space) == ["embeddings"]
    assert inputs.describes(Metrics, run)
    run_stage("refine", config, run.folder)
    assert not inputs.describes(Metrics, run)
    assert states(config, run.folder)["evaluate"].reasons == ("refined.h5 /features changed",)
    run_stage("evaluate", config, run.folder)
    found = artifact.read(run.artifact(Metrics), Metrics)
    assert list(found.retrieval_space) == ["embeddings", "refined"]


def test_what_speaks_of_other_images_is_done_without(blobs: Path, tmp_path: Path) -> None:
    config = config_of(blobs, "assign.k=3", "assign.features=embeddings")
    run_all(config, run_dir=tmp_path)
    fewer = override(config, ["source.limit=60"])
    for name in ("embed", "assign"):
        run_stage(name, fewer, tmp_path)
    stage = STAGES["evaluate"]
    assert inputs.resolve(stage, fewer, RunDirectory(tmp_path)).arguments()["refined"] is None
    run_stage("evaluate", fewer, tmp_path)
    run_stage("refine", fewer, tmp_path)
    again = inputs.resolve(stage, fewer, RunDirectory(tmp_path)).arguments()
    assert again["refined"].shape[0] == 60


def test_what_a_stage_reads_is_looked_up_once(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seeded, opened = config_of(blobs, "assign.k=3"), list[str](), list[Path]()
    run_all(config, run_dir=tmp_path, until="assign")
    stage_seed, file = inputs.stage_seed, h5py.File

    def counted_seed(seed: int, stage: str) -> int:
        seeded.append(stage)
        return stage_seed(seed, stage)

    def counted_file(path: Path, *arguments: object, **more: object) -> h5py.File:
        opened.append(path)
        return file(path, *arguments, **more)

    monkeypatch.setattr(inputs, "stage_seed", counted_seed)
    monkeypatch.setattr(h5py, "File", counted_file)
    resolved = inputs.resolve(STAGES["evaluate"], config, RunDirectory(tmp_path))
    assert resolved.identity() is resolved.identity()
    looked_up = len(opened)
    assert looked_up <= MOST_OPENED
    assert plan.state_of_resolved(resolved).state == "missing"
    assert len(opened) == looked_up
    assert seeded == ["evaluate"]

"""A run that an earlier version made, at commit b7529ba: its settings have other names by now.

`tests/data/kept_run` was made there from its features.npz, by `clusterpipe run-all features.npz`
with assign.methods = spherical-kmeans and spectral, assign.seeds = 2, assign.neighbours = 12,
assign.scp_alpha = 2, assign.scp_start = random, assign.exemplars = 2, refine.epochs = 1 and
embed.dtype = float32.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import h5py
import pytest

from clusterpipe.cache.provenance import Identity, differences, stored_identity
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline.engine.config import Config, affecting, load, override
from clusterpipe.pipeline.engine.renamed import brought_up
from clusterpipe.stages import STAGES
from clusterpipe.stages.assign import AssignConfig
from clusterpipe.stages.declaration import Stage, option

KEPT = Path(__file__).parents[2] / "data" / "kept_run"
STAGE = STAGES["assign"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    shutil.copytree(KEPT, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def kept(run: RunDirectory) -> Config:
    return load(Config(), run.config, "run", outlived=True)


def stored(run: RunDirectory, stage: Stage = STAGE) -> Identity:
    """The identity on an artifact, which may have another schema by now."""
    with h5py.File(run.artifact(stage.writes)) as file:
        return stored_identity(dict(file.attrs))


def reasons(was: Identity, settings: AssignConfig) -> list[str]:
    now = replace(was, config=affecting(settings))
    return [str(reason) for reason in differences(brought_up(was, now, STAGE, settings), now)]


def test_it_is_opened_with_the_settings_it_was_made_with(run: RunDirectory) -> None:
    config = kept(run)
    assert config.get("assign.spectral.neighbours") == 12
    assert config.get("assign.scp.alpha") == 2
    assert config.get("assign.methods") == ("spherical-kmeans", "spectral")


def test_its_settings_are_those_of_today(run: RunDirectory) -> None:
    assert reasons(stored(run), kept(run).of("assign")) == []


def test_a_setting_of_a_head_that_does_not_run_makes_nothing_stale(run: RunDirectory) -> None:
    config = override(kept(run), ["assign.temi.preset=paper", "assign.scp.alpha=9"])
    assert reasons(stored(run), config.of("assign")) == []


def test_a_setting_of_a_head_that_runs_is_named_by_its_present_name(run: RunDirectory) -> None:
    config = override(kept(run), ["assign.spectral.neighbours=15"])
    assert reasons(stored(run), config.of("assign")) == ["assign.spectral.neighbours 12 -> 15"]


def test_another_head_is_one_reason_and_not_one_per_setting(run: RunDirectory) -> None:
    config = override(kept(run), ['assign.methods=["temi"]'])
    found = reasons(stored(run), config.of("assign"))
    assert found == ['assign.methods ["spherical-kmeans", "spectral"] -> ["temi"]']


def test_what_it_was_made_with_and_nobody_can_set_any_more_makes_it_stale(
    run: RunDirectory,
) -> None:
    was = stored(run)
    odd = replace(was, config={**was.config, "landmarks": 50})
    assert reasons(odd, kept(run).of("assign")) == ["assign.landmarks 50 -> unset"]


@dataclass(frozen=True)
class Later(AssignConfig):
    """Settings of a later version, which has one more."""

    table: ClassVar[str] = "assign"

    novelty: str = option("new", "What there was not yet.", absent="old")


def test_a_setting_of_a_later_version_makes_it_stale_only_if_it_differs(run: RunDirectory) -> None:
    settings = kept(run).of("assign")
    given = {"methods": settings.methods, "heads": settings.heads, "seeds": 2, "exemplars": 2}
    assert reasons(stored(run), Later(**given, novelty="old")) == []
    found = reasons(stored(run), Later(**given))
    assert found == ['assign.novelty "old" -> "new"']


@pytest.mark.parametrize(
    "name", [name for name in STAGES if name not in ("caption", "correct", "levels")]
)
def test_no_stage_has_a_setting_that_differs(name: str, run: RunDirectory) -> None:
    """Versions and schemas of stages may have been raised since: those are other reasons."""
    stage, settings = STAGES[name], kept(run).of(name)
    was = stored(run, stage)
    now = replace(was, config=affecting(settings))
    assert [str(reason) for reason in differences(brought_up(was, now, stage, settings), now)] == []

"""What a run remembers of a command that ends with an error: what has worked."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clusterpipe.cache import errors
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline import Config, run_all, run_stage
from clusterpipe.pipeline.engine.config import load, override
from clusterpipe.pipeline.engine.events import StageEvent

ERRORS = [
    *(kind for kind in vars(errors).values() if hasattr(kind, "exit_code")),
    RuntimeError,
]
ENDING = [kind for kind in ERRORS if kind is not errors.Interrupted]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return settings(tmp_path)


def settings(folder: Path) -> Config:
    label = np.arange(60) % 3
    rows = 5 * np.eye(3, 8)[label] + np.random.default_rng(0).normal(size=(60, 8))
    np.save(folder / "rows.npy", rows.astype(np.float32))
    return override(
        Config(),
        [f"source.path='{folder / 'rows.npy'}'", "assign.features=embeddings", "assign.k=3"],
    )


class Failing:
    """Raises when a stage starts."""

    def __init__(self, stage: str, error: Exception) -> None:
        self.stage, self.error = stage, error

    def __call__(self, event: StageEvent) -> None:
        if (event.stage, event.action) == (self.stage, "starts"):
            raise self.error


def kept(folder: Path) -> Config:
    return load(Config(), RunDirectory(folder).config)


@pytest.fixture(scope="module")
def assigned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A run up to assign; copy it before changing it."""
    home = tmp_path_factory.mktemp("assigned")
    config = settings(home)
    run_all(config, run_dir=home / "run", until="assign")
    return config, home / "run"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDING)
def test_an_error_takes_back_what_has_not_worked(
    kind: type[Exception], assigned: tuple[Config, Path], tmp_path: Path
) -> None:
    config, run = assigned[0], tmp_path / "run"
    shutil.copytree(assigned[1], run)
    before = RunDirectory(run).config.read_bytes()
    tried = override(config, ["assign.k=4", "seed=5"])
    with pytest.raises(kind):
        run_stage("assign", tried, run, tell=Failing("assign", kind("refused")))
    assert RunDirectory(run).config.read_bytes() == before
    assert {path.name for path in run.iterdir()} == {path.name for path in assigned[1].iterdir()}


def test_what_has_worked_before_an_error_is_kept(
    assigned: tuple[Config, Path], tmp_path: Path
) -> None:
    config, run = assigned[0], tmp_path / "run"
    shutil.copytree(assigned[1], run)
    tried = override(config, ["assign.k=4", "evaluate.permutations=2", "curate.neighbours=7"])
    with pytest.raises(errors.UsageError):
        run_all(tried, run_dir=run, tell=Failing("evaluate", errors.UsageError("refused")))
    assert kept(run).get("assign.k") == 4
    assert kept(run).get("evaluate.permutations") == config.get("evaluate.permutations")
    assert kept(run).get("curate.neighbours") == config.get("curate.neighbours")


@pytest.mark.parametrize("kind", ENDING)
def test_a_first_run_that_fails_is_none(
    kind: type[Exception], config: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(kind):
        run_all(config, run_dir=run, tell=Failing("embed", kind("refused")))
    assert not RunDirectory(run).config.exists()
    tried = override(config, ["assign.k=4"])
    with pytest.raises(kind):
        run_all(tried, run_dir=run, until="assign", tell=Failing("assign", kind("refused")))
    assert kept(run).source == config.source
    assert kept(run).get("assign.k") == 0
    assert {path.name for path in run.glob("*") if "tmp" in path.name} == set()


def test_an_interrupted_run_keeps_all(config: Config, tmp_path: Path) -> None:
    """The same command goes on, and so does one that only names the run."""
    run = tmp_path / "run"
    with pytest.raises(errors.Interrupted):
        run_all(config, run_dir=run, tell=Failing("embed", errors.Interrupted("stopped")))
    assert kept(run).get("assign.k") == 3
    assert {path.name for path in run.iterdir()} == {".lock", "pipeline.toml"}

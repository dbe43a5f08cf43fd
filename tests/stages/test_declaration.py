"""A setting is checked where it is declared, for Python as for the shell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import SourceConfig, open_source
from clusterpipe.pipeline import run_all
from clusterpipe.pipeline.engine.config import Config, override
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.caption import CaptionConfig, caption
from clusterpipe.stages.curate import CurateConfig, curate
from clusterpipe.stages.declaration import check, option
from clusterpipe.stages.embed import EmbedConfig, embed
from clusterpipe.stages.estimate_k import EstimateKConfig, estimate_k
from clusterpipe.stages.evaluate import EvaluateConfig, evaluate
from clusterpipe.stages.refine import RefineConfig, refine

ROWS = np.eye(3, 6)[np.arange(12) % 3]
WRONG = [
    (EmbedConfig(dtype="float23"), "embed.dtype is one of .*did you mean float32"),
    (EstimateKConfig(method="eigngap"), "estimate_k.method .*did you mean eigengap"),
    (EstimateKConfig(sample=1), "estimate_k.sample must be at least 2, not 1"),
    (RefineConfig(preset="scaleable"), "refine.preset .*did you mean scalable"),
    (RefineConfig(epsilon_squared=0.0), "refine.epsilon_squared must be above 0, not 0"),
    (AssignConfig(features="refned"), "assign.features .*did you mean refined"),
    (AssignConfig(seeds=True), "assign.seeds takes a whole number, not True"),
    (CaptionConfig(methods=("vot",)), "caption.methods .*did you mean vote"),
    (EvaluateConfig(features="refine"), "evaluate.features .*did you mean refined"),
    (CurateConfig(outliers=1.0), "curate.outliers must be below 1, not 1"),
    (CurateConfig(outliers=float("nan")), "curate.outliers must be at least 0, not nan"),
]


def called(config: Any, folder: Path) -> Any:
    """The stage that these settings are of, on twelve rows."""
    runs: dict[str, Callable[[], Any]] = {
        "embed": lambda: embed(open_source(SourceConfig(limit=2)), config, folder=folder),
        "estimate_k": lambda: estimate_k(ROWS, config),
        "refine": lambda: refine(ROWS, config),
        "assign": lambda: assign(ROWS, 3, config),
        "caption": lambda: caption(ROWS, np.arange(12) % 3, "packaged:x", config),
        "evaluate": lambda: evaluate(assign(ROWS, 3), ROWS, config),
        "curate": lambda: curate(ROWS, config),
    }
    return runs[config.table]()


@pytest.mark.parametrize(("config", "message"), WRONG, ids=[m for _, m in WRONG])
def test_a_stage_refuses_a_wrong_value_and_names_the_right_one(
    config: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        called(config, tmp_path)


@pytest.mark.parametrize(("config", "message"), WRONG, ids=[m for _, m in WRONG])
def test_a_run_refuses_it_before_anything_is_done(
    config: Any, message: str, tmp_path: Path
) -> None:
    settings = Config(stages={**Config().stages, config.table: config})
    with pytest.raises(UsageError, match=message):
        run_all(settings, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_shell_and_python_say_the_same() -> None:
    with pytest.raises(UsageError) as from_python:
        check(EstimateKConfig(cells=1))
    with pytest.raises(UsageError) as from_the_shell:
        override(Config(), ["estimate_k.cells=1"])
    assert str(from_python.value) == str(from_the_shell.value)


@dataclass(frozen=True)
class Table:
    table: ClassVar[str] = "table"

    share: float = option(0.5, "a share", above=0, most=1)
    words: tuple[str, ...] = option((), "some words", choices=("one", "two"))
    count: int = option(1, "a number")


def test_values_of_a_like_type_become_the_declared_one() -> None:
    given = Table(share=1, words=["two"], count=np.int64(3))  # type: ignore[arg-type]
    found = check(given)
    assert found == Table(1.0, ("two",), 3)
    assert (type(found.share), type(found.words), type(found.count)) == (float, tuple, int)
    assert check(Table(words="one")).words == ("one",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"share": 0}, {"share": 1.1}, {"words": ("too",)}, {"count": 1.5}]
)
def test_bounds_hold_at_their_edges(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"table.{next(iter(wrong))}"):
        check(Table(**wrong))
    assert check(Table(share=1.0)).share == 1

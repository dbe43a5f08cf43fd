"""Turns a pile of unlabelled images into named clusters.

    import clusterpipe as cp

    run = cp.run("photos")  # what `clusterpipe run-all photos` does, bars and all
    run = cp.open("runs/photos")  # a run that is there
    run.table(), run.clusters, run.captions
    run.search("red bicycle"), run.predict("new.jpg"), run.show(3)

    cp.FeatureClusters().fit_predict(features)  # features (n, d) from anywhere

Names in `__all__` are stable: they change with a major version only, and are deprecated before.
Everything else is internal. Each is imported when it is first used, so that `import clusterpipe`
is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clusterpipe.cache.errors import (
        ClusterpipeError,
        DamagedArtifact,
        Interrupted,
        MissingArtifact,
        RunLocked,
        SourceError,
        StorageError,
        UnreadableImage,
        UsageError,
        WeightsMissing,
    )
    from clusterpipe.estimator import FeatureClusters
    from clusterpipe.pipeline.engine.config import Config
    from clusterpipe.runs import Run, run
    from clusterpipe.runs import open_run as open  # noqa: A004
    from clusterpipe.stages.assign import AssignConfig, assign
    from clusterpipe.stages.caption import CaptionConfig, caption
    from clusterpipe.stages.correct import CorrectConfig, correct
    from clusterpipe.stages.curate import CurateConfig, curate
    from clusterpipe.stages.embed import EmbedConfig, embed
    from clusterpipe.stages.estimate_k import EstimateKConfig, estimate_k
    from clusterpipe.stages.evaluate import EvaluateConfig, evaluate
    from clusterpipe.stages.levels import LevelsConfig, levels
    from clusterpipe.stages.refine import RefineConfig, refine

    __version__: str

__all__ = [
    "AssignConfig",
    "CaptionConfig",
    "ClusterpipeError",
    "Config",
    "CorrectConfig",
    "CurateConfig",
    "DamagedArtifact",
    "EmbedConfig",
    "EstimateKConfig",
    "EvaluateConfig",
    "FeatureClusters",
    "Interrupted",
    "LevelsConfig",
    "MissingArtifact",
    "RefineConfig",
    "Run",
    "RunLocked",
    "SourceError",
    "StorageError",
    "UnreadableImage",
    "UsageError",
    "WeightsMissing",
    "__version__",
    "assign",
    "caption",
    "correct",
    "curate",
    "embed",
    "estimate_k",
    "evaluate",
    "levels",
    "open",
    "refine",
    "run",
]

_STAGES = (
    "embed",
    "estimate_k",
    "refine",
    "assign",
    "correct",
    "levels",
    "caption",
    "evaluate",
    "curate",
)
_CONFIGS = {f"{stage.title().replace('_', '')}Config": stage for stage in _STAGES}
_HOMES = {
    "Config": "pipeline.engine.config",
    "FeatureClusters": "estimator",
    "Run": "runs",
    "open": "runs",
    "run": "runs",
    **{stage: f"stages.{stage}" for stage in _STAGES},
    **{config: f"stages.{stage}" for config, stage in _CONFIGS.items()},
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'clusterpipe' has no attribute {name!r}")
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("clusterpipe")
    else:
        home = import_module(f"clusterpipe.{_HOMES.get(name, 'cache.errors')}")
        value = getattr(home, "open_run" if name == "open" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

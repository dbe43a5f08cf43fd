"""How a stage is declared: one frozen config dataclass and `@stage` on one function.

From the declaration come the Python function, the command, the node of `run-all` and the row of
`status`. This module imports no science, so that the command line answers at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeAlias, TypeVar

from clusterpipe.cache.schema import Artifact

P = ParamSpec("P")
R = TypeVar("R")


def option(
    default: Any, help: str, *, affects_result: bool = True, choices: tuple[str, ...] = ()
) -> Any:
    """A config field: its default, its help text, and whether it can change the result.

    Fields that cannot (device, workers, batch size) stay out of the cache key.
    """
    metadata = {"help": help, "affects_result": affects_result, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Input:
    """Where an argument of a stage comes from: dataset or attribute `field` of `artifact`.

    `field` is the path within the file; `{space}` stands for the configured space, `{words}` for
    the same or, if none is configured, one that words can be scored in, and `{word_space}` for that
    of the setting `word_space`. The placeholder alone is the space's name. A path that ends in
    `@name` is an attribute. `optional` inputs are None when absent, be it the field, the artifact,
    or an artifact that was made from what the others no longer hold.
    """

    artifact: type[Artifact]
    field: str
    optional: bool = False


@dataclass(frozen=True)
class FileInput:
    """A file that the user named in a setting and the stage opens by itself: its content is part of
    the key. No argument."""

    path: str


@dataclass(frozen=True)
class FolderInput:
    """A folder of the run, where a stage keeps what it need not compute twice; not in the key."""

    name: str


Source: TypeAlias = Input | FileInput | FolderInput


@dataclass(frozen=True)
class Stage:
    """What is known of a stage without importing what it needs to run."""

    name: str
    version: int
    function: Callable[..., Any]
    config: type
    reads: Callable[[Any], Mapping[str, Source]]
    writes: type[Artifact]
    skip: "Skip"
    extend: "Extend | None"
    resumes: bool
    summary: str

    @property
    def table(self) -> str:
        """The name of the stage's table of settings."""
        return self.name.replace("-", "_")


# From the configs of all stages, and a way to read an Input, to the reason for not running.
Skip = Callable[[Mapping[str, Any], Callable[[Input], Any]], str | None]

# From what a stage made of the first `before` images, and its arguments, to the same of all images,
# without fitting anything: extend(previous, arguments, before).
Extend = Callable[[Any, Mapping[str, Any], int], Any]

STAGES: dict[str, Stage] = {}


def always_runs(stages: Mapping[str, Any], read: Callable[[Input], Any]) -> str | None:
    """The default: no reason to skip."""
    return None


def stage(
    *,
    version: int,
    config: type,
    reads: Callable[[Any], Mapping[str, Source]],
    writes: type[Artifact],
    skip: Skip = always_runs,
    extend: Extend | None = None,
    resumes: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Registers the function as the stage that writes `writes`, and returns it unchanged.

    `extend` tells how its artifact takes in images that are appended to a run. A stage that
    `resumes` takes a `checkpoint`, a place for unfinished work, and goes on from what is there.
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        summary = (function.__doc__ or "").strip().splitlines()[0]
        STAGES[writes.stage] = Stage(
            writes.stage, version, function, config, reads, writes, skip, extend, resumes, summary
        )
        return function

    return register

"""Declaration of a stage: one frozen config dataclass and `@stage` on one function.

From the declaration come the Python function, the command, the node of `run-all` and the row of
`status`. This module imports no science, so that the command line answers at once.
"""

import difflib
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeAlias, TypeVar, get_origin

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.inventory import Survey
from clusterpipe.cache.schema import Artifact

P = ParamSpec("P")
R = TypeVar("R")


def option(
    default: Any,
    help: str,
    *,
    affects_result: bool = True,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    absent: Any = MISSING,
    once: bool = False,
) -> Any:
    """Declare a setting: its default, its help text, the values it takes, whether it is in the key.

    Settings that cannot change the result (device, workers, batch size) stay out of the cache key.
    choices: the words it takes; least and most (inclusive), above and below (exclusive): bounds of
    a number; each holds for every item of a tuple. absent: what a run that was kept before there
    was this setting is taken to have been made with, so that it stays fresh. once: a run does not
    remember it.
    """
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    metadata = {
        "help": help,
        "affects_result": affects_result,
        "choices": choices,
        "bounds": {words: bound for words, bound in bounds.items() if bound is not None},
        "absent": absent,
        "once": once,
    }
    return field(default=default, metadata=metadata)


C = TypeVar("C")


def check(config: C) -> C:
    """Return the settings with every value of its declared type: a list becomes a tuple, 1 is 1.0.

    config: a frozen dataclass of `option` fields with `table`, the name of its table; the tables in
    its `heads`, if it has any, are checked as well. Raises UsageError, with the nearest word, for a
    value that a setting does not take.
    """
    values = {
        spec.name: checked(spec, getattr(config, spec.name), f"{config.table}.{spec.name}")  # type: ignore[attr-defined]
        for spec in options_of(config)
    }
    if hasattr(config, "heads"):
        values["heads"] = {table: check(head) for table, head in config.heads.items()}
    return replace(config, **values)  # type: ignore[type-var]


def checked(spec: Field[Any], value: Any, key: str) -> Any:
    """Return the value of one setting as the type it declares. Raises UsageError, naming `key`."""
    if get_origin(spec.type) is not tuple:
        return _item(spec, spec.type, value, key)
    items = value if isinstance(value, list | tuple) else [value]
    element = spec.type.__args__[0]  # type: ignore[union-attr]
    return tuple(_item(spec, element, item, key) for item in items)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return '; did you mean ...?' with the most similar of the words; empty if none is near."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _item(spec: Field[Any], wanted: Any, value: Any, key: str) -> Any:
    value = _typed(wanted, value, key)
    choices = spec.metadata.get("choices", ())
    if choices and value not in choices:
        near = nearest(str(value), choices)
        raise UsageError(f"{key} is one of {', '.join(choices)}, not {value!r}{near}")
    for words, bound in spec.metadata.get("bounds", {}).items():
        if not _HOLDS[words](value, bound):
            raise UsageError(f"{key} must be {words} {bound:g}, not {value!r}")
    return value


_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}
_KINDS: Mapping[type, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "true or false"),
    str: (str, "text"),
}


def _typed(wanted: type, value: Any, key: str) -> Any:
    kind, words = _KINDS[wanted]
    if wanted is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and wanted is not bool):
        raise UsageError(f"{key} takes {words}, not {value!r}")
    return wanted(value)


def options_of(config: Any) -> tuple[Field[Any], ...]:
    """Return the fields of a config, or of its class, that are settings."""
    return tuple(spec for spec in fields(config) if "help" in spec.metadata)


@dataclass(frozen=True)
class Compute:
    """Device of the stages, leave to fetch weights, and equality to the last bit."""

    table: ClassVar[str] = "compute"

    device: str = option("auto", "Device: auto, cpu, cuda, cuda:1 or mps.", affects_result=False)
    download: bool = option(
        False, "Allow fetching weights that are not on disk.", affects_result=False
    )
    deterministic: bool = option(
        False,
        "Compute in one thread, image by image: equal content ids on any number of threads.",
        affects_result=False,
    )


@dataclass(frozen=True)
class Input:
    """Source of a stage's argument: dataset or attribute `field` of `artifact`.

    `field` is the path within the file; `{space}` stands for the configured space, `{words}` for
    the same or, if none is configured, one that words can be scored in, and `{word_space}` for that
    of the setting `word_space`. The placeholder alone is the space's name. A path that ends in
    `@name` is an attribute. `optional` inputs are None when absent, be it the field, the artifact,
    or an artifact that was made from what the others no longer hold. Those `unless_skipped` are
    None while their own stage has a reason not to run, and then no part of the key.
    """

    artifact: type[Artifact]
    field: str
    optional: bool = False
    unless_skipped: bool = False


@dataclass(frozen=True)
class FileInput:
    """A file that the user named in a setting and the stage opens by itself: its content is part of
    the key, under its path or what it is `known_as`. No argument."""

    path: str
    known_as: str = ""


@dataclass(frozen=True)
class FolderInput:
    """A folder of the run, where a stage keeps what it need not compute twice; not in the key."""

    name: str


@dataclass(frozen=True)
class RunFile:
    """A file of the run that people write and no stage does: its content is part of the key. The
    argument is its path, None where there is none."""

    name: str


@dataclass(frozen=True)
class SourceInput:
    """The images or features that the run is about. Such a stage has a `Survey` of them."""


@dataclass(frozen=True)
class PreviousInput:
    """The stage's own artifact, None if it is absent or damaged: what it may spare; not in the
    key."""


Read: TypeAlias = Input | FileInput | FolderInput | RunFile | SourceInput | PreviousInput


@dataclass(frozen=True)
class Stage:
    """Stage as declared, known without importing what it needs to run."""

    name: str
    version: int
    function: Callable[..., Any]
    config: type
    reads: Callable[[Any], Mapping[str, Read]]
    writes: type[Artifact]
    skip: "Skip"
    extend: "Extend | None"
    outside: "Outside | None"
    resumes: bool
    computes: bool
    seeded: bool
    summary: str

    @property
    def table(self) -> str:
        """The name of the stage's table of settings."""
        return self.name.replace("-", "_")


# From the configs of all stages, and a way to read an Input or RunFile, to the reason for not
# running.
Skip = Callable[[Mapping[str, Any], Callable[[Any], Any]], str | None]

# From what a stage made of the first `before` images, and its arguments, to the same of all images,
# without fitting anything: extend(previous, arguments, before).
Extend = Callable[[Any, Mapping[str, Any], int], Any]


@dataclass(frozen=True)
class Outside:
    """Comparison of a run with its source, by the stage that reads it.

    What an image holds is known only when it has been read, so the source counts in the key by what
    the artifact says of it.

    survey: difference of the source from an artifact, survey(source, artifact, config, known),
    where `known` is the identity that the artifact was made from.
    identity: the source that an artifact was made from, in a digest.
    unfinished: what is there of an artifact that is not, in words, unfinished(source, folder,
    config).
    """

    survey: Callable[[Any, Any, Any, str], Survey]
    identity: Callable[[Any], str]
    unfinished: Callable[[Any, Path, Any], tuple[str, ...]]


STAGES: dict[str, Stage] = {}


def always_runs(stages: Mapping[str, Any], read: Callable[[Input], Any]) -> str | None:
    """The default: no reason to skip."""
    return None


def stage(
    *,
    version: int,
    config: type,
    reads: Callable[[Any], Mapping[str, Read]],
    writes: type[Artifact],
    skip: Skip = always_runs,
    extend: Extend | None = None,
    outside: Outside | None = None,
    resumes: bool = False,
    arguments: Callable[..., dict[str, Any]] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register the function as the stage that writes `writes`, and return it unchanged.

    `arguments` makes those of the function from those that are read, where it takes some together.
    A function with a parameter `compute` is told where to; one with a `seed` gets its own. `extend`
    tells how its artifact takes in images that are appended to a run, `outside` how a stage that
    reads the source compares with it. A stage that `resumes` takes a `checkpoint`, a place for
    unfinished work, and goes on from what is there.
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        summary = (function.__doc__ or "").strip().splitlines()[0]
        takes = signature(function).parameters
        run = function if arguments is None else lambda **read: function(**arguments(**read))  # type: ignore[call-arg]
        STAGES[writes.stage] = Stage(
            writes.stage,
            version,
            run,
            config,
            reads,
            writes,
            skip,
            extend,
            outside,
            resumes,
            "compute" in takes,
            "seed" in takes,
            summary,
        )
        return function

    return register

"""Cluster heads, one small file each: fitted on prepared features, they label any image.

A new head is one file, which says what `protocol.Method` and `protocol.Model` ask for, and one line
in `HEADS`; in `BY_WORDS` if it reads words; in `FINISHING` if it learns what another head says. Its
`option` fields are the table `assign.<name>`. In a notebook: `AssignConfig(methods=(Scp(alpha=3),
"spectral"))`, and `heads.load(clusters).soft(rows)` gives any features the probabilities that
images like them have in the run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from clusterpipe.cache.errors import DamagedArtifact, UsageError
from clusterpipe.cache.schema import Assignment
from clusterpipe.stages.heads.annealed import Annealed
from clusterpipe.stages.heads.coding_length import CodingLength
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.kmeans import KMeans, SphericalKMeans
from clusterpipe.stages.heads.protocol import (
    BLOCK,
    KINDS,
    Common,
    Fits,
    Head,
    Member,
    Method,
    Training,
    Words,
    kind_of,
)
from clusterpipe.stages.heads.scp import Scp
from clusterpipe.stages.heads.self_label import SelfLabel
from clusterpipe.stages.heads.spectral import Spectral
from clusterpipe.stages.heads.temi import Temi
from clusterpipe.stages.heads.text_aided import TextAided, TrainedTextAided
from clusterpipe.stages.heads.turtle import Turtle
from clusterpipe.stages.heads.zero_shot import ZeroShot

__all__ = [
    "ALL",
    "BLOCK",
    "BY_WORDS",
    "FINISHING",
    "HEADS",
    "TABLES",
    "CodingLength",
    "Common",
    "Consensus",
    "Fits",
    "Head",
    "KMeans",
    "Member",
    "Method",
    "Scp",
    "SelfLabel",
    "Spectral",
    "SphericalKMeans",
    "Temi",
    "TextAided",
    "TrainedTextAided",
    "Training",
    "Turtle",
    "Words",
    "ZeroShot",
    "kind_of",
    "load",
    "method",
    "table_of",
    "tables_of",
]

HEADS: Mapping[str, type[Any]] = {
    head.name: head
    for head in (
        Annealed,
        SphericalKMeans,
        KMeans,
        Spectral,
        CodingLength,
        Scp,
        Temi,
        Turtle,
        Consensus,
    )
}

# heads that read words, in the space that has them
BY_WORDS: Mapping[str, type[Any]] = {
    head.name: head for head in (ZeroShot, TextAided, TrainedTextAided)
}
ALL: Mapping[str, type[Any]] = {**HEADS, **BY_WORDS}

# heads that learn the labels of any of these
FINISHING: Mapping[str, type[Any]] = {SelfLabel.name: SelfLabel}
KINDS.update(ALL, **FINISHING)


def method(name: str, tables: Mapping[str, Any] | None = None) -> Method:
    """The method called `name` with its settings among `tables`, else the default ones.

    What features it is to be fitted on, which may follow after a colon, is not its concern.
    """
    kind = KINDS[kind_of(name)]
    given = (tables or {}).get(table_of(kind), kind())
    if given.name == kind.name:
        return given  # type: ignore[no-any-return]
    shared: Method = kind(**{spec.name: getattr(given, spec.name) for spec in fields(kind)})
    return shared


def table_of(head: Any) -> str:
    """The name of a head's table of settings, within that of assign."""
    return str(head.table).partition(".")[2]


# Default settings of every head that has some, by the name of its table.
TABLES: Mapping[str, Any] = {
    table_of(head): head()
    for head in KINDS.values()
    if fields(head) and head is not TrainedTextAided  # it has the table of tac
}


def tables_of(settings: Iterable[Any]) -> dict[str, Any]:
    """All tables, with these `settings` in the place of the default ones. Raises UsageError."""
    given = {}
    for one in settings:
        if getattr(one, "name", "") not in KINDS:
            raise UsageError(f"{one!r} is no head with settings, such as Scp(alpha=3)")
        given[table_of(one)] = one
    return {**TABLES, **{table: one for table, one in given.items() if table in TABLES}}


def load(assignment: Assignment) -> Head:
    """The head that made an assignment: `load(assignment).soft(features)` labels other images.

    Raises DamagedArtifact if its kind is not known here, or its parameters are not those it needs.
    """
    if assignment.head not in KINDS:
        raise DamagedArtifact(
            f"assignments.h5 was made by a head {assignment.head!r} that is not known here: "
            "run `clusterpipe assign` again"
        )
    kind = KINDS[assignment.head].model
    arrays = {"centroid": assignment.centroid, **assignment.parameters}
    try:
        model = kind(temperature=assignment.temperature, **arrays)
    except TypeError as error:
        raise DamagedArtifact(
            f"assignments.h5 lacks what {assignment.head} needs to assign images ({error}): "
            "run `clusterpipe assign` again"
        ) from error
    widths = tuple(int(width) for width in assignment.width)
    return Head(model, assignment.center, assignment.normalised, widths, assignment.cluster)

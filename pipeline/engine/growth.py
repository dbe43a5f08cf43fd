"""Growth of a run: where only images were appended, an artifact need only be extended."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact
from clusterpipe.cache.prefixes import prefix_id
from clusterpipe.cache.provenance import Identity
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignments, Embeddings, Refined
from clusterpipe.cache.sources.table import open_table
from clusterpipe.pipeline.engine.inputs import located
from clusterpipe.stages.declaration import Stage


@dataclass(frozen=True)
class Growth:
    """An artifact knows the first `before` images of the run; `added` came after them."""

    before: int
    added: int


def growth(stage: Stage, run: RunDirectory, was: Identity, now: Identity) -> Growth | None:
    """Growth of the run since the stage ran under `was`; None if anything else changed, too."""
    same = replace(was, inputs=now.inputs) == now and was.inputs.keys() == now.inputs.keys()
    if stage.extend is None or not same or not run.appended.exists():
        return None
    ids = artifact.read_value(run.artifact(Embeddings), Embeddings, "id")
    is_appended = np.isin(ids, list(appended_ids(run)))
    for before in sorted(set(_known_rows(run)), reverse=True):
        if before < len(ids) and is_appended[before:].all() and _had(was, now, before, run):
            return Growth(before, len(ids) - before)
    return None


def appended_ids(run: RunDirectory) -> set[str]:
    """The ids of the images that were appended to the run."""
    return set(open_table(run.appended).manifest.id) if run.appended.exists() else set()


def _known_rows(run: RunDirectory) -> Iterator[int]:
    """Number of images in the artifacts that have a row for each."""
    with suppress(MissingArtifact, DamagedArtifact):
        yield int(artifact.read_value(run.artifact(Refined), Refined, "features").shape[0])
    with suppress(MissingArtifact, DamagedArtifact):
        chosen = artifact.read_value(run.artifact(Assignments), Assignments, "chosen")
        yield len(artifact.read_value(run.artifact(Assignments), Assignments, f"{chosen}/label"))


def _had(was: Identity, now: Identity, before: int, run: RunDirectory) -> bool:
    """True if what was read under `was` are the first `before` rows of what is there now."""
    for name, content in was.inputs.items():
        if now.inputs[name] == content:
            continue
        kind, place = located(name)
        if kind is None:  # a file that the user named
            return False
        path = run.artifact(kind)
        if prefix_id(path, kind, place, before) != content:
            return False
    return True

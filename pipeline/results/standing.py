"""The clusters that a run stands by, and their names: as assigned, or as corrected by a person."""

from dataclasses import dataclass

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import MissingArtifact
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Artifact, Assignment, Assignments, Captions, Corrections
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.stages.standing import CORRECTED, corrected

YOU, GIVEN = "you", "class names"  # origins of captions, beside the captioners


@dataclass(frozen=True)
class Standing:
    """Clusters of a run. `clusters` are those that count, `assigned` those that `method` found;
    they differ where there are corrections."""

    method: str
    assigned: Assignment
    clusters: Assignment
    corrections: Corrections | None = None

    @property
    def name(self) -> str:
        """The row of the metrics that is about these clusters."""
        return CORRECTED if self.corrections else self.method


def standing(run: RunDirectory) -> Standing:
    """The clusters that a run stands by.

    Raises MissingArtifact when there are none yet, or only those of earlier embeddings or
    corrections, and the other errors of `artifact.read`.
    """
    assignments = artifact.read(run.artifact(Assignments), Assignments)
    _refuse_outdated(Assignments, run)
    method = assignments.chosen
    assigned = assignments.methods[method]
    if not run.corrections.exists():
        return Standing(method, assigned, assigned)
    corrections = artifact.read(run.artifact(Corrections), Corrections)
    _refuse_outdated(Corrections, run)
    return Standing(method, assigned, corrected(assigned, corrections), corrections)


def standing_if_current(run: RunDirectory) -> Standing | None:
    """The same, None where there are no current clusters."""
    needed = [Assignments, *([Corrections] if run.corrections.exists() else [])]
    return standing(run) if all(describes(kind, run) for kind in needed) else None


def _refuse_outdated(kind: type[Artifact], run: RunDirectory) -> None:
    if not describes(kind, run):
        raise MissingArtifact(
            f"{run.artifact(kind)} was made from what has changed since: "
            f"run `clusterpipe run-all --run-dir {run.folder}`"
        )


def cluster_captions(run: RunDirectory, found: Standing) -> list[str]:
    """The name that a person gave each cluster, or zero-shot was given, or else its first phrase;
    empty where there is none, or no current one."""
    return [caption for caption, _ in named_clusters(run, found)]


def named_clusters(run: RunDirectory, found: Standing) -> list[tuple[str, str]]:
    """The caption of each cluster and its origin: a person, class names, or a captioner."""
    captions = [*_by_machine(run, found.assigned), *[("", "")] * found.clusters.k]
    titles = found.corrections.title if found.corrections else [""] * found.clusters.k
    return [
        (str(title), YOU) if title else other
        for title, other in zip(titles, captions, strict=False)
    ]


def _by_machine(run: RunDirectory, assigned: Assignment) -> list[tuple[str, str]]:
    if assigned.name is not None:
        return [(str(name), GIVEN) for name in assigned.name]
    if not describes(Captions, run):
        return [("", "")] * assigned.k
    captions = artifact.read(run.artifact(Captions), Captions)
    return [(str(text), captions.chosen) for text in captions.methods[captions.chosen].text[:, 0]]

"""The result of a run as it stands: its images, the clusters it stands by, and their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import (
    Assignment,
    Captions,
    Corrections,
    Curation,
    Embeddings,
    Levels,
    Metrics,
)
from clusterpipe.cache.sources import SourceConfig, file_path, folder_of
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.pipeline.results.standing import named_clusters, standing


@dataclass(frozen=True)
class Results:
    """Row i of the index and of the clusters is the same image; `captions` has one per cluster.

    `folder` is what the paths of the index are relative to; `curation` is None before that stage.
    `clusters` are those the run stands by, corrected ones if there are `corrections`; `origins` has
    the origin of each caption; `levels` are None before that stage.
    """

    run: RunDirectory
    folder: Path
    index: Embeddings
    method: str
    clusters: Assignment
    captions: list[str]
    curation: Curation | None = None
    corrections: Corrections | None = None
    assigned: Assignment | None = None
    origins: Sequence[str] = ()
    levels: Levels | None = None

    @property
    def fitted(self) -> Assignment:
        """The clusters as a method found them."""
        return self.assigned or self.clusters

    def file(self, row: int) -> Path | None:
        """The image's own file; None for what is not a file."""
        stored = self.index.path[row]
        return self.folder / file_path(stored) if stored else None

    def is_gone(self, row: int) -> bool:
        """True if the image had a file of its own that is no longer there."""
        file = self.file(row)
        return file is not None and not file.is_file()

    @cached_property
    def exemplar_rank(self) -> NDArray[np.intp]:
        """For each image (n,) its place among its cluster's exemplars, from 1; 0 for none."""
        rank = np.zeros(len(self.index.id), np.intp)
        for row in self.clusters.exemplar:
            rank[row[row >= 0]] = np.flatnonzero(row >= 0) + 1
        return rank

    @cached_property
    def is_representative(self) -> NDArray[np.bool_]:
        """Mask (n,) of the images that remain when one is kept of each group of duplicates."""
        if self.curation is None:
            return np.ones(len(self.index.id), np.bool_)
        kept = self.curation.group < 0
        kept[self.curation.representative] = True
        if self.corrections is not None:
            kept = _as_told(kept, self.curation.group, self.corrections.kept)
        return np.asarray(kept)

    @cached_property
    def true_class(self) -> list[str | None]:
        """The ground truth of each image by name; None where it is unknown."""
        label, names = self.index.label, self.index.class_name
        if label is None or names is None:
            return [None] * len(self.index.id)
        return [str(names[k]) if k >= 0 else None for k in label.tolist()]

    @property
    def class_names(self) -> list[str]:
        """The true classes; none where there is no ground truth."""
        names = self.index.class_name
        return [] if names is None or self.index.label is None else names.tolist()

    def members(self, cluster: int) -> NDArray[Any]:
        """The rows of a cluster's images, ascending."""
        return np.flatnonzero(self.clusters.label == cluster)


def read_results(run: RunDirectory, source: SourceConfig) -> Results:
    """Reads the result of a run.

    Raises MissingArtifact when there are no clusters yet, or only those of earlier embeddings,
    and the other errors of `artifact.read`.
    """
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    found = standing(run)
    named = named_clusters(run, found)
    curation = None
    if describes(Curation, run):
        curation = artifact.read(run.artifact(Curation), Curation)
    return Results(
        run,
        folder_of(source),
        index,
        found.name,
        found.clusters,
        [caption for caption, _ in named],
        curation,
        found.corrections,
        found.assigned,
        [origin for _, origin in named],
        artifact.read(run.artifact(Levels), Levels) if describes(Levels, run) else None,
    )


def _as_told(kept: NDArray[np.bool_], group: NDArray[Any], told: NDArray[Any]) -> NDArray[np.bool_]:
    """The images (n,) that remain of each group: those a person keeps, if there are any, instead of
    the one found; never those to leave out."""
    chosen = np.isin(group, group[(told > 0) & (group >= 0)]) & (group >= 0)
    return np.asarray((np.where(chosen, False, kept) | (told > 0)) & (told >= 0))


def outdated(run: RunDirectory) -> list[str]:
    """The files of captions, metrics and curation that are there but speak of other images or
    clusters than the run has now."""
    paths = {kind: run.artifact(kind) for kind in (Captions, Metrics, Curation)}
    return [path.name for kind, path in paths.items() if path.exists() and not describes(kind, run)]


def out_of_date(run: RunDirectory) -> list[str]:
    """A sentence for each of `outdated`, with what brings it up to date."""
    return [
        f"{name} is out of date and left out: `clusterpipe run-all --run-dir {run.folder}` brings "
        "it up to date"
        for name in outdated(run)
    ]

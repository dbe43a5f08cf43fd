"""Corrections of a run: from what a person says to acts in its log, and what became of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from clusterpipe.cache import artifact, corrections
from clusterpipe.cache.corrections import Act, BadLine, Images, NamedCluster
from clusterpipe.cache.errors import ClusterpipeError, UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Captions, Corrections, Embeddings
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.events import StageEvent, Tell, nobody
from clusterpipe.pipeline.engine.execute import remembering, up_to_date
from clusterpipe.pipeline.engine.inputs import describes
from clusterpipe.pipeline.results.query_rows import named
from clusterpipe.pipeline.results.reading import Results
from clusterpipe.stages import STAGES

SAMPLE = 64  # images by which an act names a cluster
SHOWN = 3  # images in a sentence


# ---------------------------------------------------------------- what a person says


@dataclass(frozen=True)
class Speaker:
    """Makes acts of what a person says of the clusters that a run stands by."""

    results: Results
    author: str = ""

    def act(
        self,
        kind: str,
        *,
        clusters: Sequence[int] = (),
        images: Sequence[str] = (),
        name: str = "",
        into: int = 0,
        text: str = "",
    ) -> Act:
        """An act on clusters by their numbers, and images by id, path, row or file.

        Raises UsageError for a cluster or an image that the run has not, or too few of them.
        """
        said = Act(
            kind=kind,
            time=now(),
            author=self.author,
            clusters=tuple(map(self.cluster, dict.fromkeys(clusters))),
            images=self.images(images),
            name=name.strip(),
            into=into,
            text=text.strip(),
        )
        try:
            corrections.parsed(corrections.written(said))
        except BadLine as error:
            raise UsageError(str(error).partition(": ")[2]) from error
        return said

    def rejections(self, images: Sequence[str]) -> list[Act]:
        """Acts that take images out of the clusters that they are in, one for each cluster."""
        return self._by_cluster("reject", images)

    def pins(self, images: Sequence[str]) -> list[Act]:
        """Acts that keep images in the clusters that they are in, one for each cluster."""
        return self._by_cluster("pin", images)

    def _by_cluster(self, kind: str, images: Sequence[str]) -> list[Act]:
        rows = [self._row(text) for text in images]
        label, index = self.results.clusters.label, self.results.index
        if out := [str(index.id[row]) for row in rows if label[row] < 0]:
            raise UsageError(f"{out[0]} is in no cluster")
        found: dict[int, list[str]] = {}
        for row in rows:
            found.setdefault(int(label[row]), []).append(str(index.id[row]))
        return [self.act(kind, clusters=[c], images=ids) for c, ids in found.items()]

    def naming(self, rows: Sequence[int], name: str) -> Act:
        """An act that calls the cluster of just these images by a name, once they are one."""
        images = self._named(rows)
        own = NamedCluster(images=dict(list(images.items())[:SAMPLE]), size=len(images))
        return Act(kind="rename", time=now(), author=self.author, clusters=(own,), name=name)

    def cluster(self, number: int) -> NamedCluster:
        """A cluster as acts name it: by its exemplars, then those of lowest digest.

        These are the same, as far as they can, whatever else comes to the cluster or leaves it.
        """
        members = np.flatnonzero(self.results.clusters.label == max(number, 0)).tolist()
        if number < 0 or not members:
            known = np.unique(self.results.clusters.label).tolist()
            raise UsageError(f"there is no cluster {number}: they are {_listed(known)}")
        digest = self.results.index.digest
        exemplars = [int(row) for row in self.results.clusters.exemplar[number] if row >= 0]
        others = sorted(members, key=lambda row: str(digest[row]))
        rows = list(dict.fromkeys([*exemplars, *others]))[:SAMPLE]
        return NamedCluster(images=self._named(rows), size=len(members), number=number)

    def images(self, texts: Sequence[str]) -> Images:
        """The images that texts name. Raises UsageError."""
        return self._named([self._row(text) for text in texts])

    def _row(self, text: str) -> int:
        row = named(text, self.results.index, self.results.run).row
        if row is None:
            raise UsageError(f"{text} is no image of {self.results.run.folder}")
        return row

    def _named(self, rows: Sequence[int]) -> Images:
        index = self.results.index
        return {str(index.id[row]): str(index.digest[row]) for row in rows}


def now() -> str:
    """The time as acts have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _listed(numbers: Sequence[int]) -> str:
    known = [number for number in numbers if number >= 0]
    if known == list(range(len(known))):
        return f"0 to {len(known) - 1}"
    return ", ".join(map(str, known))


# ---------------------------------------------------------------- the log


def undoing(run: RunDirectory, line: int, author: str) -> Act:
    """An act that takes back that of a line; 0 is the last one in force. Raises UsageError."""
    acts = corrections.read_log(run.corrections)
    counts = [number for number, ok in enumerate(corrections.in_force(acts), start=1) if ok]
    if not line and not counts:
        raise UsageError(f"{run.folder} has no corrections to undo")
    if line and not 1 <= line <= len(acts):
        raise UsageError(f"there is no line {line}: the log has {len(acts)}")
    return Act(kind="undo", time=now(), author=author, undoes=line or counts[-1])


def read_acts(file: Path, run: RunDirectory, author: str) -> list[Act]:
    """The acts of a file that the report, or another run of the same images, has written.

    Raises UsageError, naming the line, for one that is no act or speaks of no image of the run.
    """
    before = len(corrections.read_log(run.corrections))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    known = {*index.id, *index.digest}
    try:
        acts = corrections.parsed(text)
        for number, act in enumerate(acts, start=1):
            spoken = [
                images for images in (act.images, *(c.images for c in act.clusters)) if images
            ]
            if any(not known & {*images, *images.values()} for images in spoken):
                raise BadLine(number, f"{run.folder} has none of its images")
    except BadLine as error:
        raise UsageError(f"{file}, {error}; nothing was changed") from error
    if not acts:
        raise UsageError(f"{file} holds no corrections")
    return [
        replace(
            act,
            time=act.time or now(),
            author=act.author or author,
            undoes=act.undoes + before if act.undoes else 0,
        )
        for act in acts
    ]


def record(
    config: Config,
    run: RunDirectory,
    acts: Sequence[Act],
    *,
    progress: Progress = silent,
    tell: Tell = nobody,
) -> list["Logged"]:
    """Adds acts to the run's log and replays it; gives the lines that were added.

    Captions that the run has follow the clusters; metrics do so with the next run-all. Raises
    RunLocked, and the errors of the correct stage.
    """
    with run.locked():
        before = len(corrections.read_log(run.corrections))
        corrections.append(run.corrections, acts)
        with remembering(config, run) as done:
            up_to_date(STAGES["correct"], config, run, None, False, progress, tell)
            done.append(STAGES["correct"])
            if run.artifact(Captions).exists():
                _follow(config, run, progress, tell)
    return list(logged(run))[before:]


def _follow(config: Config, run: RunDirectory, progress: Progress, tell: Tell) -> None:
    """Brings the captions up to date; a text tower that is not there is no reason to fail."""
    try:
        up_to_date(STAGES["caption"], config, run, None, False, progress, tell)
    except ClusterpipeError as error:
        tell(StageEvent("caption", "note", (f"captions were not brought up to date: {error}",)))


# ---------------------------------------------------------------- what became of it


@dataclass(frozen=True)
class Logged:
    """One line of the log, in words. `state` is done, partly, undone, undo or waiting; `reason`
    tells why it, or part of it, does not apply."""

    line: int
    time: str
    author: str
    act: str
    words: str
    state: str
    reason: str = ""


def logged(run: RunDirectory) -> Iterator[Logged]:
    """The lines of the run's log, with what became of each when it was last replayed."""
    acts = corrections.read_log(run.corrections)
    outcome: dict[int, str] = {}
    if describes(Corrections, run):
        found = artifact.read(run.artifact(Corrections), Corrections)
        outcome = dict(zip(found.line.tolist(), map(str, found.outcome), strict=True))
    for number, (act, counts) in enumerate(
        zip(acts, corrections.in_force(acts), strict=True), start=1
    ):
        state = "undo" if act.kind == "undo" else "undone"
        if counts:
            reason = outcome.get(number)
            state = "waiting" if reason is None else "partly" if reason else "done"
        yield Logged(
            number, act.time, act.author, act.kind, words(act), state, outcome.get(number, "")
        )


def words(act: Act) -> str:
    """An act as a sentence."""
    numbers = [str(cluster.number) for cluster in act.clusters]
    cluster = f"cluster {numbers[0]}" if len(numbers) == 1 else f"clusters {', '.join(numbers)}"
    if numbers == ["-1"]:
        cluster = f"the cluster of {_some(list(act.clusters[0].images))}"
    images = _some(list(act.images))
    sentences = {
        "rename": f"{cluster} is called {act.name!r}",
        "merge": f"{cluster} are one",
        "split": f"{cluster} is parted into {act.into}",
        "gather": f"{images}: a cluster of their own",
        "move": f"{images}: to {cluster}",
        "reject": f"{images}: not of {cluster}",
        "pin": f"{images}: always in {cluster}",
        "same": f"{images}: in one cluster",
        "not-same": f"{images}: in different clusters",
        "keep": f"{images}: to be kept of their duplicates",
        "drop": f"{images}: not unique",
        "star": f"{images}: first among the exemplars",
        "note": ": ".join(filter(None, [images or (cluster if numbers else ""), act.text])),
        "undo": f"line {act.undoes} is undone",
    }
    return sentences[act.kind]


def _some(images: Sequence[str]) -> str:
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    return ", ".join(images[:SHOWN]) + more

"""The runs that there are, and what a folder is that is none."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact, UsageError
from clusterpipe.cache.images import IMAGE_SUFFIXES
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import ARTIFACTS, Artifact, Assignments, Corrections, Embeddings
from clusterpipe.pipeline.engine.config import Config, load
from clusterpipe.pipeline.engine.inputs import describes

RUNS = Path("runs")
_LOOKED_AT = 1_000  # files of a folder that may be no run
_NAMED = 5  # runs in a message


def runs(folder: Path = RUNS) -> list[Path]:
    """The run directories in `folder`, the one that was last written to first."""
    found = [path.parent for path in folder.glob("*/pipeline.toml")]
    return sorted(found, key=lambda run: (-last_written(run), run.name))


@dataclass(frozen=True)
class Listed:
    """A run in the list. `images` and `clusters` are None before there are any, `problem` says what
    of it cannot be read."""

    run_dir: str
    source: str
    images: int | None
    clusters: int | None
    method: str
    written: str
    problem: str


def listed(folder: Path) -> Listed:
    """Line of the list for one run; reads a few numbers of its artifacts."""
    run, problem, source, method = RunDirectory(folder), "", "", ""
    images: int | None = None
    clusters: int | None = None
    try:
        source = load(Config(), run.config, outlived=True).source.path
        images = len(_value(run, Embeddings, "width")) if _there(run, Embeddings) else None
        if _there(run, Assignments) and describes(Assignments, run):
            method = str(_value(run, Assignments, "chosen"))
            clusters = int(_value(run, Assignments, f"{method}@effective_k"))
            if run.corrections.exists() and describes(Corrections, run):
                clusters = len({int(c) for c in _value(run, Corrections, "label") if c >= 0})
    except (DamagedArtifact, MissingArtifact, UsageError) as error:
        problem = str(error)
    written = datetime.fromtimestamp(last_written(folder), UTC).isoformat(timespec="seconds")
    return Listed(str(folder), source, images, clusters, method, written, problem)


def _there(run: RunDirectory, kind: type[Artifact]) -> bool:
    return run.artifact(kind).exists()


def _value(run: RunDirectory, kind: type[Artifact], place: str) -> Any:
    return artifact.read_value(run.artifact(kind), kind, place)


def last_written(folder: Path) -> float:
    """Time of the last write to a run, in seconds since 1970."""
    run = RunDirectory(folder)
    files = [run.config, *map(run.artifact, ARTIFACTS)]
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def no_run(folder: Path) -> str:
    """Message about a folder that is no run: its kind, the runs there are, and what can be done."""
    there = runs(RUNS)
    more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    named = ", ".join(map(str, there[:_NAMED])) + more if there else f"none under {RUNS}/"
    advice = f"start one with `clusterpipe run-all FOLDER --run-dir {folder}`"
    if image_in(folder) and not runs(folder):
        advice = f"cluster them with `clusterpipe run-all {folder}`"
    return f"{folder} {_nature(folder)}; the runs here: {named}; {advice}"


def image_in(folder: Path) -> str:
    """The name of an image file in a folder or in one of its folders, by its ending; else empty."""
    for pattern in ("*", "*/*"):
        for path in sorted(islice(folder.glob(pattern), _LOOKED_AT)):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                return path.relative_to(folder).as_posix()
    return ""


def _nature(folder: Path) -> str:
    if not folder.exists():
        return "does not exist"
    if not folder.is_dir():
        return "is a file and no run"
    if below := runs(folder):
        return f"is no run but holds some: {', '.join(map(str, below[:_NAMED]))}"
    if image := image_in(folder):
        return f"is a folder of images, such as {image}, and no run"
    return "is no run: it keeps no settings (pipeline.toml)"

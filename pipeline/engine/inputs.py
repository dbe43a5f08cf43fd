"""Inputs of a stage: from the names in its declaration to places in the run's artifacts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact, UsageError
from clusterpipe.cache.provenance import digest, file_digest
from clusterpipe.cache.rows import ConcatenatedRows, Rows
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import ARTIFACTS, Artifact, Assignments, Embeddings, Refined
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.stages.declaration import FileInput, FolderInput, Input, Source, Stage

CONCATENATE = "concatenate"
# what stands in the place of a space: the setting that names it, of the stage if it does not say of
# which, and whether it must score words
_PLACEHOLDERS = {
    "{space}": ("space", False),
    "{words}": ("space", True),
    "{word_space}": ("word_space", True),
    "{refined_space}": ("refine.space", False),
}
_BY_WORDS = ("open", "closed", "none")


def declared(stage: Stage, config: Config) -> Mapping[str, Source]:
    """Inputs of `stage` under `config`, by parameter name."""
    return stage.reads(config.of(stage.name))


def load(stage: Stage, config: Config, run: RunDirectory) -> dict[str, Any]:
    """The arguments of `stage`; large matrices stay on disk and are read by slices.

    Raises MissingArtifact naming the stage to run first, DamagedArtifact, or UsageError for a
    space that does not exist.
    """
    wanted = declared(stage, config).items()
    return {
        name: value(source, stage, config, run)
        for name, source in wanted
        if not isinstance(source, FileInput)
    }


def value(source: Input | FolderInput, stage: Stage, config: Config, run: RunDirectory) -> Any:
    """One argument of `stage`."""
    if isinstance(source, FolderInput):
        return run.folder / source.name
    if _is_left_out(source, run):
        return None
    path = run.artifact(source.artifact)
    places = _places(source, stage, config, run)
    if source.field in _PLACEHOLDERS:
        return places[0] if len(places) == 1 else CONCATENATE
    found = [artifact.read_value(path, source.artifact, place) for place in places]
    if found[0] is None and not source.optional:
        raise MissingArtifact(f"{path} has no {places[0]}, which {stage.name} reads")
    return side_by_side(found) if len(found) > 1 else found[0]


def side_by_side(parts: Sequence[Rows]) -> Rows:
    """The rows of one space as they are, of several each at unit length."""
    return parts[0] if len(parts) == 1 else ConcatenatedRows(parts)


def content(stage: Stage, config: Config, run: RunDirectory) -> dict[str, str]:
    """Content id of everything `stage` reads, under names fit for a reason.

    Raises like `load`.
    """
    found: dict[str, str] = {}
    for source in declared(stage, config).values():
        if isinstance(source, FileInput):
            found[source.path] = _file_content(Path(source.path))
        if not isinstance(source, Input) or source.field in _PLACEHOLDERS:
            continue
        left_out, path = _is_left_out(source, run), run.artifact(source.artifact)
        for place in _places(source, stage, config, run):
            name = f"{path.name} /{place}".rstrip("/ ")
            found[name] = (
                artifact.ABSENT if left_out else artifact.content_id(path, source.artifact, place)
            )
    return found


def describes(kind: type[Artifact], run: RunDirectory) -> bool:
    """True if the artifact is there and was made from what the others hold now.

    After `--until assign`, captions and metrics may still speak of the clusters before, or be of
    the schema before.
    """
    try:
        inputs = artifact.header(run.artifact(kind), kind).identity.inputs
    except (MissingArtifact, DamagedArtifact):
        return False
    for name, was in inputs.items():
        file, _, place = name.partition(" /")
        source = next((other for other in ARTIFACTS if f"{other.name}.h5" == file), None)
        if source and _content_now(source, place, run) != was:
            return False
    return True


def _content_now(kind: type[Artifact], place: str, run: RunDirectory) -> str:
    path = run.artifact(kind)
    return artifact.content_id(path, kind, place) if path.exists() else artifact.ABSENT


def _is_left_out(source: Input, run: RunDirectory) -> bool:
    """True if it is optional, and its artifact is not there or speaks of other images."""
    return source.optional and not describes(source.artifact, run)


def _places(source: Input, stage: Stage, config: Config, run: RunDirectory) -> list[str]:
    if "{chosen}" in source.field:
        chosen = artifact.read_value(run.artifact(Assignments), Assignments, "chosen")
        return [source.field.replace("{chosen}", chosen)]
    placeholder = next((p for p in _PLACEHOLDERS if p in source.field), None)
    if placeholder is None:
        return [source.field]
    setting, worded = _PLACEHOLDERS[placeholder]
    key = setting if "." in setting else f"{stage.table}.{setting}"
    names = spaces(config.get(key), run, asked_by=key, worded=worded)
    return [source.field.replace(placeholder, space) for space in names]


def spaces(wanted: str, run: RunDirectory, *, asked_by: str, worded: bool = False) -> list[str]:
    """The feature spaces that a setting names: one, all, or if it is empty the first one.

    With `worded`, an empty setting names the first one that words can be scored in. Raises
    UsageError, naming the setting `asked_by`, for a space that does not exist.
    """
    path = run.artifact(Embeddings)
    present = artifact.names(path, Embeddings)
    if not wanted:
        default = str(artifact.read_value(path, Embeddings, "@default_space"))
        return [_worded(path, [default, *present]) if worded else default]
    if wanted == CONCATENATE:
        return present
    if wanted not in present:
        raise UsageError(f"{asked_by} is {wanted!r}, but {path} has {', '.join(present)}")
    return [wanted]


def refined_spaces(run: RunDirectory) -> list[str]:
    """The feature spaces that the run's refined features were made from."""
    header = artifact.header(run.artifact(Refined), Refined)
    return spaces(header.identity.config["space"], run, asked_by="refine.space")


def _worded(path: Path, spaces: list[str]) -> str:
    """The first space that scores any words; else the first that scores its own; else the first."""
    words = {s: str(artifact.read_value(path, Embeddings, f"{s}@words")) for s in spaces}
    return min(words, key=lambda space: _BY_WORDS.index(words[space]))


def _file_content(path: Path) -> str:
    return file_digest(path) if path.is_file() else digest(str(path).encode())

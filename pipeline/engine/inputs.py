"""Inputs of a stage: from the names in its declaration to places in the run's artifacts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact, UsageError
from clusterpipe.cache.provenance import Identity, digest, file_digest
from clusterpipe.cache.rows import ConcatenatedRows, Rows
from clusterpipe.cache.run_directory import CORRECTIONS, RunDirectory
from clusterpipe.cache.schema import ARTIFACTS, Artifact, Assignments, Embeddings, Refined
from clusterpipe.cache.sources import Source
from clusterpipe.pipeline.engine.config import Config, affecting
from clusterpipe.stages.declaration import (
    STAGES,
    FileInput,
    FolderInput,
    Input,
    PreviousInput,
    Read,
    RunFile,
    SourceInput,
    Stage,
)

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
_RUN_FILES = (CORRECTIONS,)


def declared(stage: Stage, config: Config) -> Mapping[str, Read]:
    """Inputs of `stage` under `config`, by parameter name."""
    return stage.reads(config.of(stage.name))


def resolve(
    stage: Stage, config: Config, run: RunDirectory, source: Source | None = None
) -> "Resolved":
    """Inputs of `stage` from the run under `config`; nothing is opened before it is asked for."""
    return Resolved(stage, config, run, source if stage.outside else None)


@dataclass(frozen=True)
class Resolved:
    """Inputs of one stage in one run: as arguments, and as the identity that they give a result.

    Each is looked up once: a run that changes has to be resolved anew. Every method raises
    MissingArtifact naming the stage to run first, DamagedArtifact, or UsageError for a space that
    does not exist.
    """

    stage: Stage
    config: Config
    run: RunDirectory
    source: Source | None = None

    @property
    def settings(self) -> Any:
        """The settings of the stage."""
        return self.config.of(self.stage.name)

    @cached_property
    def reads(self) -> Mapping[str, Read]:
        """The declared inputs by parameter name."""
        return declared(self.stage, self.config)

    def arguments(self) -> dict[str, Any]:
        """The arguments of the stage; large matrices stay on disk and are read by slices."""
        wanted = self.reads.items()
        return {n: self.value(read) for n, read in wanted if not isinstance(read, FileInput)}

    def value(self, read: Read) -> Any:
        """One argument of the stage."""
        match read:
            case FolderInput():
                return self.run.folder / read.name
            case RunFile():
                path = self.run.folder / read.name
                return path if path.exists() else None
            case SourceInput():
                return self.source
            case PreviousInput():
                return self._previous()
            case Input():
                return self._read(read)
        raise TypeError(f"{read} is no argument")

    def _read(self, read: Input) -> Any:
        if self._is_skipped(read) or self._is_left_out(read):
            return None
        path, places = self.run.artifact(read.artifact), self._places(read)
        if read.field in _PLACEHOLDERS:
            return places[0] if len(places) == 1 else CONCATENATE
        found = [artifact.read_value(path, read.artifact, place) for place in places]
        if found[0] is None and not read.optional:
            raise MissingArtifact(f"{path} has no {places[0]}, which {self.stage.name} reads")
        return side_by_side(found) if len(found) > 1 else found[0]

    def _previous(self) -> Artifact | None:
        try:
            return artifact.read(self.run.artifact(self.stage.writes), self.stage.writes)
        except (MissingArtifact, DamagedArtifact):
            return None

    def identity(self, source: str = "") -> Identity:
        """Identity of the stage's artifact, were it made now.

        Where the stage reads the source: from the source of that identity.
        """
        if not self.stage.outside:
            return self._identity
        return replace(self._identity, inputs={"source": source, **self._identity.inputs})

    def identity_of(self, record: Artifact) -> Identity:
        """Identity of what the stage has made just now."""
        outside = self.stage.outside
        return self.identity(outside.identity(record) if outside else "")

    @cached_property
    def _identity(self) -> Identity:
        return Identity(
            stage=self.stage.name,
            stage_version=self.stage.version,
            schema=self.stage.writes.schema,
            seed=stage_seed(self.config.seed, self.stage.name) if self.stage.seeded else 0,
            config=affecting(self.settings),
            inputs=self._content(),
        )

    def _content(self) -> dict[str, str]:
        """Content id of everything that is read, under names fit for a reason; each file is opened
        once."""
        found: dict[str, str] = {}
        places: dict[type[Artifact], list[str]] = {}
        for read in self.reads.values():
            if isinstance(read, FileInput):
                found[read.known_as or read.path] = _file_content(Path(read.path))
            if isinstance(read, RunFile):
                found[read.name] = _file_content(self.run.folder / read.name)
            if not isinstance(read, Input) or read.field in _PLACEHOLDERS:
                continue
            if self._is_skipped(read):
                continue
            if self._is_left_out(read):
                found |= {_named(read.artifact, p): artifact.ABSENT for p in self._places(read)}
            else:
                places.setdefault(read.artifact, []).extend(self._places(read))
        for kind, wanted in places.items():
            content = artifact.content_ids(self.run.artifact(kind), kind, wanted)
            found |= {_named(kind, place): content_id for place, content_id in content.items()}
        return found

    def _is_skipped(self, read: Input) -> bool:
        """True if the stage that writes it does not run here, and this one can do without."""
        if not read.unless_skipped:
            return False
        return bool(STAGES[read.artifact.stage].skip(self.config.stages, self.value))

    def _is_left_out(self, read: Input) -> bool:
        """True if it is optional, and its artifact is not there or speaks of other images."""
        if not read.optional:
            return False
        if read.artifact not in self._described:
            self._described[read.artifact] = describes(read.artifact, self.run)
        return not self._described[read.artifact]

    def _places(self, read: Input) -> list[str]:
        if read.field not in self._found_places:
            self._found_places[read.field] = _places(read, self.stage, self.config, self.run)
        return self._found_places[read.field]

    @cached_property
    def _described(self) -> dict[type[Artifact], bool]:
        return {}

    @cached_property
    def _found_places(self) -> dict[str, list[str]]:
        return {}


def stage_seed(seed: int, stage: str) -> int:
    """The seed of one stage, below 2**31, derived from the one seed and the stage's name."""
    state = blake2b(f"{seed}/{stage}".encode(), digest_size=4)
    return int.from_bytes(state.digest(), "big") >> 1


def side_by_side(parts: Sequence[Rows]) -> Rows:
    """The rows of one space as they are, of several each at unit length."""
    return parts[0] if len(parts) == 1 else ConcatenatedRows(parts)


def describes(kind: type[Artifact], run: RunDirectory) -> bool:
    """True if the artifact is there and was made from what the others hold now.

    After `--until assign`, captions and metrics may still speak of the clusters before, or be of
    the schema before; after the first correction, of clusters as they were assigned.
    """
    try:
        inputs = artifact.header(run.artifact(kind), kind).identity.inputs
    except (MissingArtifact, DamagedArtifact):
        return False
    if not _has_read_what_runs(kind, inputs, run):
        return False
    read: dict[type[Artifact], dict[str, str]] = {}
    for name, was in inputs.items():
        above, place = located(name)
        if above:
            read.setdefault(above, {})[place] = was
        elif name in _RUN_FILES and _file_content(run.folder / name) != was:
            return False
    return all(_content_now(above, places, run) == places for above, places in read.items())


def _has_read_what_runs(kind: type[Artifact], names: Iterable[str], run: RunDirectory) -> bool:
    """True if it was made with those of its inputs `unless_skipped` whose stage runs now, only."""

    def there(read: RunFile) -> Path | None:
        path = run.folder / read.name
        return path if path.exists() else None

    stage = STAGES[kind.stage]
    read = {located(name)[0] for name in names}
    wanted = [
        source.artifact
        for source in stage.reads(stage.config()).values()
        if isinstance(source, Input) and source.unless_skipped
    ]
    return all((other in read) != bool(STAGES[other.stage].skip({}, there)) for other in wanted)


def _content_now(kind: type[Artifact], places: Iterable[str], run: RunDirectory) -> dict[str, str]:
    path = run.artifact(kind)
    if not path.exists():
        return dict.fromkeys(places, artifact.ABSENT)
    return artifact.content_ids(path, kind, places)


def located(name: str) -> tuple[type[Artifact] | None, str]:
    """Artifact and place that a stored identity means by `name`; no artifact for a user's file."""
    file, _, place = name.partition(" /")
    return next((kind for kind in ARTIFACTS if f"{kind.name}.h5" == file), None), place


def _named(kind: type[Artifact], place: str) -> str:
    """The name of a place in an identity: the inverse of `located`."""
    return f"{kind.name}.h5 /{place}".rstrip("/ ")


def _places(read: Input, stage: Stage, config: Config, run: RunDirectory) -> list[str]:
    if "{chosen}" in read.field:
        chosen = artifact.read_value(run.artifact(Assignments), Assignments, "chosen")
        return [read.field.replace("{chosen}", chosen)]
    placeholder = next((p for p in _PLACEHOLDERS if p in read.field), None)
    if placeholder is None:
        return [read.field]
    setting, worded = _PLACEHOLDERS[placeholder]
    key = setting if "." in setting else f"{stage.table}.{setting}"
    names = spaces(config.get(key), run, asked_by=key, worded=worded)
    return [read.field.replace(placeholder, space) for space in names]


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

"""Plan of a run: the state of every stage and its reasons, found without running anything."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from clusterpipe.cache import artifact, inventory
from clusterpipe.cache.checkpoints import CheckpointStore
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact, UsageError
from clusterpipe.cache.inventory import Survey
from clusterpipe.cache.provenance import differences
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Checkpoint, Embeddings
from clusterpipe.cache.sources import Source
from clusterpipe.pipeline.engine import inputs
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.growth import Growth, growth
from clusterpipe.pipeline.engine.inputs import Resolved
from clusterpipe.pipeline.engine.renamed import brought_up
from clusterpipe.stages import STAGES
from clusterpipe.stages.declaration import Input, Outside, Stage

State: TypeAlias = Literal["fresh", "missing", "stale", "partial", "corrupt", "blocked", "skipped"]


@dataclass(frozen=True)
class StageState:
    """One row of `status`.

    `refresh` marks a fresh artifact that is out of date in what nothing is computed from (labels,
    file times): it is rewritten and nothing is computed; `columns` names those of ground truth.
    `growth` marks a stale stage that takes in appended images without running anew.
    """

    stage: str
    state: State
    reasons: tuple[str, ...] = ()
    refresh: bool = False
    growth: Growth | None = None
    columns: tuple[str, ...] = ()

    @property
    def needs_run(self) -> bool:
        return self.state not in ("fresh", "skipped")


def order(config: Config) -> list[Stage]:
    """The stages in the order of the card, each moved back behind what it reads.

    Raises UsageError when settings make stages wait for each other.
    """
    waiting, done = list(STAGES.values()), list[Stage]()
    while waiting:
        ready = (s for s in waiting if upstream(s, config) <= {d.name for d in done})
        following = next(ready, None)
        if following is None:
            raise UsageError(
                f"{' and '.join(s.name for s in waiting)} wait for each other: change what one "
                "of them reads, or give assign.k"
            )
        waiting.remove(following)
        done.append(following)
    return done


def upstream(stage: Stage, config: Config) -> set[str]:
    """The names of the stages whose artifacts `stage` reads."""
    read = inputs.declared(stage, config).values()
    return {above.artifact.stage for above in read if isinstance(above, Input)}


def examine(config: Config, run: RunDirectory, source: Source | None) -> list[StageState]:
    """The state of every stage; a stage behind one that has to run is blocked or missing."""
    states: dict[str, StageState] = {}
    for stage in order(config):
        states[stage.name] = _state_behind(stage, config, run, source, states)
    return list(states.values())


def state_of(
    stage: Stage, config: Config, run: RunDirectory, source: Source | None = None
) -> StageState:
    """The state of one stage, given that what it reads is up to date.

    Without `source`, a stage that reads it is taken as it was.
    """
    return state_of_resolved(inputs.resolve(stage, config, run, source))


def state_of_resolved(resolved: Resolved) -> StageState:
    """`state_of` a stage whose inputs are resolved already."""
    stage, config, run = resolved.stage, resolved.config, resolved.run
    path = run.artifact(stage.writes)
    try:
        if reason := stage.skip(config.stages, resolved.value):
            return StageState(stage.name, "skipped", (reason,))
        if not path.exists():
            kept = _kept(resolved)
            return StageState(stage.name, "partial" if kept else "missing", kept)
        if stage.outside:
            return _state_from_outside(resolved, stage.outside)
        artifact.check(path, stage.writes)
        header, now = artifact.header(path), resolved.identity()
        was = brought_up(header.identity, now, stage, resolved.settings)
        changes = differences(was, now)
        if changes and (grown := growth(stage, run, was, now)):
            added = f"{grown.added:,} appended image" + "s" * (grown.added > 1)
            return StageState(stage.name, "stale", (added,), growth=grown)
        if changes:
            return StageState(stage.name, "stale", (*map(str, changes), *_kept(resolved)))
    except MissingArtifact as error:
        return StageState(stage.name, "blocked", (str(error),))
    except DamagedArtifact as error:
        own = not upstream(stage, config) or _is_damaged(stage, run)
        return StageState(stage.name, "corrupt" if own else "blocked", (str(error),))
    if count := header.attributes.get("appended"):
        note = f"{count:,} images were appended since; {stage.name} --force takes them into the fit"
        return StageState(stage.name, "fresh", (note,))
    return StageState(stage.name, "fresh")


def refuse_damaged(stage: Stage, config: Config, run: RunDirectory) -> None:
    """Raises DamagedArtifact if a stage that this one builds on, however far up, is damaged.

    `status` calls this one blocked then, even where it does not read the damaged artifact itself.
    """
    wanted = upstream(stage, config)
    for above in reversed(order(config)):
        if above.name in wanted:
            wanted |= upstream(above, config)
            state = state_of(above, config, run)
            if state.state == "corrupt":
                raise DamagedArtifact(state.reasons[0])


def _is_damaged(stage: Stage, run: RunDirectory) -> bool:
    try:
        artifact.check(run.artifact(stage.writes), stage.writes)
    except DamagedArtifact:
        return True
    except MissingArtifact:
        return False
    return False


def checkpoint(resolved: Resolved) -> CheckpointStore:
    """The stage's checkpoint store. Raises like `Resolved.identity`."""
    return CheckpointStore(resolved.run.artifact(Checkpoint), resolved.identity())


def _state_behind(
    stage: Stage,
    config: Config,
    run: RunDirectory,
    source: Source | None,
    states: Mapping[str, StageState],
) -> StageState:
    waits_for = [s for s in states.values() if s.stage in upstream(stage, config) and s.needs_run]
    state = state_of(stage, config, run, source)
    if state.state == "skipped" or not waits_for:
        return _foreseen(stage, config, state, states.values())
    if state.state == "corrupt":
        return state
    waiting = tuple(f"waits for {s.stage} ({s.state})" for s in waits_for)
    missing = not run.artifact(stage.writes).exists()
    return StageState(stage.name, "missing" if missing else "blocked", waiting)


def _foreseen(
    stage: Stage,
    config: Config,
    state: StageState,
    before: Iterable[StageState],
) -> StageState:
    """Accounts for ground truth that embed is about to attach without running."""
    if state.state != "fresh" or not any(s.refresh for s in before):
        return state
    read = inputs.declared(stage, config).values()
    fields = {i.field for i in read if isinstance(i, Input) and i.artifact is Embeddings}
    pending = {column for s in before for column in s.columns}
    changed = [c for c in inventory.COLUMNS if c in fields & pending]
    if not changed:
        return state
    return StageState(stage.name, "stale", tuple(f"embeddings.h5 /{c} changed" for c in changed))


def _kept(resolved: Resolved) -> tuple[str, ...]:
    """Progress of a stage that was broken off, in words; empty if it starts anew."""
    if resolved.stage.outside and resolved.source is not None:
        folder = resolved.run.folder
        return resolved.stage.outside.unfinished(resolved.source, folder, resolved.settings)
    if not resolved.stage.resumes:
        return ()
    with suppress(DamagedArtifact):
        if kept := checkpoint(resolved).header():
            return (f"{kept.attributes['done']:,} of {kept.attributes['steps']:,} steps are kept",)
    return ()


def _state_from_outside(resolved: Resolved, outside: Outside) -> StageState:
    """State of a stage that reads the source."""
    stage, source, settings = resolved.stage, resolved.source, resolved.settings
    path = resolved.run.artifact(stage.writes)
    record = artifact.read(path, stage.writes, compact=True)
    stored = artifact.header(path).identity
    if source is None:
        return StageState(stage.name, "fresh", ("the source was not looked at",))
    found = outside.survey(source, record, settings, stored.inputs.get("source", ""))
    now = resolved.identity(found.identity or "")
    stored = brought_up(stored, now, stage, settings)
    changes = [c for c in differences(stored, now) if (c.kind, c.name) != ("input", "source")]
    reasons = [*map(str, changes), *found.reasons()]
    if reasons or found.identity != stored.inputs.get("source"):
        return StageState(stage.name, "stale", tuple(reasons or ["source changed"]))
    notes = _refreshed(found)
    return StageState(stage.name, "fresh", notes, refresh=bool(notes), columns=found.columns)


def _refreshed(found: Survey) -> tuple[str, ...]:
    notes = [f"{column} changed" for column in found.columns]
    if found.touched:
        notes.append(f"{found.touched} file times changed, contents did not")
    if found.others:
        notes.append("files that are no images came or went")
    return tuple(notes)

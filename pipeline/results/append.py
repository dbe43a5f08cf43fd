"""`clusterpipe predict --append`: new images join a run, and nothing of it is fitted anew."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clusterpipe.cache import artifact, inventory, storage
from clusterpipe.cache.errors import SourceError, UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import file_digest
from clusterpipe.cache.rows import take
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings
from clusterpipe.cache.sources import (
    FeatureSource,
    ImageSource,
    file_path,
    folder_of,
    open_source,
    stored_path,
)
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.cache.sources.table import open_table
from clusterpipe.pipeline.engine import plan
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.events import Tell
from clusterpipe.pipeline.engine.execute import up_to_date, with_appended
from clusterpipe.pipeline.engine.growth import appended_ids
from clusterpipe.pipeline.results.predict import Predictions, clustered, opened, soft_clusters
from clusterpipe.pipeline.results.reading import Results, read_results
from clusterpipe.pipeline.results.standing import cluster_captions, standing
from clusterpipe.stages.embed import backbone_specs, store


@dataclass(frozen=True)
class Appended:
    """The clusters of the images that are part of the run now, and the captions of all clusters.

    `known` names, of each image whose content the run held before, the image that it is.
    """

    found: Predictions
    captions: list[str]
    known: Mapping[str, str]


def append(
    config: Config,
    run: RunDirectory,
    source: Path,
    *,
    progress: Progress = silent,
    tell: Tell,
) -> Appended:
    """Embeds the images of `source` into new shards of the run, and labels them by its heads.

    Features, clusters and the number of clusters of the images before stay as they are. The list of
    what was appended is kept in the run, so that a killed append is finished by the same command or
    by run-all. Images of the run are recognised by their content; what cannot be read is skipped.
    Raises UsageError when the run or `source` does not consist of image files, or the run is not up
    to date; SourceError when too many images cannot be read. Both leave the run as it was.
    """
    given = opened(source, progress)
    if not isinstance(given, FileImages):
        raise UsageError(f"{source} holds no image files; only those can be appended to a run")
    with run.locked():
        captions = _captions(run)
        before = run.appended.read_bytes().decode("utf-8") if run.appended.exists() else ""
        sorted_out = _sorted_out(given, config, run, progress)
        try:
            _write_table(run, sorted_out.new)
            _bring_up_to_date(with_appended(config, run), run, progress, tell)
        except (SourceError, UsageError):
            _restore_table(run, before)
            raise
    results = read_results(run, with_appended(config, run).source)
    return Appended(_answer(results, sorted_out), captions, sorted_out.known)


def _captions(run: RunDirectory) -> list[str]:
    """The captions of the clusters, which the images to come do not change."""
    return cluster_captions(run, standing(run))


# ---------------------------------------------------------------- what is new


@dataclass(frozen=True)
class _SortedOut:
    """The given images: id and path of the new ones; the name that the run has for those it
    knows; and why the others cannot be appended."""

    new: dict[str, str]
    known: dict[str, str]
    refused: dict[str, str]


def _sorted_out(
    given: FileImages, config: Config, run: RunDirectory, progress: Progress
) -> _SortedOut:
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    held = dict(zip(reversed(index.digest), reversed(index.id), strict=True))
    settings = config.of("embed")
    left = [store(run.folder, spec, settings).ledger() for spec in backbone_specs(settings)]
    unreadable = dict(zip(index.skipped_digest, index.skipped_reason, strict=True))
    waiting, names = appended_ids(run), {*index.id, *index.skipped_path}
    found = _SortedOut({}, {}, dict(zip(*_skipped(given), strict=True)))
    part = "is a part of a file or a RAW photograph; only whole image files can be appended"
    found.refused.update(dict.fromkeys(given.readers, part))
    with progress("looking for known images", total=len(given.manifest), unit="images") as advance:
        for name, path in _names(given, config):
            try:
                content = file_digest(path)
            except OSError as error:
                found.refused[name] = (error.strerror or type(error).__name__).lower()
                continue
            finally:
                advance(1)
            if content in held:
                found.known[name] = held[content]
            elif content in unreadable:
                found.refused[name] = unreadable[content]
            elif name in names:
                found.refused[name] = "the run holds another image of that name"
            elif name not in waiting and any(content in ledger.place for ledger in left):
                found.refused[name] = "was part of the run before: put it back, and run run-all"
            else:
                found.new[name] = stored_path(str(path))
                held[content] = name
    return found


def _skipped(given: FileImages) -> tuple[list[str], list[str]]:
    return given.manifest.skipped_path.tolist(), given.manifest.skipped_reason.tolist()


def _names(given: FileImages, config: Config) -> Iterator[tuple[str, Path]]:
    """The id of each image in the run, and its file: as the run's own folder would name it, or
    else by the whole path."""
    folder = folder_of(config.source)
    if not config.source.also and not Path(config.source.path).expanduser().is_dir():
        folder = Path(config.source.path).expanduser().absolute()
    whole = [name not in given.readers for name in given.manifest.id]
    for stored in given.manifest.path[whole]:
        path = (given.root / file_path(stored)).absolute()
        inside = folder.is_dir() and path.is_relative_to(folder)
        yield stored_path(str(path.relative_to(folder) if inside else path)), path


# ---------------------------------------------------------------- what is done


def _write_table(run: RunDirectory, new: Mapping[str, str]) -> None:
    """Adds to the list of what was appended."""
    listed = open_table(run.appended).manifest if run.appended.exists() else None
    rows = {} if listed is None else dict(zip(listed.id, listed.path, strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["path", "id"])
    writer.writerows((path, name) for name, path in {**rows, **new}.items())
    if rows or new:
        storage.write_text(run.appended, text.getvalue())


def _restore_table(run: RunDirectory, before: str) -> None:
    if before:
        storage.write_text(run.appended, before)
    else:
        run.appended.unlink(missing_ok=True)


def _bring_up_to_date(config: Config, run: RunDirectory, progress: Progress, tell: Tell) -> None:
    source = open_source(config.source, progress=progress)
    if isinstance(source, FeatureSource) or not isinstance(source, ImageSource):
        raise UsageError(f"{config.source.path} holds features, to which no image can be appended")
    stages = [s for s in plan.order(config) if s.extend or s.outside or s.name == "correct"]
    _refuse_unfinished(config, run, source)
    for stage in stages:
        up_to_date(stage, config, run, source, False, progress, tell)


def _refuse_unfinished(config: Config, run: RunDirectory, source: ImageSource) -> None:
    """Nothing but appended images may be new: else the stages would be fitted anew."""
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    survey = inventory.survey(source, index)
    others = set(source.manifest.id) - {*index.id, *index.skipped_path} - appended_ids(run)
    reasons = [*replace(survey, new=len(others)).reasons()]
    for stage in plan.order(config):
        state = plan.state_of(stage, config, run)
        if stage.extend and state.needs_run and not state.growth:
            reasons.append(f"{stage.name} is {state.state}: {'; '.join(state.reasons)}")
    if reasons:
        raise UsageError(
            f"{run.folder} is not up to date ({', '.join(reasons)}): run `clusterpipe run-all "
            f"--run-dir {run.folder}` first; nothing was appended"
        )


def _answer(results: Results, sorted_out: _SortedOut) -> Predictions:
    """The rows of the given images, by the head that labelled them."""
    index = results.index
    place = {name: row for row, name in enumerate(index.id)}
    known = sorted_out.known
    names = [*(name for name in sorted_out.new if name in place), *known]
    rows = np.array([place[known.get(name, name)] for name in names], np.intp)
    soft = soft_clusters(results)(take(clustered(results).rows, rows))
    reasons = dict(zip(index.skipped_path, index.skipped_reason, strict=True))
    skipped = sorted_out.refused | {n: reasons[n] for n in sorted_out.new if n in reasons}
    return Predictions(names, soft.argmax(axis=1), soft, skipped)


# ---------------------------------------------------------------- settings of this command


def on_device(config: Config, device: str, download: bool) -> Config:
    """The settings, embedding as the options of this command say; the run does not keep that."""
    if device != "auto":
        config = config.set("compute.device", device, "option")
    return config.set("compute.download", True, "option") if download else config

"""A folder per cluster, holding links to its images; originals are only ever read."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.progress import Progress
from clusterpipe.cache.provenance import file_digest
from clusterpipe.cache.sources import ImageSource
from clusterpipe.cache.sources.manifest import safe_name
from clusterpipe.cache.storage import explained, write_text
from clusterpipe.pipeline.pictures import cluster_name
from clusterpipe.pipeline.results import Results

RECORD = ".clusterpipe.json"
UNASSIGNED = "unassigned"


@dataclass(frozen=True)
class Place:
    """Where one image of the run goes: `name` is its folder and file name."""

    row: int
    name: str


@dataclass(frozen=True)
class Folders:
    """How many images were put in folders, and how many are no longer in the source."""

    made: int
    missing: int


def write_folders(
    results: Results, source: ImageSource, folder: Path, *, copy: bool, progress: Progress
) -> Folders:
    """Fills `folder` with one folder per cluster, like 012_red-bicycle.

    An image is a relative symlink to its file; where links fail a hard link, or else a copy, which
    `copy` asks for. What is not a file is written as PNG. What an earlier export put there is
    replaced; anything else there stays, and is never written over. Raises UsageError when `folder`
    holds what no export made, or something where an image should go.
    """
    places = list(_places(results))
    position = {name: row for row, name in enumerate(source.manifest.id)}
    made = {place.name: _digest(results, place.row) for place in places}
    with explained(folder), progress("folders", total=len(places), unit="images") as advance:
        _clear(folder)
        _refuse_taken(folder, places)
        write_text(folder / RECORD, json.dumps(made))
        for place in places:
            target = folder / place.name
            target.parent.mkdir(exist_ok=True)
            if file := results.file(place.row):
                _link(file, target, copy=copy)
            else:
                _draw(source, position.get(results.index.id[place.row]), target)
            made[place.name] = made[place.name] or _content(target)
            advance(1)
        write_text(folder / RECORD, json.dumps(made))
    missing = sum(not (folder / place.name).exists() for place in places)
    return Folders(len(places) - missing, missing)


def _places(results: Results) -> Iterator[Place]:
    """Every image under its own file name, numbered where a cluster has that name already."""
    taken = Counter[str]()
    for row, cluster in enumerate(results.clusters.label.tolist()):
        caption = results.captions[cluster] if cluster >= 0 else ""
        folder = cluster_name(cluster, caption) if cluster >= 0 else UNASSIGNED
        file = results.file(row)
        name = file.name if file else f"{safe_name(str(results.index.id[row]))}.png"
        yield Place(row, f"{folder}/{_numbered(name, folder, taken)}")


def _numbered(name: str, folder: str, taken: Counter[str]) -> str:
    """`name`, or name_2.jpg, name_3.jpg, ...; names that differ in case alone may collide."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - of a name, which may end in a dot
    candidate = name
    while taken[f"{folder}/{candidate}".casefold()]:
        taken[f"{folder}/{name}".casefold()] += 1
        candidate = f"{stem}_{taken[f'{folder}/{name}'.casefold()]}{suffix}"
    taken[f"{folder}/{candidate}".casefold()] += 1
    return candidate


def _digest(results: Results, row: int) -> str:
    """The digest that the image's file has; empty for what is to be drawn, until it is."""
    return str(results.index.digest[row]) if results.index.path[row] else ""


def _refuse_taken(folder: Path, places: Sequence[Place]) -> None:
    for target in (folder / place.name for place in places):
        if target.exists() or target.is_symlink():
            raise UsageError(f"{target} is in the way: remove it, or name another --output")


def _link(original: Path, target: Path, *, copy: bool) -> None:
    """Nothing is made for a file that is gone."""
    if not original.is_file():
        return
    if not copy:
        with suppress(OSError, NotImplementedError):
            target.symlink_to(os.path.relpath(original, target.parent.resolve()))
            return
        with suppress(OSError, NotImplementedError):
            target.hardlink_to(original)
            return
    shutil.copy2(original, target)


def _draw(source: ImageSource, row: int | None, target: Path) -> None:
    if row is None:
        return
    with suppress(UnreadableImage):
        source.decode(source.read(row)).save(target, "PNG")


def _content(target: Path) -> str:
    return file_digest(target) if target.is_file() else ""


def _clear(folder: Path) -> None:
    """Removes what an earlier export made: links, and files that are still as it made them."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise UsageError(f"{folder} is not empty and no export: name another --output")
    for name, digest in _recorded(folder).items():
        path = folder / name
        if path.is_symlink() or (path.is_file() and digest in ("", file_digest(path))):
            path.unlink()
            with suppress(OSError):  # it holds something else
                path.parent.rmdir()


def _recorded(folder: Path) -> dict[str, str]:
    """File names and digests of an earlier export; only places that an export could have made."""
    made: dict[str, str] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return {
        name: digest
        for name, digest in made.items()
        if len(PurePosixPath(name).parts) == 2 and ".." not in name.split("/")
    }

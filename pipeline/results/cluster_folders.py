"""A folder per cluster, holding links to its images; originals are only ever read."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.names import LONGEST, safe_name, shortened
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import file_digest
from clusterpipe.cache.sources import ImageSource
from clusterpipe.cache.storage import explained, replacing, write_text
from clusterpipe.pipeline.results.pictures import cluster_name, positions
from clusterpipe.pipeline.results.reading import Results

RECORD = ".clusterpipe.json"
UNASSIGNED, UNDATED = "unassigned", "undated"


@dataclass(frozen=True)
class Place:
    """Destination of one image of the run: `name` is its folder and file name.

    `digest` is that of its file, empty for what is to be drawn. It is linked to `file`, or drawn
    from its `position` in the source; an image that is gone has neither.
    """

    name: str
    digest: str
    file: Path | None
    position: int | None

    @property
    def gone(self) -> bool:
        return self.file is None and self.position is None


@dataclass(frozen=True)
class Folders:
    """Folders that were written: `sizes` counts the images of each by name.

    `missing` images are no longer in the source; `replaced` files were of an earlier export.
    """

    sizes: Mapping[str, int]
    missing: int
    replaced: int


def write_folders(
    results: Results,
    source: ImageSource,
    folder: Path,
    *,
    rows: Sequence[int] | NDArray[np.intp],
    copy: bool,
    dry_run: bool,
    progress: Progress,
) -> Folders:
    """Fills `folder` with one folder per cluster, like 012_red-bicycle; or only says how.

    An image is a relative symlink to its file; where links fail a hard link, or else a copy, which
    `copy` asks for. What is not a file is written as PNG. `rows` are those of the images to take.
    What an earlier export put there is replaced; anything else there stays, and is never written
    over. Raises UsageError, with nothing changed, when `folder` holds what no export made,
    something where an image should go, or images that a person moved to another cluster.
    """
    places = list(_places(results, source, rows))
    there = [place for place in places if not place.gone]
    with explained(folder):
        earlier = _earlier(folder)
        if not dry_run and (moved := moved_by_hand(folder, results)):
            raise UsageError(
                f"{_counted(moved)} moved in {folder} by hand since the last export: take that in "
                f"with `clusterpipe correct --from-folders {folder} --run-dir "
                f"{results.run.folder}` first, or name another --output"
            )
        _refuse_taken(folder, there, set(earlier))
        made = there
        if not dry_run:
            _remove(earlier)
            made = _fill(folder, there, source, copy=copy, progress=progress)
    sizes = Counter(place.name.partition("/")[0] for place in made)
    return Folders(dict(sorted(sizes.items())), len(places) - len(made), len(earlier))


def by_month_folders(
    results: Results,
    source: ImageSource,
    folder: Path,
    *,
    rows: NDArray[np.intp],
    copy: bool,
    dry_run: bool,
    progress: Progress,
) -> Folders:
    """Fills `folder` with a folder per month, like 2021-06, each as `write_folders` would.

    Images that do not say when they were taken are in `undated`. Raises UsageError as
    `write_folders` does, and where no image says it.
    """
    month = months(results)[rows]
    sizes, missing, replaced = dict[str, int](), 0, 0
    with progress("months", total=len(np.unique(month)), unit="months") as advance:
        for name in np.unique(month):
            done = write_folders(
                results,
                source,
                folder / name,
                rows=rows[month == name],
                copy=copy,
                dry_run=dry_run,
                progress=silent,
            )
            sizes |= {f"{name}/{cluster}": size for cluster, size in done.sizes.items()}
            missing, replaced = missing + done.missing, replaced + done.replaced
            advance(1)
    return Folders(sizes, missing, replaced)


def months(results: Results) -> NDArray[np.str_]:
    """The month (n,) each image was taken in, like 2021-06; `UNDATED` where it is not known.

    Raises UsageError where it is known of none.
    """
    taken = results.index.taken
    if taken is None or not any(taken):
        raise UsageError(
            "no image says when it was taken, or embed.exif was none when they were embedded: "
            "--to folders without --by-month has all of them"
        )
    return np.array([time[:7] or UNDATED for time in taken])


def _places(
    results: Results, source: ImageSource, rows: Sequence[int] | NDArray[np.intp]
) -> Iterator[Place]:
    """Every image under its own file name, numbered where a cluster has that name already."""
    taken = Counter[str]()
    position = positions(source)
    for row in map(int, rows):
        cluster = int(results.clusters.label[row])
        caption = results.captions[cluster] if cluster >= 0 else ""
        folder = cluster_name(cluster, caption) if cluster >= 0 else UNASSIGNED
        file, image = results.file(row), str(results.index.id[row])
        name = (
            f"{folder}/{_numbered(file.name if file else f'{safe_name(image)}.png', folder, taken)}"
        )
        if file:
            there = file if file.is_file() else None
            yield Place(name, str(results.index.digest[row]), there, None)
        else:
            yield Place(name, "", None, position.get(image))


def _fill(
    folder: Path, places: Sequence[Place], source: ImageSource, *, copy: bool, progress: Progress
) -> list[Place]:
    """Makes every place but of images that cannot be read any more; gives those it made.

    The record stands first, so that an interrupted export can be replaced.
    """
    record = {place.name: place.digest for place in places}
    write_text(folder / RECORD, json.dumps(record))
    with progress("folders", total=len(places), unit="images") as advance:
        for place in places:
            target = folder / place.name
            target.parent.mkdir(exist_ok=True)
            if place.file:
                _link(place.file, target, copy=copy)
            else:
                record[place.name] = _drawn(source, place.position, target)
            advance(1)
    write_text(folder / RECORD, json.dumps(record))
    return [place for place in places if record[place.name]]


def _numbered(name: str, folder: str, taken: Counter[str]) -> str:
    """`name`, or name_2.jpg, name_3.jpg, ...; names that differ in case alone may collide."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - of a name, which may end in a dot
    candidate = name
    while taken[f"{folder}/{candidate}".casefold()]:
        taken[f"{folder}/{name}".casefold()] += 1
        ending = f"_{taken[f'{folder}/{name}'.casefold()]}{suffix}"
        candidate = shortened(stem, LONGEST - len(os.fsencode(ending))) + ending
    taken[f"{folder}/{candidate}".casefold()] += 1
    return candidate


def _refuse_taken(folder: Path, places: Sequence[Place], earlier: Container[Path]) -> None:
    targets = [folder / place.name for place in places]
    parents = sorted({target.parent for target in targets})
    taken = [path for path in parents if path.is_symlink() or (path.exists() and not path.is_dir())]
    taken += [path for path in targets if os.path.lexists(path) and path not in earlier]
    if taken:
        raise UsageError(f"{taken[0]} is in the way: remove it, or name another --output")


def _link(original: Path, target: Path, *, copy: bool) -> None:
    if not copy:
        with suppress(OSError, NotImplementedError):
            target.symlink_to(os.path.relpath(original, target.parent.resolve()))
            return
        with suppress(OSError, NotImplementedError):
            target.hardlink_to(original)
            return
    with replacing(target) as temporary:
        shutil.copy2(original, temporary)


def _drawn(source: ImageSource, position: int | None, target: Path) -> str:
    """The digest of the PNG it made; empty when the image cannot be read."""
    if position is None:
        return ""
    with suppress(UnreadableImage), replacing(target) as temporary:
        source.decode(source.read(position)).save(temporary, "PNG")
        return file_digest(temporary)
    return ""


def _earlier(folder: Path) -> list[Path]:
    """Files of an earlier export in `folder`: links, and files that are still as it made them."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    made = {folder / name: digest for name, digest in _recorded(folder).items()}
    there = [path for path, digest in made.items() if _as_made(path, digest)]
    targets = {os.path.realpath(path) for path in there if path.is_symlink()}
    moved = (
        path
        for path in folder.glob("*/*")
        if path.is_symlink() and not path.parent.is_symlink() and path not in made
    )
    return there + [path for path in moved if _was_ours(path, made, targets)]


def _was_ours(path: Path, made: Mapping[Path, str], there: Container[str]) -> bool:
    """True for a link to an image of the export that lies in another place now: a person moved it.

    Its content is that of one which is not where it was.
    """
    target = os.path.realpath(path)
    if target in there or not os.path.isfile(target):  # noqa: PTH113 - a real path, as text
        return False
    gone = {digest for place, digest in made.items() if digest and not os.path.lexists(place)}
    return bool(gone) and file_digest(Path(target)) in gone


def _as_made(path: Path, digest: str) -> bool:
    if path.parent.is_symlink():  # what is behind it is not ours
        return False
    return path.is_symlink() or (path.is_file() and digest in ("", file_digest(path)))


def _recorded(folder: Path) -> dict[str, str]:
    """File names and digests of an earlier export; only places that an export could have made.

    Raises UsageError when there is no such record.
    """
    try:
        made: dict[str, str] = dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, TypeError, ValueError) as error:
        raise UsageError(f"{folder} is not empty and no export: name another --output") from error
    return {
        name: digest
        for name, digest in made.items()
        if len(PurePosixPath(name).parts) == 2 and ".." not in name.split("/")
    }


# ---------------------------------------------------------------- what a person did there


def found_by_hand(folder: Path, results: Results) -> dict[str, list[int]]:
    """Rows of the images that lie in each folder of an export now, by links or by content.

    Raises UsageError where no export has been.
    """
    _recorded(folder)
    of_file = {
        os.path.realpath(file): row
        for row in range(len(results.index.id))
        if (file := results.file(row))
    }
    of_content = {str(digest): row for row, digest in enumerate(results.index.digest)}
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*/*")):
        row = of_file.get(os.path.realpath(path))
        if row is None and path.is_file():
            row = of_content.get(file_digest(path))
        if row is not None:
            found.setdefault(path.parent.name, []).append(row)
    return found


def put_by_export(folder: Path, results: Results) -> dict[int, str]:
    """The folder that the export put each image in, by its row."""
    of_content = {str(digest): row for row, digest in enumerate(results.index.digest)}
    return {
        of_content[digest]: name.partition("/")[0]
        for name, digest in _recorded(folder).items()
        if digest in of_content
    }


def moved_by_hand(folder: Path, results: Results) -> int:
    """Number of images that lie in another folder than the export put them in, and not yet in the
    cluster of those beside them."""
    if not (folder / RECORD).exists():
        return 0
    put, label = put_by_export(folder, results), results.clusters.label
    count = 0
    for name, rows in found_by_hand(folder, results).items():
        strangers = [row for row in rows if put.get(row, name) != name]
        own = [int(label[row]) for row in rows if put.get(row) == name]
        home = Counter(own).most_common(1)[0][0] if own else None
        if name == UNASSIGNED:
            home = -1
        count += sum(home is None or int(label[row]) != home for row in strangers)
    return count


def _counted(images: int) -> str:
    return "an image was" if images == 1 else f"{images:,} images were"


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()
    for folder in {path.parent for path in paths}:
        with suppress(OSError):  # it holds something else
            folder.rmdir()

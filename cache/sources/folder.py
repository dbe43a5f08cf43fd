"""A folder of images, with all its sub-folders."""

import heapq
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.images import IMAGE_SUFFIXES
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.signatures import PDF, RAW, Kind, kind_of
from clusterpipe.cache.sources.account import not_read
from clusterpipe.cache.sources.classes import classes_of
from clusterpipe.cache.sources.files import FileImages, Reader, mtime_of, stamp_of, stored_path
from clusterpipe.cache.sources.manifest import Manifest, strings
from clusterpipe.cache.sources.pages import (
    PdfPage,
    RawPreview,
    TiffPage,
    first_bytes_of,
    is_animated,
    later_pages,
    pdf_pages,
)
from clusterpipe.cache.sources.reading import first_bytes, in_time

RUN_FILES = {".lock", "pipeline.toml"}  # what every run directory holds
_SUFFIXES = tuple(IMAGE_SUFFIXES)
_PAGED = (".tif", ".tiff")
_MOST_BYTES = 64 << 30  # of a TIFF, once for each of its pages
_ANIMATED = (".gif", ".webp", ".apng")


class _Folder(NamedTuple):
    """A folder still to list. In sorted order those reached through a link come last."""

    through_link: bool
    path: str


class _File(NamedTuple):
    """An image of a file; `page` is 0 for the file itself. Page 2 comes before page 10."""

    path: str
    page: int
    size: int
    mtime: int
    stamp: int

    @property
    def id(self) -> str:
        return f"{self.path}#page={self.page}" if self.page else self.path


class _Unusable(NamedTuple):
    path: str
    reason: str


@dataclass
class _Findings:
    limits: Limits
    files: list[_File] = field(default_factory=list)
    unusable: list[_Unusable] = field(default_factory=list)
    others: list[_Unusable] = field(default_factory=list)
    links_out: list[str] = field(default_factory=list)
    readers: dict[str, Reader] = field(default_factory=dict)
    paged: Counter[str] = field(default_factory=Counter)
    animated: list[str] = field(default_factory=list)
    stacks: list[str] = field(default_factory=list)


def open_folder(
    root: Path,
    *,
    labels_from_folders: bool = False,
    follow_links: bool = False,
    limits: Limits = USUAL,
    progress: Progress = silent,
) -> FileImages:
    """The images in `root` and below, as `open_files` has them."""
    return open_files(
        root,
        folders=[root],
        labels_from_folders=labels_from_folders,
        follow_links=follow_links,
        limits=limits,
        progress=progress,
    )


def open_files(
    root: Path,
    *,
    folders: Sequence[Path],
    files: Sequence[Path] = (),
    labels_from_folders: bool = False,
    follow_links: bool = False,
    limits: Limits = USUAL,
    progress: Progress = silent,
) -> FileImages:
    """The images in `folders` and below, and `files`; all of them lie below `root`.

    Their order is that of the code points of their paths from `root`, which are their ids.
    Taken are regular files, and links to them, that end like an image (`IMAGE_SUFFIXES`) or begin
    like one; all others are listed with what they are. Names with a leading dot are ignored, and so
    are run directories, whose pictures would else be found when a run lies among its images. Links
    to folders outside of these are followed with `follow_links` only, and else counted. A folder
    is listed once, however many links lead to it, and under its real path if that is below `root`.
    With `labels_from_folders` folders are the classes, as `classes_of` says. Raises `UsageError`
    when one of `folders` cannot be listed.
    """
    findings = _Findings(limits)
    _scan(findings, root, folders, follow_links, progress)
    for given in files:
        _inspect(given, stored_path(given.relative_to(root).as_posix()), findings)
    others = sorted(set(findings.others))
    found, unusable = sorted(set(findings.files)), sorted(set(findings.unusable))
    ids = strings(file.id for file in found)
    labels, split = classes_of(ids.tolist()) if labels_from_folders else (None, None)
    manifest = Manifest(
        id=ids,
        path=strings("" if file.page else file.path for file in found),
        size=np.array([file.size for file in found], np.int64),
        mtime=np.array([file.mtime for file in found], np.int64),
        stamp=np.array([file.stamp for file in found], np.int64),
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        split=split,
        skipped_path=strings(item.path for item in unusable),
        skipped_reason=strings(item.reason for item in unusable),
        other_path=strings(item.path for item in others),
        other_reason=strings(item.reason for item in others),
        remarks=tuple(_remarks(findings)),
    )
    return FileImages(_name(root), root, manifest, limits, findings.readers)


def _name(root: Path) -> str:
    """The folder's own name, of a link that of the link."""
    return safe_name((root.resolve() if root.name in ("", "..") else root).name)


def _remarks(findings: _Findings) -> Iterator[str]:
    if findings.others:
        yield not_read([item.path for item in findings.others])
    if findings.paged:
        pages, files = findings.paged.total(), len(findings.paged)
        yield (
            f"{pages:,} more page{'s' * (pages > 1)} of {files:,} file{'s' * (files > 1)}, the "
            f"first is {min(findings.paged)}"
        )
    if findings.stacks:
        yield (
            f"the first page of {len(findings.stacks):,} large TIFF, as of {min(findings.stacks)}: "
            "each other page would take reading the whole file"
        )
    if count := len(findings.animated):
        first = f", the first is {min(findings.animated)}" if count > 1 else ""
        only = f", {findings.animated[0]}" if count == 1 else first
        yield f"the first frame of {count:,} animation{'s' * (count > 1)}{only}"
    if count := len(findings.links_out):
        links = "1 link to a folder" if count == 1 else f"{count:,} links to folders"
        yield (
            f"{links} outside of the source not followed, the first is "
            f"{min(findings.links_out)} (--follow-links follows)"
        )


def _scan(
    findings: _Findings,
    root: Path,
    folders: Sequence[Path],
    follow_links: bool,
    progress: Progress,
) -> None:
    inside = None if follow_links else [folder.resolve() for folder in folders]
    named = {_below(folder, root) for folder in folders}
    pending = [_Folder(through_link=False, path=path) for path in sorted(named)]
    visited: set[tuple[int, int]] = set()
    with progress("scanning", total=None, unit="files") as advance:
        while pending:
            folder = heapq.heappop(pending)
            entries = _list(root, folder.path, named, visited, findings)
            for entry in entries:
                _sort_in(entry, folder, pending, findings, inside)
            advance(len(entries))


def _below(folder: Path, root: Path) -> str:
    return "" if folder == root else folder.relative_to(root).as_posix()


def _list(
    root: Path,
    folder: str,
    named: Collection[str],
    visited: set[tuple[int, int]],
    findings: _Findings,
) -> list[os.DirEntry[str]]:
    """Entries of a folder; none on a second visit, when it cannot be listed, or of a run."""
    try:
        status = (root / folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            return []
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(root / folder) as entries:
            found = list(entries)
    except OSError as error:
        if folder in named:
            raise UsageError(f"{root / folder} cannot be read: {error.strerror}") from error
        findings.unusable.append(_Unusable(stored_path(folder), _reason(error)))
        return []
    if folder not in named and {entry.name for entry in found} >= RUN_FILES:
        return []
    return [entry for entry in found if not entry.name.startswith(".")]


def _sort_in(
    entry: os.DirEntry[str],
    folder: _Folder,
    pending: list[_Folder],
    findings: _Findings,
    inside: Sequence[Path] | None,
) -> None:
    """Puts an entry where it belongs: to the folders, those outside of `inside`, or the files."""
    path = f"{folder.path}/{entry.name}".removeprefix("/")
    if _is_folder(entry):
        if inside and entry.is_symlink() and _leads_out(entry, inside):
            findings.links_out.append(stored_path(path))
            return
        heapq.heappush(pending, _Folder(folder.through_link or entry.is_symlink(), path))
    else:
        _inspect(entry, stored_path(path), findings)


def _leads_out(entry: os.DirEntry[str], inside: Sequence[Path]) -> bool:
    target = Path(entry.path).resolve()
    return not any(target.is_relative_to(folder) for folder in inside)


def _inspect(entry: os.DirEntry[str] | Path, path: str, findings: _Findings) -> None:
    """Counts a file: as an image, as one that cannot be read, or as something else."""
    named = entry.name.lower().endswith(_SUFFIXES)
    unread = findings.unusable if named else findings.others
    try:
        status = entry.stat()
        kind = None if named or not stat.S_ISREG(status.st_mode) else _kind(entry, findings.limits)
    except OSError as error:
        reason = "broken link" if entry.is_symlink() else _reason(error)
        unread.append(_Unusable(path, reason))
        return
    if not stat.S_ISREG(status.st_mode):
        findings.others.append(_Unusable(path, "not a regular file"))
    elif not os.access(entry, os.R_OK):
        unread.append(_Unusable(path, "permission denied"))
    elif kind in (RAW, PDF) and kind.readable:
        _open_up(Path(entry), kind, _File(path, 0, *_times(status)), findings)
    elif kind and not kind.image:
        findings.others.append(_Unusable(path, f"not an image: {kind.name or 'of another kind'}"))
    else:
        file = _File(path, 0, *_times(status))
        findings.files.append(file)
        _look_further(Path(entry), file, findings)


def _times(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, mtime_of(status), stamp_of(status)


def _open_up(place: Path, kind: Kind, file: _File, findings: _Findings) -> None:
    """Finds the images in a file that is none to Pillow: a preview, or the pages of a PDF."""
    if kind is RAW:
        findings.files.append(file)
        findings.readers[file.id] = RawPreview(place)
        return
    try:
        count = pdf_pages(place, findings.limits)
    except UnreadableImage as error:
        findings.unusable.append(_Unusable(file.path, str(error)))
        return
    for number in range(count):
        page = file._replace(page=number + 1)
        findings.files.append(page)
        findings.readers[page.id] = PdfPage(place, number)


def _look_further(place: Path, file: _File, findings: _Findings) -> None:
    """Finds the other pages of a TIFF, and notes an animation. What cannot be read now is told
    when it is embedded."""
    suffix = place.suffix.lower()
    with suppress(OSError):
        if suffix in _ANIMATED and is_animated(in_time(first_bytes_of, place, findings.limits)):
            findings.animated.append(file.path)
        offsets = in_time(later_pages, place, findings.limits) if suffix in _PAGED else []
        if len(offsets) * file.size > _MOST_BYTES:
            findings.stacks.append(file.path)
            return
        for number, offset in enumerate(offsets, 2):
            page = file._replace(page=number)
            findings.files.append(page)
            findings.readers[page.id] = TiffPage(place, offset)
            findings.paged[file.path] += 1


def _kind(entry: os.DirEntry[str] | Path, limits: Limits) -> Kind:
    """Kind of a file that is not named as an image. Raises OSError."""
    return kind_of(in_time(first_bytes, Path(entry), limits), entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()

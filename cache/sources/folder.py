"""A folder of images, with all its sub-folders."""

import heapq
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.images import IMAGE_SUFFIXES
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.schema import StringArray
from clusterpipe.cache.sources.files import FileImages, file_path, stored_path
from clusterpipe.cache.sources.manifest import Labels, Manifest, encode_labels, strings

RUN_FILES = {".lock", "pipeline.toml"}  # what every run directory holds
_SUFFIXES = tuple(IMAGE_SUFFIXES)


class _Folder(NamedTuple):
    """A folder still to list. In sorted order those reached through a link come last."""

    through_link: bool
    path: str


class _File(NamedTuple):
    path: str
    size: int
    mtime: int


class _Unusable(NamedTuple):
    path: str
    reason: str


@dataclass
class _Findings:
    files: list[_File] = field(default_factory=list)
    unusable: list[_Unusable] = field(default_factory=list)


def open_folder(
    root: Path,
    *,
    labels_from_folders: bool = False,
    limits: Limits = USUAL,
    progress: Progress = silent,
) -> FileImages:
    """The images in `root` and below, in code-point order of their paths, which are their ids.

    Taken are regular files, and links to them, that end like an image (`IMAGE_SUFFIXES`). Names
    with a leading dot are ignored, and so are run directories, whose pictures would else be found
    when a run lies among its images. A folder is listed once, however many links lead to it, and
    under its real path if that is below `root`. With `labels_from_folders` the first folder below
    `root` is the class; images beside those folders are unlabelled. Raises `UsageError` when
    `root` cannot be listed.
    """
    findings = _scan(root, progress)
    files, unusable = sorted(findings.files), sorted(findings.unusable)
    path = strings(file.path for file in files)
    labels = _labels(path) if labels_from_folders else None
    manifest = Manifest(
        id=path,
        path=path,
        size=np.array([file.size for file in files], np.int64),
        mtime=np.array([file.mtime for file in files], np.int64),
        label=None if labels is None else labels.label,
        class_name=None if labels is None else labels.class_name,
        skipped_path=strings(item.path for item in unusable),
        skipped_reason=strings(item.reason for item in unusable),
    )
    return FileImages(name=_name(root), root=root, manifest=manifest, limits=limits)


def _name(root: Path) -> str:
    """The folder's own name, of a link that of the link."""
    return safe_name((root.resolve() if root.name in ("", "..") else root).name)


def _scan(root: Path, progress: Progress) -> _Findings:
    findings = _Findings()
    pending = [_Folder(through_link=False, path="")]
    visited: set[tuple[int, int]] = set()
    with progress("scanning", total=None, unit="files") as advance:
        while pending:
            folder = heapq.heappop(pending)
            entries = _list(root, folder.path, visited, findings)
            for entry in entries:
                _sort_in(entry, folder, pending, findings)
            advance(len(entries))
    return findings


def _list(
    root: Path, folder: str, visited: set[tuple[int, int]], findings: _Findings
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
        if not folder:
            raise UsageError(f"{root} cannot be read: {error.strerror}") from error
        findings.unusable.append(_Unusable(stored_path(folder), _reason(error)))
        return []
    if folder and {entry.name for entry in found} >= RUN_FILES:
        return []
    return [entry for entry in found if not entry.name.startswith(".")]


def _sort_in(
    entry: os.DirEntry[str], folder: _Folder, pending: list[_Folder], findings: _Findings
) -> None:
    """Puts an entry where it belongs: to the folders, the images, the unusable, or nowhere."""
    path = f"{folder.path}/{entry.name}".removeprefix("/")
    if _is_folder(entry):
        heapq.heappush(pending, _Folder(folder.through_link or entry.is_symlink(), path))
    elif entry.name.lower().endswith(_SUFFIXES):
        _inspect(entry, stored_path(path), findings)


def _inspect(entry: os.DirEntry[str], path: str, findings: _Findings) -> None:
    """Counts an image file, or why it cannot be read; pipes, sockets and devices are left alone."""
    try:
        status = entry.stat()
    except OSError as error:
        reason = "broken link" if entry.is_symlink() else _reason(error)
        findings.unusable.append(_Unusable(path, reason))
        return
    if not stat.S_ISREG(status.st_mode):
        return
    if os.access(entry.path, os.R_OK):
        findings.files.append(_File(path, status.st_size, status.st_mtime_ns))
    else:
        findings.unusable.append(_Unusable(path, "permission denied"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _labels(path: StringArray) -> Labels:
    """The class of each stored path: its first folder; of a path without folders: unknown."""
    folders = (file_path(stored).rpartition("/")[0].partition("/")[0] for stored in path)
    return encode_labels(strings(map(stored_path, folders)), where="folders")

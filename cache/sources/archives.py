"""Images in a zip or tar archive, read where they lie: nothing is unpacked to disk."""

import calendar
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.images import IMAGE_SUFFIXES
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.signatures import HEAD, kind_of
from clusterpipe.cache.sources.entries import Entry, Unread, images_of
from clusterpipe.cache.sources.files import FileImages, stamp_of, stored_path
from clusterpipe.cache.sources.reading import Opened, Stream, read_through

_BLOCK = 512  # of a tar
_NS = 1_000_000_000
_LATEST = 1 << 33  # seconds: year 2242
_DEFLATED = 1032  # how much shorter deflate makes anything, at the most
_LABEL = 256  # bytes of a label
_BESIDE = frozenset({".cls", ".json", ".txt", ".csv", ".xml", ".md", ".html", ".yaml", ".npy"})
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    zlib.error,
)
_BROKEN = (OSError, *_DAMAGE, ValueError, LookupError, MemoryError)


class _Member(NamedTuple):
    """A member of an archive; `refused` says why it is not to be read."""

    name: str
    size: int
    mtime: int
    stamp: int
    opened: Opened
    refused: str = ""


@dataclass(frozen=True)
class _Reading:
    """Reader of one member, held to the limits of a file."""

    archive: Path
    size: int
    opened: Opened

    def __call__(self, limits: Limits, /) -> bytes:
        limits.refuse_bytes(self.size)
        return read_through(self._sound, self.archive, limits)

    @contextmanager
    def _sound(self) -> Iterator[Stream]:
        try:
            with self.opened() as stream:
                yield stream
        except _DAMAGE as error:
            raise UnreadableImage(f"damaged in the archive: {error}") from error


@dataclass
class _Findings:
    entries: dict[str, Entry] = field(default_factory=dict)
    skipped: list[Unread] = field(default_factory=list)
    others: list[Unread] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


def open_archive(
    path: Path,
    *,
    labels_from_folders: bool = False,
    limits: Limits = USUAL,
    progress: Progress = silent,
) -> FileImages:
    """The images in a zip or an uncompressed tar, in its order; their names in it are their ids.

    Taken are members that end or begin like an image, as from a folder; each is held to the limits
    of a file. Of WebDataset's shards `.cls` beside an image is its label. Links, encrypted members,
    names that lead out of the archive and names that come twice are skipped, with the reason.
    Raises `UsageError` for what is no archive, a compressed tar, and members that lie in each
    other.
    """
    findings, remarks = _Findings(), list[str]()
    try:
        members = _zip(path) if zipfile.is_zipfile(path) else _tar(path, remarks)
        with progress("listing", total=None, unit="files") as advance:
            for member in members:
                _sort_in(member, path, findings)
                advance(1)
    except _BROKEN as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    entries = [
        entry._replace(label=findings.labels.get(_key(entry.id), ""))
        for entry in findings.entries.values()
    ]
    return images_of(
        path,
        entries,
        skipped=findings.skipped,
        others=findings.others,
        labels_from_folders=labels_from_folders,
        remarks=remarks,
        limits=limits,
    )


def _sort_in(member: _Member, archive: Path, findings: _Findings) -> None:
    """Puts a member where it belongs: to the images, what is skipped, or what is no image."""
    name = _plain(member.name)
    if name is None:
        findings.skipped.append(Unread(_shown(member.name), "its name leads out of the archive"))
        return
    if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
        return
    stored, suffix = stored_path(name), PurePosixPath(name).suffix.lower()
    if suffix == ".cls" and not member.refused:
        with member.opened() as stream:
            findings.labels[_key(stored)] = stream.read(_LABEL).decode("utf-8", "replace").strip()
    elif suffix not in IMAGE_SUFFIXES and (kind := _other(member, suffix)):
        findings.others.append(Unread(stored, kind))
    elif member.refused or stored in findings.entries:
        again = "a member of the same name came before"
        findings.skipped.append(Unread(stored, member.refused or again))
    else:
        read = _Reading(archive, member.size, member.opened)
        entry = Entry(stored, member.size, member.mtime, member.stamp, read)
        findings.entries[stored] = entry


def _other(member: _Member, suffix: str) -> str:
    """Kind of a member that is no image, in words; empty for one that is."""
    if suffix in _BESIDE or member.refused:
        return f"not an image: {member.refused or 'of another kind'}"
    try:
        with member.opened() as stream:
            kind = kind_of(stream.read(HEAD), member.name)
    except _BROKEN as error:
        return f"not an image: {error}"
    return "" if kind.image else f"not an image: {kind.name or 'of another kind'}"


def _plain(name: str) -> str | None:
    """The name of a member as a relative path; None for one that leads elsewhere."""
    name = name.replace("\\", "/") if "/" not in name else name
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\0" in name or not parts
    return None if outside else "/".join(parts)


def _shown(name: str) -> str:
    return stored_path(name.replace("\0", "?")).removeprefix("./")


def _key(name: str) -> str:
    """The part of a name that files of one WebDataset sample share: up to the first dot."""
    folder, separator, file = name.rpartition("/")
    return f"{folder}{separator}{file.partition('.')[0]}"


# ---------------------------------------------------------------- zip


def _zip(path: Path) -> Iterator[_Member]:
    archive = zipfile.ZipFile(path)
    members = archive.infolist()
    _refuse_overlaps(path, members)
    for info in members:
        if not info.is_dir():
            opened, made = partial(archive.open, info), _time(info)
            yield _Member(info.filename, info.file_size, made, info.CRC + 1, opened, _refusal(info))


def _time(info: zipfile.ZipInfo) -> int:
    """Modification time in ns; 0 for a date that is none, which zip allows."""
    try:
        return calendar.timegm((*info.date_time, 0, 0, 0)) * _NS
    except (ValueError, OverflowError):
        return 0


def _refusal(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link within the archive"
    if info.compress_type == zipfile.ZIP_DEFLATED:
        most = info.compress_size * _DEFLATED + _DEFLATED
        if info.file_size > most:
            return f"claims {info.file_size:,} bytes, and holds {info.compress_size:,}"
    return ""


def _refuse_overlaps(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raises `UsageError` for an archive whose members share bytes, which multiplies them."""
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise UsageError(
                f"{path} is no sound archive: {_shown(info.filename)} lies in another member"
            )
        end = info.header_offset + info.compress_size


# ---------------------------------------------------------------- tar


@contextmanager
def _part(path: Path, offset: int, size: int) -> Iterator[Stream]:
    with path.open("rb") as file:
        file.seek(offset)
        yield _Bounded(file, size)


class _Bounded:
    """No more than `left` bytes of a stream; fewer are an error."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int) -> bytes:
        """The next bytes. Raises `EOFError` if there are none though there should be."""
        block = self.stream.read(min(size, self.left))
        if not block and self.left:
            raise EOFError("the archive ends within it")
        self.left -= len(block)
        return block


def _tar(path: Path, remarks: list[str]) -> Iterator[_Member]:
    with path.open("rb") as file:
        if file.read(8).startswith(_PACKED):
            raise UsageError(
                f"{path} is compressed as a whole, so that no image can be read without all before "
                "it: unpack it, or store it as plain .tar or .zip"
            )
    status, end = path.stat(), 0
    with tarfile.open(path, "r:") as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # it would keep them all
            end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            if not member.isdir():
                opened = partial(_part, path, member.offset_data, member.size)
                made = int(member.mtime * _NS) if 0 <= member.mtime < _LATEST else 0
                stamp = stamp_of(status)
                yield _Member(member.name, member.size, made, stamp, opened, _unfit(member))
    if _goes_on(path, end):
        remarks.append(f"{path.name} is damaged: what lies after its byte {end:,} was not read")


def _unfit(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "a link within the archive"
    return "" if member.isreg() and not member.issparse() else "no plain file in the archive"


def _goes_on(path: Path, end: int) -> bool:
    with path.open("rb") as file:
        file.seek(end)
        return any(file.read(_BLOCK))

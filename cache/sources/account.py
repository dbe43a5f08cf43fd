"""Account of the files that were not embedded: how many of which kind, in words."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

MOST = 5  # kinds that are named
_ADVICE: Mapping[str, str] = {
    **dict.fromkeys(
        (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), "RAW: pip install rawpy"
    ),
    ".pdf": "pip install pypdfium2",
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"), "video"),
    **dict.fromkeys((".zip", ".tar", ".parquet"), "name it as a source of its own"),
    ".dcm": "DICOM",
    ".psd": "Photoshop",
}


def not_read(paths: Iterable[str]) -> str:
    """Files that are no images, by their endings: not read: 3 .cr2 (RAW), 2 .pdf, 1 .mp4 (video)"""
    counts = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    return f"not read: {_listed(counts, _ending)}"


def skipped(reasons: Iterable[str]) -> str:
    """Images that could not be read, by their reasons: skipped: 3 truncated; 1 empty file"""
    return f"skipped: {_listed(Counter(reasons), str, between='; ')}"


def _listed(counts: Counter[str], name: Callable[[str], str], between: str = ", ") -> str:
    first = [f"{count:,} {name(what)}" for what, count in counts.most_common(MOST)]
    left = counts.total() - sum(count for _, count in counts.most_common(MOST))
    return between.join([*first, *([f"{left:,} others"] if left else [])])


def _ending(suffix: str) -> str:
    kind = f" ({_ADVICE[suffix]})" if suffix in _ADVICE else ""
    return f"{suffix or 'without an ending'}{kind}"

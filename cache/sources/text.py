"""A text that lists images: a path per line, or with null characters between them."""

import os
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path, PurePosixPath

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.sources.files import FileImages, stored_path
from clusterpipe.cache.sources.listing import Line, open_lines

_MOST = 1 << 30  # bytes


def open_text(listed: Path, *, limits: Limits = USUAL, progress: Progress = silent) -> FileImages:
    """The images whose paths stand in a text, in its order; the paths are their ids.

    Paths are relative to the text's folder, or absolute. Empty lines are ignored, and so is a path
    that came before, which a remark counts. Raises `UsageError` for a text without a path.
    """
    try:
        if listed.stat().st_size > _MOST:
            raise UsageError(f"{listed} is no list of paths: it has more than {_MOST >> 30} GiB")
        found = paths_in(listed.read_bytes())
    except OSError as error:
        raise UsageError(f"{listed} cannot be read: {error.strerror}") from error
    lines: dict[str, Line] = {}
    for number, raw in enumerate(found, 1):
        path = stored_path(str(PurePosixPath(os.fsdecode(raw))))
        lines.setdefault(path, Line(number, path, path))
    if not lines:
        raise UsageError(f"{listed} lists no path")
    again = len(found) - len(lines)
    remarks = (f"{again:,} paths of {listed.name} came twice",) if again else ()
    return open_lines(
        listed, list(lines.values()), limits=limits, progress=progress, remarks=remarks
    )


def paths_in(text: bytes) -> list[bytes]:
    """The paths of a list, as the bytes that they are."""
    if text.startswith((BOM_UTF16_BE, BOM_UTF16_LE)):
        text = text.decode("utf-16", "replace").encode()
    text = text.removeprefix(BOM_UTF8)
    if b"\0" in text:
        return [path for path in text.split(b"\0") if path]
    return [path for line in text.split(b"\n") if (path := line.removesuffix(b"\r")).strip()]

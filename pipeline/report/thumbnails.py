"""Small pictures of the images, as WebP files named by the digest of the image."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clusterpipe.cache.cores import usable_cores
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.progress import Progress
from clusterpipe.cache.sources import ImageSource
from clusterpipe.cache.storage import replacing
from clusterpipe.pipeline.results.reading import Results

LONGEST = 224  # pixels
LONGEST_WHOLE = 2048  # of an image that is no file, and can be seen nowhere else
QUALITY = 78
BATCH = 256


def write_thumbnails(
    results: Results,
    source: ImageSource | None,
    rows: Sequence[int],
    folder: Path,
    *,
    progress: Progress,
) -> list[str]:
    """The name of each row's thumbnail in `folder`, without suffix; "" where there is none.

    Those that are there are kept, so that an interrupted report goes on; others than these are
    removed. A row that is no longer in the source, or unreadable, has none.
    """
    names = [_name(str(results.index.digest[row])) for row in rows]
    _remove_others(folder, names)
    position = {} if source is None else {name: i for i, name in enumerate(source.manifest.id)}
    todo = [
        (row, name)
        for row, name in zip(rows, names, strict=True)
        if results.index.id[row] in position and not _is_whole(_file(folder, name))
    ]

    def draw(item: tuple[int, str]) -> None:
        row, name = item
        longest = LONGEST if results.index.path[row] else LONGEST_WHOLE
        if source is not None:
            _draw(source, position[results.index.id[row]], _file(folder, name), longest)

    with (
        progress("thumbnails", total=len(todo), unit="images") as advance,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        for start in range(0, len(todo), BATCH):
            for _ in pool.map(draw, todo[start : start + BATCH]):
                advance(1)
    return [name if name and _is_whole(_file(folder, name)) else "" for name in names]


def _draw(source: ImageSource, row: int, path: Path, longest: int) -> None:
    try:
        image = source.decode(source.read(row), longest)
    except (OSError, UnreadableImage):
        return
    image.thumbnail((longest, longest))
    with replacing(path) as temporary:
        image.save(temporary, "WEBP", quality=QUALITY)


def _name(digest: str) -> str:
    """Empty for features that were given: they have no image."""
    return f"{digest[:2]}/{digest}" if digest else ""


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.webp"


def _is_whole(thumbnail: Path) -> bool:
    """True if it is there, and as long as a WebP file says it is."""
    try:
        with thumbnail.open("rb") as file:
            head = file.read(12)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    return (
        head[:4] == b"RIFF"
        and head[8:] == b"WEBP"
        and size == 8 + int.from_bytes(head[4:8], "little")
    )


def _remove_others(folder: Path, names: Iterable[str]) -> None:
    keep = {_file(folder, name) for name in names}
    for path in folder.glob("??/*.webp"):
        if path not in keep:
            path.unlink()

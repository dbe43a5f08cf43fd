"""Contact sheets: one PNG per cluster, exemplars first, under the cluster's caption.

`page_of`, `tile_of` and `save` serve other pages of pictures as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.names import file_words
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import canonical, digest
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignment, Assignments, Embeddings
from clusterpipe.cache.sources import ImageSource, Source
from clusterpipe.cache.storage import replacing
from clusterpipe.pipeline.results.lettering import drawable, font
from clusterpipe.pipeline.results.standing import cluster_captions, standing

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS, TILE, GAP, HEAD, LINE = 8, 5, 120, 6, 40, 18
MARK = "clusterpipe"


@dataclass(frozen=True)
class Sheet:
    """Contact sheet of a cluster: its file name, title, and rows of the embeddings."""

    cluster: int
    name: str
    title: str
    rows: tuple[int, ...]
    key: str


def contact_sheets(run: RunDirectory, source: Source, *, progress: Progress = silent) -> list[Path]:
    """Draws a PNG per cluster into the run's `pictures` folder; unchanged ones are left alone.

    Gives no sheet when there is no assignment yet, or no image to show because features were
    given. Only sheets that this function drew are ever removed.
    """
    if not isinstance(source, ImageSource) or not run.artifact(Assignments).exists():
        return []
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    sheets = list(_planned(run, index))
    keep = {sheet.name for sheet in sheets}
    for stale in (path for path in ours(run.pictures) if path.name not in keep):
        stale.unlink()
    position = positions(source)
    with progress("contact sheets", total=len(sheets), unit="sheets") as advance:
        for sheet in sheets:
            path = run.pictures / sheet.name
            if key_of(path) != sheet.key:
                save(_drawn(sheet, source, index, position), path, sheet.key)
            advance(1)
    return [run.pictures / sheet.name for sheet in sheets]


def contact_sheet(run: RunDirectory, source: ImageSource, cluster: int) -> "Image":
    """The contact sheet of one cluster. Raises UsageError if there is no such cluster."""
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    sheets = {sheet.cluster: sheet for sheet in _planned(run, index)}
    if cluster not in sheets:
        raise UsageError(f"there is no cluster {cluster}: they are 0 to {max(sheets)}")
    return _drawn(sheets[cluster], source, index, positions(source))


def _drawn(
    sheet: Sheet, source: ImageSource, index: Embeddings, position: Mapping[str, int]
) -> "Image":
    tiles = [tile_of(source, position.get(index.id[row])) for row in sheet.rows]
    return page_of(sheet.title, tiles)


def _planned(run: RunDirectory, index: Embeddings) -> Iterator[Sheet]:
    found = standing(run)
    clusters, captions = found.clusters, cluster_captions(run, found)
    for cluster, caption in enumerate(captions):
        members = np.flatnonzero(clusters.label == cluster)
        if found.corrections and not len(members):  # merged away
            continue
        rows = _shown(clusters, cluster, members)
        named = f" · {caption}" if caption else ""
        title = f"cluster {cluster}{named} · {len(members):,} images"
        name = f"{cluster_name(cluster, caption)}.png"
        shown = [index.digest[row] for row in rows]
        yield Sheet(
            cluster, name, title, rows, digest(canonical([drawable(title), shown]).encode())
        )


def cluster_name(cluster: int, caption: str) -> str:
    """A cluster as the name of a file or folder: 012_red-bicycle."""
    return f"{cluster:03d}_{file_words(caption) or 'cluster'}"


def _shown(clusters: Assignment, cluster: int, members: NDArray[Any]) -> tuple[int, ...]:
    """Exemplars, then the members the method is least sure of, so that both ends can be seen."""
    exemplars = [int(row) for row in clusters.exemplar[cluster] if row >= 0]
    taken = set(exemplars)
    doubtful = members[np.argsort(clusters.probability[members], kind="stable")]
    rest = [int(row) for row in doubtful if int(row) not in taken]
    return tuple([*exemplars, *rest][: COLUMNS * ROWS])


def positions(source: ImageSource) -> dict[str, int]:
    """The row of each image of `source` by its id."""
    return {name: row for row, name in enumerate(source.manifest.id)}


def page_of(title: str, tiles: Sequence["Image"], texts: Sequence[str] = ()) -> "Image":
    """A page of pictures under a title, with a line of text below each if there are `texts`."""
    from PIL import Image, ImageDraw

    height = TILE + GAP + (LINE if texts else 0)
    rows = -(-max(len(tiles), 1) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, HEAD + rows * height), "white")
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 8), drawable(title), "black", font(18))
    for place, tile in enumerate(tiles):
        left, top = GAP + place % COLUMNS * (TILE + GAP), HEAD + place // COLUMNS * height
        page.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        if texts:
            centre = (left + TILE // 2, top + TILE)
            draw.text(centre, drawable(texts[place]), "black", font(13), anchor="ma")
    return page


def tile_of(source: ImageSource, row: int | None) -> "Image":
    """The image at `row` of `source` as a tile; a grey one if it can no longer be shown."""
    from PIL import Image

    try:
        if row is None:
            raise UnreadableImage("no longer in the source")
        image = source.decode(source.read(row), TILE)
    except (OSError, UnreadableImage):
        return Image.new("RGB", (TILE, TILE), "lightgray")
    image.thumbnail((TILE, TILE))
    return image


def save(page: "Image", path: Path, key: str) -> None:
    """Writes a page as PNG, stamped with the key that says what it shows."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(MARK, key)
    with replacing(path) as temporary:
        page.save(temporary, "PNG", pnginfo=info)


def key_of(path: Path) -> str | None:
    """The key that a picture of ours is stamped with; None for any other file, or damaged ones."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            key: str | None = image.info.get(MARK)
            image.verify()
    except (OSError, ValueError, SyntaxError):
        return None
    return key


def ours(folder: Path) -> list[Path]:
    """The pictures in `folder` that this program drew."""
    return [path for path in sorted(folder.glob("*.png")) if key_of(path) is not None]

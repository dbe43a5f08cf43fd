"""Contact sheets: one PNG per cluster, exemplars first, under the cluster's caption."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import canonical, digest
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignment, Assignments, Captions, Embeddings
from clusterpipe.cache.sources import FeatureSource, ImageSource
from clusterpipe.cache.storage import replacing
from clusterpipe.pipeline.inputs import describes

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS, TILE, GAP, HEAD = 8, 5, 120, 6, 40
_MARK = "clusterpipe"


@dataclass(frozen=True)
class Sheet:
    """What one contact sheet shows: its file name, title, and rows of the embeddings."""

    name: str
    title: str
    rows: tuple[int, ...]
    key: str


def contact_sheets(
    run: RunDirectory, source: ImageSource | FeatureSource, *, progress: Progress = silent
) -> list[Path]:
    """Draws a PNG per cluster into the run's `pictures` folder; unchanged ones are left alone.

    Gives no sheet when there is no assignment yet, or no image to show because features were
    given. Only sheets that this function drew are ever removed.
    """
    if isinstance(source, FeatureSource) or not run.artifact(Assignments).exists():
        return []
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    sheets = list(_planned(run, index))
    keep = {sheet.name for sheet in sheets}
    for stale in (path for path in _drawn(run.pictures) if path.name not in keep):
        stale.unlink()
    position = {name: row for row, name in enumerate(source.manifest.id)}
    with progress("contact sheets", total=len(sheets), unit="sheets") as advance:
        for sheet in sheets:
            path = run.pictures / sheet.name
            if _key(path) != sheet.key:
                _save(_draw(sheet, source, index, position), path, sheet.key)
            advance(1)
    return [run.pictures / sheet.name for sheet in sheets]


def _planned(run: RunDirectory, index: Embeddings) -> Iterator[Sheet]:
    assignments = artifact.read(run.artifact(Assignments), Assignments)
    clusters = assignments.methods[assignments.chosen]
    captions = cluster_captions(run, len(clusters.centroid))
    for cluster, caption in enumerate(captions):
        members = np.flatnonzero(clusters.label == cluster)
        rows = _shown(clusters, cluster, members)
        named = f" · {caption}" if caption else ""
        title = f"cluster {cluster}{named} · {len(members):,} images"
        name = f"{cluster_name(cluster, caption)}.png"
        shown = [index.digest[row] for row in rows]
        yield Sheet(name, title, rows, digest(canonical([title, shown]).encode()))


def cluster_captions(run: RunDirectory, k: int) -> list[str]:
    """The first phrase of each of the k clusters; empty where there is none, or no current one."""
    if not describes(Captions, run):
        return [""] * k
    captions = artifact.read(run.artifact(Captions), Captions)
    phrases = [str(phrase) for phrase in captions.methods[captions.chosen].text[:k, 0]]
    return phrases + [""] * (k - len(phrases))


def cluster_name(cluster: int, caption: str) -> str:
    """A cluster as the name of a file or folder: 012_red-bicycle."""
    words = re.sub(r"[\W_]+", "-", caption.casefold()).strip("-")
    return f"{cluster:03d}_{words[:40].rstrip('-') or 'cluster'}"


def _shown(clusters: Assignment, cluster: int, members: NDArray[Any]) -> tuple[int, ...]:
    """Exemplars, then the members the method is least sure of, so that both ends can be seen."""
    exemplars = [int(row) for row in clusters.exemplar[cluster] if row >= 0]
    taken = set(exemplars)
    doubtful = members[np.argsort(clusters.probability[members], kind="stable")]
    rest = [int(row) for row in doubtful if int(row) not in taken]
    return tuple([*exemplars, *rest][: COLUMNS * ROWS])


def _draw(
    sheet: Sheet, source: ImageSource, index: Embeddings, position: dict[str, int]
) -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-max(len(sheet.rows), 1) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, HEAD + rows * (TILE + GAP)), "white")
    font = ImageFont.load_default(size=18)
    ImageDraw.Draw(page).text((GAP, 8), sheet.title, fill="black", font=font)
    for place, row in enumerate(sheet.rows):
        tile = _tile(source, position.get(index.id[row]))
        x = GAP + place % COLUMNS * (TILE + GAP) + (TILE - tile.width) // 2
        y = HEAD + place // COLUMNS * (TILE + GAP) + (TILE - tile.height) // 2
        page.paste(tile, (x, y))
    return page


def _tile(source: ImageSource, row: int | None) -> "Image":
    from PIL import Image

    try:
        if row is None:
            raise UnreadableImage("no longer in the source")
        image = source.decode(source.read(row))
    except (OSError, UnreadableImage):
        return Image.new("RGB", (TILE, TILE), "lightgray")
    image.thumbnail((TILE, TILE))
    return image


def _save(page: "Image", path: Path, key: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(_MARK, key)
    with replacing(path) as temporary:
        page.save(temporary, "PNG", pnginfo=info)


def _key(path: Path) -> str | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.info.get(_MARK)
    except (OSError, UnidentifiedImageError):
        return None


def _drawn(folder: Path) -> Sequence[Path]:
    return [path for path in sorted(folder.glob("*.png")) if _key(path) is not None]

"""curate: images that are nearly the same, which of them to keep, and images like few others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import MappedRows, Rows, blocks, normalise
from clusterpipe.cache.schema import Curation, Embeddings, IntArray, StringArray
from clusterpipe.cache.sources.subset import SelectedRows
from clusterpipe.stages.declaration import Input, check, option, stage
from clusterpipe.stages.sampling import as_rows, finite


@dataclass(frozen=True)
class CurateConfig:
    """Settings of the curate stage."""

    table: ClassVar[str] = "curate"

    space: str = option(
        "",
        "Feature space to compare in, such as clip. Empty = the first, 'concatenate' = all "
        "side by side.",
    )
    duplicates_above: float = option(
        0.9,
        "Cosine of centred features above which images are near-duplicates. 1 = exact copies only.",
        above=0,
        most=1,
    )
    neighbours: int = option(
        20,
        "Nearest images to look for near-duplicates among and to tell outliers by.",
        least=1,
    )
    outliers: float = option(
        0.01,
        "Share of the images to list as outliers, the most isolated first.",
        least=0,
        below=1,
    )


def _reads(config: CurateConfig) -> Mapping[str, Input]:
    columns = ("digest", "width", "height", "size")
    return {
        "features": Input(Embeddings, "{space}/features"),
        **{name: Input(Embeddings, name) for name in columns},
    }


@stage(version=3, config=CurateConfig, reads=_reads, writes=Curation)
def curate(
    features: Rows,
    config: CurateConfig = CurateConfig(),
    *,
    digest: StringArray | None = None,
    width: IntArray | None = None,
    height: IntArray | None = None,
    size: IntArray | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Curation:
    """Find exact and near-duplicates, and the images that are least like any other.

    features: (n, d), of any length and precision. Images of one `digest` (n,) are exact copies and
    are looked at once. The others are compared with their `neighbours` nearest by cosine; two are
    near-duplicates if the cosine of their centred features is above `duplicates_above`, and what is
    joined by a chain of them is one group. The largest picture (`width` x `height`), of equal ones
    the largest file, then the first, represents its group. Outliers are the given share of images
    farthest from the others: a third of that is the mean cosine distance (not centred) to their
    neighbours outside their group, two thirds that to all images. Clusters play no part. Ours; the
    distance to neighbours as in Ramaswamy, Rastogi and Shim (2000).

    Nothing is compared n x n: neighbours are exact up to 50,000 different images; beyond, about 96%
    of them are found, and `recall` says how many (numerics.cell_search). Memory: the rows once, in
    float32 up to 50,000 and in 16 bits a number beyond, and O(n neighbours). Raises UsageError for
    features that are not numbers or an unusable setting.
    """
    config, features = check(config), as_rows(features)
    if features.shape[0] < 1:
        raise UsageError("there are no images to compare")
    from clusterpipe.stages.numerics import curation as maths
    from clusterpipe.stages.numerics.neighbours import neighbours

    n = features.shape[0]
    first, different = _distinct(n, digest)
    rows = _unit_rows(features, first)
    with progress("comparing", total=len(first), unit="images") as advance:
        near = neighbours(rows, config.neighbours, seed=seed, done=advance)
    centring = maths.centring(lambda: blocks(rows))
    cosine = maths.centred_cosine(near, centring)
    component = maths.linked(near, cosine > config.duplicates_above)
    apart = maths.apartness(near, component, centring)[different]
    group = _numbered(component[different])
    nearest = cosine.max(axis=1, initial=-1)[different]
    return Curation(
        group=group,
        representative=_representatives(group, width, height, size),
        copy_of=first[different],
        similarity=np.where(np.bincount(different)[different] > 1, np.float32(1), nearest),
        isolation=apart,
        outlier=np.asarray(apart > np.quantile(apart, 1 - config.outliers), np.int8),
        recall=near.recall,
    )


def _distinct(n: int, digest: StringArray | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row (u,) of each content, ascending, and for each row (n,) which of them it is."""
    if digest is None:
        return np.arange(n), np.arange(n)
    place = {content: row for row, content in reversed(list(enumerate(digest)))}
    first = np.array([place[content] for content in digest])
    return np.unique(first, return_inverse=True)


def _unit_rows(features: Rows, index: NDArray[np.int64]) -> MappedRows:
    whole = len(index) == features.shape[0]
    rows = finite(features if whole else SelectedRows(features, index))
    return MappedRows(rows, normalise, features.shape[1])


def _numbered(component: NDArray[np.int32]) -> NDArray[np.int32]:
    """Groups (n,) from 0, the largest first, of equal ones that with the first image; -1 alone."""
    _, first, of, count = np.unique(
        component, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -count))
    number = np.empty(len(order), np.int32)
    number[order] = np.arange(len(order))
    return np.where(count[of] > 1, number[of], -1)


def _representatives(
    group: NDArray[np.int32],
    width: IntArray | None,
    height: IntArray | None,
    size: IntArray | None,
) -> NDArray[np.int64]:
    """The row (g,) of each group's largest picture, then file, then the first."""
    n = len(group)
    nothing = np.zeros(n, np.int64)
    pixels = nothing if width is None or height is None else width.astype(np.int64) * height
    order = np.lexsort((np.arange(n), -(nothing if size is None else size), -pixels, group))
    _, start = np.unique(group[order], return_index=True)
    return np.asarray(order[start][group[order[start]] >= 0])

"""Images through a backbone: read and decoded by threads while the batch before is encoded."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.cores import usable_cores
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.exif import NOTHING, Exif, read_exif
from clusterpipe.cache.images import middle, size_of
from clusterpipe.cache.provenance import digest
from clusterpipe.cache.sources import ImageSource
from clusterpipe.stages.backbones.augmentation import view
from clusterpipe.stages.backbones.protocol import Backbone

if TYPE_CHECKING:
    from PIL.Image import Image

_BLOCK = 8  # pictures that a CPU encodes at a time, which more make no faster
_AHEAD = 3
_UNFIT = (ValueError, MemoryError, RuntimeError, OSError, OverflowError)


@dataclass(frozen=True)
class Loaded:
    """One image: its digest and prepared pixels, or the reason why there are none.

    Pixels are (3, h, w), or (v, 3, h, w) of augmented views. Without pixels and without a reason
    it is already known. The digest is empty when the file could not even be read.
    """

    row: int
    digest: str
    pixels: NDArray[np.float32] | None = None
    reason: str = ""
    width: int = 0
    height: int = 0
    exif: Exif = NOTHING


@dataclass(frozen=True)
class Extract:
    """A batch: everything that was looked at, and the features of those with pixels.

    Features are (m, d), or (m, v, d) of augmented views.
    """

    looked_at: list[Loaded]
    features: NDArray[np.float32]

    @property
    def encoded(self) -> list[Loaded]:
        """The images that `features` belong to, in the order of its rows."""
        return [loaded for loaded in self.looked_at if loaded.pixels is not None]


def extract(
    source: ImageSource,
    rows: Sequence[int],
    backbone: Backbone,
    *,
    known: Callable[[str], bool],
    views: int = 0,
    batch_size: int = 0,
    workers: int = 0,
    deterministic: bool = False,
    place: bool = False,
) -> Iterator[Extract]:
    """Features of the images at `rows` of `source`, batch by batch, in order.

    With `views`, of so many augmented views of each instead. Batches are cut by position in `rows`,
    `batch_size` pictures each (0: 32 on a CPU, 256 elsewhere), so that a run resumed at a batch
    boundary computes the same numbers. They are encoded in padded blocks of one size: on a CPU of 8
    pictures at most, if `deterministic` of a single image, whose numbers then depend on nothing
    else. Images whose digest is `known` are neither decoded nor encoded. Unreadable images are
    reported, not raised. Of EXIF the place is read if `place`.
    """
    pictures = batch_size or (32 if backbone.device == "cpu" else 256)
    size = max(1, pictures // max(1, views))
    together = _BLOCK if backbone.device == "cpu" else pictures
    block = 1 if deterministic else min(size, max(1, together // max(1, views)))

    def load(row: int) -> Loaded:
        return _load(source, backbone, known, views, place, row)

    for loaded in _batches(rows, load, size, workers or usable_cores()):
        parts = [loaded[start : start + block] for start in range(0, len(loaded), block)]
        features = [_encode(backbone, part, block, views) for part in parts]
        yield Extract(loaded, np.concatenate(features))


def _batches(
    rows: Sequence[int], load: Callable[[int], Loaded], size: int, workers: int
) -> Iterator[list[Loaded]]:
    remaining = iter(rows)
    ahead: list[list[Future[Loaded]]] = []
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            while len(ahead) < _AHEAD and (part := list(islice(remaining, size))):
                ahead.append([pool.submit(load, row) for row in part])
            if not ahead:
                return
            yield [future.result() for future in ahead.pop(0)]
    finally:  # whoever interrupts does not wait for reads that hang
        pool.shutdown(wait=False, cancel_futures=True)


def _load(
    source: ImageSource,
    backbone: Backbone,
    known: Callable[[str], bool],
    views: int,
    place: bool,
    row: int,
) -> Loaded:
    try:
        data = source.read(row)
    except UnreadableImage as error:
        return Loaded(row, "", reason=str(error))
    except OSError as error:
        return Loaded(row, "", reason=error.strerror or str(error))
    except MemoryError:
        return Loaded(row, "", reason="not enough memory to read it")
    name = digest(data)
    if known(name):
        return Loaded(row, name)
    try:
        image = source.decode(data, max(backbone.input_shape[1:]))
        pixels = _prepared(backbone, middle(image), name, views)
    except UnreadableImage as error:
        return Loaded(row, name, reason=str(error))
    except _UNFIT as error:
        what = " ".join(str(error).split()) or type(error).__name__
        size = f"{image.width:,} x {image.height:,} pixels"
        return Loaded(row, name, reason=f"{size}, which cannot be scaled for the model: {what}")
    return Loaded(row, name, pixels, "", *size_of(image), read_exif(data, place=place))


def _prepared(backbone: Backbone, image: "Image", name: str, views: int) -> NDArray[np.float32]:
    if not views:
        return backbone.prepare(image)
    return np.stack([backbone.prepare(view(image, name, number)) for number in range(views)])


def _encode(backbone: Backbone, batch: Sequence[Loaded], size: int, views: int) -> NDArray[Any]:
    """Each image keeps its slot, whether its neighbours are known, unreadable or neither."""
    each = (views,) if views else ()
    pixels = np.zeros((size, *each, *backbone.input_shape), np.float32)
    slots = [slot for slot, loaded in enumerate(batch) if loaded.pixels is not None]
    if not slots:
        return np.zeros((0, *each, backbone.width), np.float32)
    for slot in slots:
        pixels[slot] = batch[slot].pixels
    features = backbone.encode_images(pixels.reshape(-1, *backbone.input_shape))
    return features.reshape(size, *each, -1)[slots]

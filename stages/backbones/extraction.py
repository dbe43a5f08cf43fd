"""Images through a backbone: read and decoded by threads while the batch before is encoded."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.provenance import digest
from clusterpipe.cache.sources import ImageSource
from clusterpipe.stages.backbones import Backbone

_AHEAD = 3


@dataclass(frozen=True)
class Loaded:
    """One image: its digest and prepared pixels (3, h, w), or the reason why there are none.

    Without pixels and without a reason it is already known. The digest is empty when the file
    could not even be read.
    """

    row: int
    digest: str
    pixels: NDArray[np.float32] | None = None
    reason: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Extract:
    """A batch: everything that was looked at, and (m, d) features of those with pixels."""

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
    batch_size: int = 0,
    workers: int = 0,
) -> Iterator[Extract]:
    """Features of the images at `rows` of `source`, batch by batch, in order.

    Batches are cut by position in `rows` and padded to `batch_size` (0: 32 on a CPU, 256
    elsewhere), so that a run resumed at a batch boundary computes the same numbers. Images whose
    digest is `known` are neither decoded nor encoded. Unreadable images are reported, not raised.
    """
    size = batch_size or (32 if backbone.device == "cpu" else 256)
    for loaded in _batches(source, rows, backbone, known, size, workers or cores()):
        yield Extract(loaded, _encode(backbone, loaded, size))


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _batches(
    source: ImageSource,
    rows: Sequence[int],
    backbone: Backbone,
    known: Callable[[str], bool],
    size: int,
    workers: int,
) -> Iterator[list[Loaded]]:
    remaining = iter(rows)
    ahead: list[list[Future[Loaded]]] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(ahead) < _AHEAD and (part := list(islice(remaining, size))):
                    ahead.append([pool.submit(_load, source, backbone, known, r) for r in part])
                if not ahead:
                    return
                yield [future.result() for future in ahead.pop(0)]
        finally:
            pool.shutdown(cancel_futures=True)


def _load(
    source: ImageSource, backbone: Backbone, known: Callable[[str], bool], row: int
) -> Loaded:
    try:
        data = source.read(row)
    except OSError as error:
        return Loaded(row, "", reason=error.strerror or str(error))
    name = digest(data)
    if known(name):
        return Loaded(row, name)
    try:
        image = source.decode(data)
    except UnreadableImage as error:
        return Loaded(row, name, reason=str(error))
    return Loaded(row, name, backbone.prepare(image), "", image.width, image.height)


def _encode(backbone: Backbone, batch: Sequence[Loaded], size: int) -> NDArray[Any]:
    """Each image keeps its slot, whether its neighbours are known, unreadable or neither."""
    pixels = np.zeros((size, *backbone.input_shape), np.float32)
    slots = [slot for slot, loaded in enumerate(batch) if loaded.pixels is not None]
    if not slots:
        return np.zeros((0, backbone.width), np.float32)
    for slot in slots:
        pixels[slot] = batch[slot].pixels
    return backbone.encode_images(pixels)[slots]

"""The embedded demonstration: crops of the photographs in scikit-image's wheel.

It needs no network. It shows the pipeline at work and is no benchmark: crops of one photograph
share its colours and texture, and overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from clusterpipe.cache import images
from clusterpipe.cache.sources.manifest import Manifest, strings

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from PIL.Image import Image

NAME = "demonstration"

# Pictures taken by a camera, a microscope or a telescope; no drawings, phantoms, test patterns or
# silhouettes, and of the stereo pair one half. Fixed, so that the demonstration stays the same.
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "microaneurysms.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
CROPS_PER_PHOTOGRAPH = 40
SMALLEST_SIDE, LARGEST_SIDE = 0.4, 0.9  # of the photograph's shorter side
LARGEST_PIXELS = 224
SEED = 0


@dataclass(frozen=True)
class _Crop:
    """A square of photograph `photograph`, in its pixels, and whether it is mirrored."""

    photograph: int
    left: int
    top: int
    side: int
    mirrored: bool

    @property
    def pixels(self) -> int:
        """Width and height of the crop as it is handed out."""
        return min(self.side, LARGEST_PIXELS)


class DemonstrationImages:
    """An `ImageSource` of seeded crops; ground truth is the photograph a crop was taken from."""

    name = NAME

    def __init__(self) -> None:
        self._crops = [
            _draw_crop(photograph, number, size)
            for photograph, size in enumerate(map(_size, PHOTOGRAPHS))
            for number in range(CROPS_PER_PHOTOGRAPH)
        ]
        self._photographs: dict[int, Image] = {}

    @cached_property
    def manifest(self) -> Manifest:
        """Ids like "astronaut/07"; sizes are those of the packed crops."""
        names = [name.partition(".")[0] for name in PHOTOGRAPHS]
        sizes = [images.packed_size(crop.pixels, crop.pixels) for crop in self._crops]
        n = len(self._crops)
        return Manifest(
            id=strings(f"{name}/{i:02d}" for name in names for i in range(CROPS_PER_PHOTOGRAPH)),
            path=strings([""] * n),
            size=np.array(sizes, np.int64),
            mtime=np.zeros(n, np.int64),
            label=np.array([crop.photograph for crop in self._crops], np.int32),
            class_name=strings(names),
        )

    def read(self, row: int) -> bytes:
        """The crop's packed pixels, the same whatever was read before."""
        crop = self._crops[row]
        photograph = self._photographs.get(crop.photograph)
        if photograph is None:
            photograph = images.decode(_file(PHOTOGRAPHS[crop.photograph]).read_bytes())
            self._photographs[crop.photograph] = photograph
        return images.pack(_cut(photograph, crop))

    def decode(self, data: bytes, needed: int = 0) -> Image:
        """The image in `read`'s bytes. Raises `UnreadableImage`."""
        return images.unpack(data)


def _file(name: str) -> Traversable:
    """A file in the wheel; scikit-image's own loaders may download."""
    return files("skimage.data") / name


def _size(name: str) -> tuple[int, int]:
    from PIL import Image

    with _file(name).open("rb") as stream, Image.open(stream) as image:
        return image.size


def _draw_crop(photograph: int, number: int, size: tuple[int, int]) -> _Crop:
    random = np.random.default_rng((SEED, photograph, number))
    side = round(random.uniform(SMALLEST_SIDE, LARGEST_SIDE) * min(size))
    left, top = (int(random.integers(length - side, endpoint=True)) for length in size)
    return _Crop(photograph, left, top, side, mirrored=bool(random.random() < 0.5))


def _cut(photograph: Image, crop: _Crop) -> Image:
    """The crop, shrunk if it is larger than backbones look at."""
    from PIL import Image, ImageOps

    box = (crop.left, crop.top, crop.left + crop.side, crop.top + crop.side)
    square = photograph.crop(box)
    if crop.pixels < crop.side:
        square = square.resize((crop.pixels, crop.pixels), Image.Resampling.BICUBIC)
    return ImageOps.mirror(square) if crop.mirrored else square

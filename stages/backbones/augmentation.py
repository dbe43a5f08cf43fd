"""Augmented views of an image: a random crop and a Gaussian blur, each half of the time.

Which augmentations, and their probability, are those of SCP (Li et al., arXiv 2502.04226, section
on implementation); how large the crop and how strong the blur is not stated there, and ours.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

AUGMENTATION: Mapping[str, Any] = {
    "chance": 0.5,
    "crop": 0.75,  # of each side
    "blur": [0.001, 0.02],  # standard deviation, of the shorter side
}


def view(image: "Image", name: str, number: int) -> "Image":
    """View `number` of the RGB image whose digest is `name`, in hex.

    Crop and blur are drawn independently from a generator seeded by name and number alone, so that
    a view is the same whenever and in whichever order views are made.
    """
    from PIL import ImageFilter

    rng = np.random.default_rng([int(name, 16), number])
    cropped, blurred = rng.random(2) < AUGMENTATION["chance"]
    if cropped:
        image = _random_crop(image, rng)
    if blurred:
        deviation = rng.uniform(*AUGMENTATION["blur"]) * min(image.size)
        image = image.filter(ImageFilter.GaussianBlur(deviation))
    return image


def _random_crop(image: "Image", rng: np.random.Generator) -> "Image":
    width, height = (max(1, round(AUGMENTATION["crop"] * side)) for side in image.size)
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))

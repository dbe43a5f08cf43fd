"""Augmented views: drawn anew for each image and number, and each the same whenever it is made."""

import numpy as np
from PIL import Image

from clusterpipe.cache.provenance import digest
from clusterpipe.stages.backbones.augmentation import view

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8))
PIXELS = np.asarray(IMAGE).astype(int)
NAMES = [digest(bytes([number])) for number in range(50)]


def places(part: np.ndarray) -> list[tuple[int, int]]:
    """Where these pixels occur in the image."""
    height, width = part.shape[:2]
    return [
        (top, left)
        for top in range(41 - height)
        for left in range(65 - width)
        if (PIXELS[top : top + height, left : left + width] == part).all()
    ]


def sharpness(image: Image.Image) -> float:
    return float(np.abs(np.diff(np.asarray(image).astype(int), axis=1)).mean())


def test_a_view_is_drawn_from_name_and_number_alone() -> None:
    for name in NAMES[:5]:
        first = [view(IMAGE, name, number).tobytes() for number in range(4)]
        again = [view(IMAGE, name, number).tobytes() for number in reversed(range(4))]
        assert first == again[::-1]
    assert len({view(IMAGE, name, 0).tobytes() for name in NAMES}) > 30
    assert len({view(IMAGE, NAMES[0], number).tobytes() for number in range(50)}) > 30


def test_crop_and_blur_happen_half_of_the_time_and_independently() -> None:
    """Frequencies of 400 fair coins lie within 0.1 of a half (four deviations)."""
    made = [view(IMAGE, name, number) for name in NAMES for number in range(8)]
    cropped = np.array([image.size == (48, 30) for image in made])
    assert all(image.size in ((48, 30), IMAGE.size) for image in made)
    blurred = np.array([sharpness(image) < 0.97 * sharpness(IMAGE) for image in made])
    assert abs(cropped.mean() - 0.5) < 0.1
    assert 0.3 < blurred.mean() < 0.55  # the weakest blurs cannot be seen
    assert abs((cropped & blurred).mean() - cropped.mean() * blurred.mean()) < 0.1


def test_a_crop_lies_anywhere_in_the_image_and_changes_no_pixel() -> None:
    made = [np.asarray(view(IMAGE, name, 0)).astype(int) for name in NAMES]
    found = [places(part) for part in made if part.shape == (30, 48, 3)]
    sharp = [place for place in found if place]
    assert len({place[0] for place in sharp}) > 5
    assert all(len(place) == 1 for place in sharp)


def test_the_smallest_image_has_views() -> None:
    dot = Image.new("RGB", (1, 1), "red")
    for number in range(20):
        assert view(dot, NAMES[0], number).getpixel((0, 0)) == (255, 0, 0)

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageOps

from clusterpipe.cache.sources import ImageSource
from clusterpipe.cache.sources.demonstration import (
    CROPS_PER_PHOTOGRAPH,
    PHOTOGRAPHS,
    DemonstrationImages,
)


@pytest.fixture(scope="module")
def demonstration() -> DemonstrationImages:
    return DemonstrationImages()


def test_the_manifest_names_photographs_and_crops(demonstration: DemonstrationImages) -> None:
    manifest = demonstration.manifest
    assert isinstance(demonstration, ImageSource)
    assert len(manifest) == len(PHOTOGRAPHS) * CROPS_PER_PHOTOGRAPH == 760
    assert len(set(manifest.id)) == 760
    assert manifest.id[7] == "astronaut/07"
    assert list(manifest.class_name) == sorted(name.split(".")[0] for name in PHOTOGRAPHS)
    named = [manifest.class_name[label] for label in manifest.label]
    assert named == [name.split("/")[0] for name in manifest.id]
    assert_array_equal(manifest.mtime, 0)


def test_sizes_are_those_of_the_packed_crops(demonstration: DemonstrationImages) -> None:
    rows = range(0, 760, 23)
    lengths = [len(demonstration.read(row)) for row in rows]
    assert lengths == demonstration.manifest.size[rows].tolist()


def test_crops_are_squares_of_at_most_224_pixels(demonstration: DemonstrationImages) -> None:
    crops = [demonstration.decode(demonstration.read(row)) for row in range(0, 760, 11)]
    assert all(crop.width == crop.height <= 224 for crop in crops)
    assert len({crop.width for crop in crops}) > 5


def test_small_photographs_are_cropped_and_not_enlarged(
    demonstration: DemonstrationImages,
) -> None:
    """Of a photograph of 102 pixels, every crop is some window of it, straight or mirrored."""
    row = 40 * PHOTOGRAPHS.index("microaneurysms.png")
    with Image.open(files("skimage.data") / "microaneurysms.png") as image:
        photograph = np.asarray(image.convert("RGB"))
    sides, mirrored = set(), set()
    for crop in map(demonstration.decode, map(demonstration.read, range(row, row + 40))):
        side = crop.width
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (side, side, 3))[:, :, 0]
        straight = (windows == np.asarray(crop)).all((2, 3, 4)).any()
        turned = (windows == np.asarray(ImageOps.mirror(crop))).all((2, 3, 4)).any()
        assert straight or turned
        sides.add(side)
        mirrored.add(bool(turned))
    assert 0.4 * 102 - 1 <= min(sides) < max(sides) <= 0.9 * 102 + 1
    assert mirrored == {True, False}


def test_reading_is_the_same_in_any_order_and_from_threads(
    demonstration: DemonstrationImages,
) -> None:
    rows = list(range(0, 760, 17))
    backwards = {row: DemonstrationImages().read(row) for row in rows[::-5]}
    with ThreadPoolExecutor(4) as pool:
        read = dict(zip(rows, pool.map(demonstration.read, rows), strict=True))
    assert all(read[row] == data for row, data in backwards.items())
    assert [demonstration.read(row) for row in rows] == list(read.values())


def test_crops_differ(demonstration: DemonstrationImages) -> None:
    assert len({demonstration.read(row) for row in range(40)}) == 40

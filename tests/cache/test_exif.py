"""EXIF as cameras write it, in every format, and as nobody should."""

import math
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from clusterpipe.cache.exif import NOTHING, Exif, read_exif

MAKER, MODEL, CHANGED, INNER, PLACE = 0x010F, 0x0110, 0x0132, 0x8769, 0x8825
TAKEN, SCANNED = 0x9003, 0x9004


def photograph(format: str = "JPEG", **tags: Any) -> bytes:
    """A file with the given tags: `image`, `inner` and `place` are dicts."""
    exif = Image.Exif()
    exif.update(tags.get("image", {}))
    exif.get_ifd(INNER).update(tags.get("inner", {}))
    exif.get_ifd(PLACE).update(tags.get("place", {}))
    data = BytesIO()
    Image.new("RGB", (40, 30), "teal").save(data, format, exif=exif)
    return data.getvalue()


WHOLE = {
    "image": {MAKER: "Canon", MODEL: "Canon EOS 5D\0"},
    "inner": {TAKEN: "2021:06:03 12:30:01"},
    "place": {1: "S", 2: (48.0, 30.0, 36.0), 3: "E", 4: (2.0, 0.0, 0.0)},
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_time_camera_and_place(format: str) -> None:
    data = photograph(format, **WHOLE)
    assert read_exif(data, place=True) == Exif("2021-06-03T12:30:01", "Canon EOS 5D", -48.51, 2.0)


def test_the_place_is_left_alone_unless_asked_for() -> None:
    found = read_exif(photograph(**WHOLE), place=False)
    assert found.taken
    assert math.isnan(found.latitude)
    assert math.isnan(found.longitude)


def test_a_tiff_is_an_exif_block_itself() -> None:
    data = BytesIO()
    tags = {MAKER: "Epson", MODEL: "Perfection V600"}
    Image.new("RGB", (8, 8)).save(data, "TIFF", tiffinfo=tags)
    assert read_exif(data.getvalue(), place=True).camera == "Epson Perfection V600"


def test_a_scan_says_when_it_was_made_and_a_change_is_no_taking() -> None:
    scanned = photograph(inner={SCANNED: "1999:12:31 23:59:59"})
    assert read_exif(scanned, place=True).taken == "1999-12-31T23:59:59"
    assert read_exif(photograph(image={CHANGED: "2020:01:01 00:00:00"}), place=True) is NOTHING


@pytest.mark.parametrize(
    "time", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2021:13:45 99:00:00"]
)
def test_a_clock_that_was_never_set_tells_no_time(time: str) -> None:
    assert read_exif(photograph(inner={TAKEN: time}), place=True) is NOTHING


@pytest.mark.parametrize(
    ("maker", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("Apple", "", "Apple"),
        ("", "DMC\x1b[31m\n-TZ10", "DMC [31m -TZ10"),
        ("x" * 5000, "y", "x" * 64),
    ],
)
def test_a_camera_has_one_short_printable_name(maker: str, model: str, camera: str) -> None:
    assert read_exif(photograph(image={MAKER: maker, MODEL: model}), place=True).camera == camera


@pytest.mark.parametrize(
    "place",
    [
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (200.0, 0.0, 0.0)},
        {1: "N", 3: "E"},
        {2: (48.0, 0.0, 0.0), 4: (2.0, 0.0, 0.0)},
        {1: "?", 2: (48.0, 0.0, 0.0)},
    ],
)
def test_what_is_no_place_on_earth_is_none(place: dict[int, Any]) -> None:
    assert read_exif(photograph(place=place), place=True) is NOTHING


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "data", [b"", b"no image", photograph(**WHOLE)[:60], b"II*\0\xff\xff\xff\x7f"]
)
def test_damage_is_nothing(data: bytes) -> None:
    assert read_exif(data, place=True) == NOTHING

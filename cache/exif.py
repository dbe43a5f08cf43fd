"""EXIF of a photograph: time, place and camera, as the camera wrote them into the file."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clusterpipe.cache.images import DAMAGE, exif_block

_IMAGE, _PLACE = 0x8769, 0x8825  # the directories within
_MAKE, _MODEL = 0x010F, 0x0110
_TAKEN = (0x9003, 0x9004)  # the picture was taken, or a slide was scanned
_LATITUDE, _LONGITUDE = (1, 2, 90), (3, 4, 180)  # tags of the hemisphere and the degrees; the most
_LONGEST = 64  # characters of a camera's name


@dataclass(frozen=True)
class Exif:
    """Statements of a file on its photograph; empty or NaN where it makes none.

    taken: ISO 8601 to the second, by the clock of the camera, without a time zone. camera: maker
    and model. latitude, longitude: degrees, north and east positive.
    """

    taken: str = ""
    camera: str = ""
    latitude: float = math.nan
    longitude: float = math.nan


NOTHING = Exif()


def read_exif(data: bytes, *, place: bool) -> Exif:
    """EXIF in the bytes of an image file of any kind; `NOTHING` where there is none, or damaged.

    Without `place` latitude and longitude are not looked at.
    """
    from PIL import Image

    tags = Image.Exif()
    try:
        tags.load(exif_block(data))
        inner, where = tags.get_ifd(_IMAGE), tags.get_ifd(_PLACE) if place else {}
    except DAMAGE:
        return NOTHING
    found = Exif(
        next(filter(None, (_time(inner.get(tag)) for tag in _TAKEN)), ""),
        _camera(tags.get(_MAKE), tags.get(_MODEL)),
        _degrees(where, *_LATITUDE),
        _degrees(where, *_LONGITUDE),
    )
    return NOTHING if found == NOTHING else found


def _time(value: Any) -> str:
    """2021:06:03 12:30:01 in ISO 8601; empty for what is no time, such as a clock never set."""
    numbers = re.findall(r"\d+", value) if isinstance(value, str) else []
    try:
        return datetime(*map(int, numbers[:6])).isoformat() if len(numbers) >= 6 else ""  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return ""


def _camera(maker: Any, model: Any) -> str:
    """Maker and model, once if the model begins with the maker."""
    maker, model = _words(maker), _words(model)
    first = maker.partition(" ")[0].casefold()
    named = model.casefold().startswith(first) if first else True
    return (model if named and model else f"{maker} {model}").strip()[:_LONGEST]


def _words(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    printable = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    return " ".join(printable.split())


def _degrees(place: Any, hemisphere: int, tag: int, most: int) -> float:
    """Degrees, minutes and seconds as a number; NaN for what is no place on the earth."""
    value, side = place.get(tag), place.get(hemisphere)
    if not isinstance(value, Sequence) or not isinstance(side, str):
        return math.nan
    try:
        parts = [float(part) for part in value[:3]]
    except DAMAGE:
        return math.nan
    total = sum(part / 60**power for power, part in enumerate(parts))
    known = bool(parts) and 0 <= total <= most and side[:1].upper() in ("N", "S", "E", "W")
    return math.nan if not known else -total if side[:1].upper() in ("S", "W") else total

"""Text on pictures: any script, drawn where the font has it and transliterated where not.

The font is DejaVu Sans, which matplotlib brings: Latin, Greek, Cyrillic, Armenian, Georgian,
Hebrew, Arabic. The others are spelled in Latin letters by anyascii, and the text says so.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import bidirectional

from clusterpipe.cache.escaping import escaped

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_NAMED = 8  # characters that are told by their number, since several may be spelled alike


@cache
def font(size: int) -> "FreeTypeFont":
    """The font for pictures, in pixels."""
    from PIL import ImageFont

    return ImageFont.truetype(_file(), size)


def drawable(text: str) -> str:
    """The text, in one line, as `font` can draw it."""
    text = escaped(text)
    foreign = [c for c in dict.fromkeys(text) if not _has(c)]
    if not foreign:
        return text
    numbers = " ".join(f"U+{ord(c):04X}" for c in foreign[:_NAMED])
    more = " ..." if len(foreign) > _NAMED else ""
    return f"{' '.join(_spelled(text))} (transliterated: {numbers}{more})"


def _spelled(text: str) -> Iterator[str]:
    """Word by word, so that those the font has stay as they are."""
    from anyascii import anyascii

    for word in text.split(" "):
        yield word if all(map(_has, word)) else anyascii(word).strip()


def _has(character: str) -> bool:
    if bidirectional(character) in ("R", "AL", "AN") and not _shapes():
        return False
    return ord(character) in _characters()


@cache
def _characters() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_file()).get_charmap())


@cache
def _shapes() -> bool:
    """True if Pillow can join letters and write from the right."""
    from PIL import features

    return bool(features.check("raqm"))


def _file() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")

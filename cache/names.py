"""Names from outside as names of ours: what belongs to words in any script, and not too long."""

import os
import re
from collections.abc import Iterator
from unicodedata import category, normalize

LONGEST = 255  # bytes of a name in a folder, on every usual file system
_JOINERS = frozenset("\u200c\u200d")  # within words of Persian, Hindi, ...
_GAP = "\0"


def safe_name(name: str) -> str:
    """`name` as the name of a folder: letters with their marks, digits and `. _ -`; not hidden, not
    empty, at most 200 bytes."""
    words = re.sub(f"{_GAP}+", "_", "".join(_spelled(name, "._-"))).strip("._-")
    return shortened(words, 200).rstrip("._-") or "images"


def file_words(text: str) -> str:
    """A text as part of a file name: red-bicycle; at most 40 characters and 120 bytes."""
    words = re.sub(f"{_GAP}+", "-", "".join(_spelled(text.casefold(), ""))).strip("-")
    return shortened(_whole(words, 40), 120).rstrip("-")


def shortened(name: str, count: int) -> str:
    """As much of the beginning of a name as fits into `count` bytes."""
    used = 0
    for place, character in enumerate(name):
        used += len(os.fsencode(character))
        if used > count:
            return _whole(name, place)
    return name


def _spelled(text: str, kept: str) -> Iterator[str]:
    """The characters that belong to words, and gaps for the others."""
    for character in normalize("NFC", text):
        yield character if _belongs(character) or character in kept else _GAP


def _belongs(character: str) -> bool:
    return character.isalnum() or _is_mark(character) or character in _JOINERS


def _is_mark(character: str) -> bool:
    """True if it is written onto the letter before: vowels of Hindi or Thai, accents."""
    return category(character) in ("Mn", "Mc")


def _whole(text: str, length: int) -> str:
    """At most `length` characters, without a letter whose marks would be cut off."""
    end = length
    while 0 < end < len(text) and (_is_mark(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end]

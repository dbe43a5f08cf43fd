"""Text from outside as it is shown: what would control a terminal or a page is written out."""

import json
from typing import Any
from unicodedata import category

_REVERSING = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""Characters that change the direction of writing."""


def escaped(text: str) -> str:
    r"""The text in one line, with what would control the terminal written out, such as \x1b.

    These are control characters, line breaks, reversals of direction and bytes that are no text.
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _controls(c) else c for c in text)


def json_text(document: Any, *, indent: int | None = None) -> str:
    """JSON for a terminal: read back it is the document, shown it controls nothing."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return "".join(f"\\u{ord(c):04x}" if _controls(c) and c != "\n" else c for c in text)


def _controls(character: str) -> bool:
    return category(character) in ("Cc", "Cs", "Zl", "Zp") or ord(character) in _REVERSING

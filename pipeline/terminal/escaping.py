"""Words on a terminal: what stands in names from outside is shown, never obeyed."""

from unicodedata import category

from rich.text import Text

_REVERSING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # of the direction of writing


def shown(*lines: str, style: str = "") -> Text:
    """The lines, as `escaped`; square brackets are no markup."""
    return Text("\n".join(escaped(line) for line in lines), style)


def message(text: str) -> str:
    """A message of ours, line by line `escaped`."""
    return "\n".join(escaped(line) for line in text.split("\n"))


def escaped(text: str) -> str:
    r"""The text in one line, with what would control the terminal written out, such as \x1b.

    These are control characters, line breaks, reversals of direction and bytes that are no text.
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _controls(c) else c for c in text)


def _controls(character: str) -> bool:
    return category(character) in ("Cc", "Cs", "Zl", "Zp") or ord(character) in _REVERSING

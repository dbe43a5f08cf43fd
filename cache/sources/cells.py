"""Cells of a table that a spreadsheet would take for formulas, made harmless and read back.

A quote in front makes a spreadsheet show a cell as text. So that nothing is lost, a text that
begins with quotes and then like a formula gets one more, too.
"""

import re

OURS = frozenset({"id", "path", "cluster", "digest"})  # columns by which our own tables are known
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MARKED = re.compile(r"'+[=+\-@\t\r]")


def harmless(text: str) -> str:
    """The text as no spreadsheet computes it; `text_of` gives it back."""
    return f"'{text}" if _FORMULA.match(text) else text


def is_marked(cell: str) -> bool:
    """True if `harmless` may have written the cell."""
    return bool(_MARKED.match(cell))


def text_of(cell: str) -> str:
    """The text that `harmless` made the cell from."""
    return cell[1:] if is_marked(cell) else cell

"""Words on a terminal: what stands in names from outside is shown, never obeyed."""

from rich.text import Text

from clusterpipe.cache.escaping import escaped


def shown(*lines: str, style: str = "") -> Text:
    """The lines, as `escaped`; square brackets are no markup."""
    return Text("\n".join(escaped(line) for line in lines), style)


def message(text: str) -> str:
    """A message of ours, line by line `escaped`."""
    return "\n".join(escaped(line) for line in text.split("\n"))

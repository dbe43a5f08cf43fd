"""Progress of long work, reported without knowing who listens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias

Advance: TypeAlias = Callable[[int], None]


class Progress(Protocol):
    """Opens a counter: `with progress("embedding", total=n, unit="images") as advance: ...`."""

    def __call__(
        self, what: str, *, total: int | None, unit: str
    ) -> AbstractContextManager[Advance]: ...


@contextmanager
def silent(what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
    """The progress nobody watches: the default in notebooks and tests."""
    yield lambda done: None

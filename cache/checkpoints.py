"""Work under way, kept so that a killed run goes on with it: one file per run, for one result."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clusterpipe.cache import artifact
from clusterpipe.cache.artifact import Header
from clusterpipe.cache.inspection import inspect
from clusterpipe.cache.provenance import Identity, Provenance
from clusterpipe.cache.schema import Checkpoint


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoint of a run, as far as it leads to what has this `identity`; others are foreign.

    Every write replaces the checkpoint before, a foreign one too.
    """

    path: Path
    identity: Identity

    def header(self) -> Header | None:
        """Stamp of the checkpoint; None if there is none of the same work.

        Raises DamagedArtifact.
        """
        if not self.path.exists():
            return None
        found = artifact.header(self.path, Checkpoint)
        return found if found.identity.key() == self._stamp.key() else None

    def read(self) -> Checkpoint | None:
        """The checkpoint, every byte of it verified; None if there is none of the same work.

        Raises DamagedArtifact.
        """
        if self.header() is None:
            return None
        inspect(self.path)
        return artifact.read(self.path, Checkpoint)

    def write(self, record: Checkpoint, *, seconds: float, device: str) -> None:
        """Keeps `record`, whole or not at all. Raises StorageError."""
        made = Provenance(identity=self._stamp, how={}, seconds=seconds, device=device)
        artifact.write(self.path, record, made)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    @property
    def _stamp(self) -> Identity:
        return replace(self.identity, schema=Checkpoint.schema)


@contextmanager
def unbroken() -> Iterator[None]:
    """Lets Ctrl-C and termination wait until the block is done, so that it is done whole.

    Signals reach the main thread only; in any other there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, frame: Any) -> None:
        arrived.append(number)

    handlers = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])

"""One run on disk: where its artifacts lie, and the lock that keeps two runs apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from clusterpipe.cache import storage
from clusterpipe.cache.errors import RunLocked
from clusterpipe.cache.schema import Artifact

CORRECTIONS = "corrections.jsonl"


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run."""

    folder: Path

    def artifact(self, kind: type[Artifact]) -> Path:
        return self.folder / f"{kind.name}.h5"

    def shards(self, space: str) -> Path:
        return self.folder / "embeddings" / space

    @property
    def config(self) -> Path:
        return self.folder / "pipeline.toml"

    @property
    def appended(self) -> Path:
        """The table of images that were added to the run."""
        return self.folder / "appended.csv"

    @property
    def corrections(self) -> Path:
        """The log of what a person did to the clusters."""
        return self.folder / CORRECTIONS

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def plots(self) -> Path:
        return self.folder / "plots"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for one writer. Raises RunLocked at once when another holds it."""
        with storage.explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise RunLocked(
                    f"{self.folder} is in use by another clusterpipe: wait for it, or name "
                    "another --run-dir"
                ) from None
        try:
            storage.sweep(self.folder)
            yield
        finally:
            lock.release()

"""Encoded words, kept beside a run: one file per vocabulary, prompts, backbone and weights."""

from dataclasses import dataclass
from pathlib import Path

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact
from clusterpipe.cache.provenance import Identity, Provenance
from clusterpipe.cache.schema import WordFeatures


@dataclass(frozen=True)
class WordStore:
    """The files of encoded words in one folder; each is found by the key of what made it."""

    folder: Path

    def path(self, identity: Identity) -> Path:
        return self.folder / f"{identity.key()[:16]}.h5"

    def read(self, identity: Identity) -> WordFeatures | None:
        """Word features kept under `identity`; a missing or damaged file counts as none."""
        path = self.path(identity)
        try:
            if artifact.header(path, WordFeatures).identity != identity:
                return None
            return artifact.read(path, WordFeatures)
        except (MissingArtifact, DamagedArtifact):
            return None

    def write(self, record: WordFeatures, provenance: Provenance) -> None:
        """Keeps `record`, whole or not at all. Raises StorageError."""
        artifact.write(self.path(provenance.identity), record, provenance)

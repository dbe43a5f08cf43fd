"""How long an embedding takes and how much disk it fills, found by timing a few of its images."""

import time
from dataclasses import dataclass

import numpy as np

from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import ImageSource
from clusterpipe.pipeline.config import Config
from clusterpipe.pipeline.console import duration, size
from clusterpipe.stages.backbones import BackboneSpec
from clusterpipe.stages.embed import EmbedConfig, backbone_specs, store

TRIAL = 16


@dataclass(frozen=True)
class Estimate:
    """What a pending embedding takes: images, bytes of features, seconds on `device`."""

    images: int
    bytes: int
    seconds: float
    device: str

    def __str__(self) -> str:
        return (
            f"embedding {self.images:,} images takes about {duration(self.seconds)} on "
            f"{self.device} and {size(self.bytes)} of disk"
        )

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            max(self.images, other.images),
            self.bytes + other.bytes,
            self.seconds + other.seconds,
            other.device,
        )


def pending_images(config: Config, run: RunDirectory, source: ImageSource) -> dict[str, int]:
    """About how many images each space still lacks, judged by number alone."""
    settings: EmbedConfig = config.of("embed")
    done = {
        spec.name: len(store(run.folder, spec, settings).ledger().digest_of)
        for spec in backbone_specs(settings)
    }
    return {name: max(len(source.manifest.id) - count, 0) for name, count in done.items()}


def estimate(config: Config, run: RunDirectory, source: ImageSource) -> Estimate | None:
    """Times a few images through each backbone that has some pending; None if none has.

    Raises WeightsMissing like the embedding would.
    """
    settings: EmbedConfig = config.of("embed")
    pending = pending_images(config, run, source)
    costs = [
        _timed(spec, settings, source, pending[spec.name])
        for spec in backbone_specs(settings)
        if pending[spec.name]
    ]
    return sum(costs[1:], start=costs[0]) if costs else None


def _timed(
    spec: BackboneSpec, settings: EmbedConfig, source: ImageSource, pending: int
) -> Estimate:
    """The first batch warms up, the second is timed."""
    from clusterpipe.stages.backbones import open_backbone
    from clusterpipe.stages.backbones.extraction import extract

    backbone = open_backbone(
        spec, device=settings.device, precision=settings.precision, download=settings.download
    )
    last = len(source.manifest.id) - 1
    rows = np.linspace(0, last, min(TRIAL, last + 1)).astype(int).tolist()
    for _ in range(2):
        began = time.monotonic()
        list(extract(source, rows, backbone, known=lambda _: False, batch_size=len(rows)))
    seconds = (time.monotonic() - began) / len(rows) * pending
    width = backbone.width * np.dtype(settings.dtype).itemsize
    return Estimate(pending, pending * width, seconds, backbone.device)

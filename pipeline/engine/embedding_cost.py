"""Cost of an embedding, in time and on disk, estimated by timing a few of its images."""

import time
from dataclasses import dataclass

import numpy as np

from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import ImageSource
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.units import duration, size
from clusterpipe.stages.embed import EmbedConfig, Target, targets

TRIAL = 16


@dataclass(frozen=True)
class Estimate:
    """Cost of a pending embedding: images, views of them, bytes and seconds on `device`."""

    images: int
    views: int
    bytes: int
    seconds: float
    device: str

    def __str__(self) -> str:
        counts = {"images": self.images, "augmented views": self.views}
        what = " and ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        return (
            f"embedding {what} takes about {duration(self.seconds)} on "
            f"{self.device} and {size(self.bytes)} of disk"
        )

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            max(self.images, other.images),
            max(self.views, other.views),
            self.bytes + other.bytes,
            self.seconds + other.seconds,
            other.device,
        )


def pending_images(config: Config, run: RunDirectory, source: ImageSource) -> dict[Target, int]:
    """About how many images are still to be embedded, judged by number alone."""
    settings: EmbedConfig = config.of("embed")
    wanted = targets(run.folder, settings)
    done = {target: len(target.shards.ledger().digest_of) for target in wanted}
    return {target: max(len(source.manifest.id) - count, 0) for target, count in done.items()}


def estimate(config: Config, run: RunDirectory, source: ImageSource) -> Estimate | None:
    """Times a few images through each backbone that has some pending; None if none has.

    Raises WeightsMissing like the embedding would.
    """
    pending = pending_images(config, run, source)
    costs = [_timed(target, config, source, count) for target, count in pending.items() if count]
    return sum(costs[1:], start=costs[0]) if costs else None


def _timed(target: Target, config: Config, source: ImageSource, pending: int) -> Estimate:
    """The first batch warms up, the second is timed."""
    from clusterpipe.stages.backbones import open_backbone
    from clusterpipe.stages.backbones.extraction import extract

    settings: EmbedConfig = config.of("embed")
    backbone = open_backbone(
        target.spec,
        device=config.compute.device,
        precision=settings.precision,
        download=config.compute.download,
    )
    pictures, last = max(1, target.views), len(source.manifest.id) - 1
    count = min(max(1, TRIAL // pictures), last + 1)
    rows = np.linspace(0, last, count).astype(int).tolist()
    for _ in range(2):
        began = time.monotonic()
        list(
            extract(
                source,
                rows,
                backbone,
                known=lambda _: False,
                views=target.views,
                batch_size=count * pictures,
            )
        )
    seconds = (time.monotonic() - began) / count * pending
    room = pending * pictures * backbone.width * np.dtype(settings.dtype).itemsize
    images, views = (0, pending * pictures) if target.views else (pending, 0)
    return Estimate(images, views, room, seconds, backbone.device)

"""The embedding loop (reading, decoding, preparing, encoding, writing) against the bare forward.

Run: python tests/benchmarks/bench_embed.py [FOLDER]; without a folder, on the demonstration.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from clusterpipe.cache.sources import ImageSource, SourceConfig, open_source
from clusterpipe.stages.backbones import open_backbone, parse
from clusterpipe.stages.embed import EmbedConfig, embed

IMAGES, BATCH = 256, 32


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "demonstration"
    source = open_source(SourceConfig(path, limit=IMAGES))
    if not isinstance(source, ImageSource):
        raise SystemExit("give a folder of images")
    n = len(source.manifest.id)
    backbone = open_backbone(parse(EmbedConfig().backbones[0]))
    pixels = np.zeros((BATCH, *backbone.input_shape), np.float32)
    for _ in range(2):
        began = time.perf_counter()
        for _ in range(n // BATCH):
            backbone.encode_images(pixels)
        bare = (time.perf_counter() - began) / (n // BATCH * BATCH)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        embed(source, folder=Path(folder))
        whole = (time.perf_counter() - began) / n
    print(f"bare forward   {1 / bare:8.1f} images/s")
    print(f"embed          {1 / whole:8.1f} images/s   {whole / bare:.2f} x the bare forward")


if __name__ == "__main__":
    main()

"""Labelled synthetic features of any size: noisy clusters on the sphere.

    python tests/benchmarks/mixture.py OUT.h5 ROWS CLUSTERS WIDTH

OUT.h5 holds `features` (n, d) float16 of unit length and `labels` (n). A row is the centre of its
cluster, plus a part that all rows share, plus noise whose variance falls off over the directions,
scaled to unit length. Seeded, and drawn in blocks, so that memory does not grow with n.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

BLOCK = 20_000
CENTRE, SHARED, NOISE = 0.6, 0.8, 0.6  # lengths of the three parts


def mixture(
    rows: int, clusters: int, width: int, seed: int = 0
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Blocks of unit rows (b, d) and their clusters (b,), of 0.5 to 1.5 times the mean size."""
    random = np.random.default_rng(seed)
    centre = CENTRE * random.standard_normal((clusters, width)) / np.sqrt(width)
    shared = SHARED * random.standard_normal(width) / np.sqrt(width)
    spread = 1 / np.sqrt(np.arange(width) + 4.0)
    spread = random.permutation(NOISE * spread / np.linalg.norm(spread))
    share = random.uniform(0.5, 1.5, clusters)
    for start in range(0, rows, BLOCK):
        label = random.choice(clusters, min(BLOCK, rows - start), p=share / share.sum())
        drawn = random.standard_normal((len(label), width)) * spread + centre[label] + shared
        yield (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32), label


def write(path: Path, rows: int, clusters: int, width: int) -> None:
    """Writes the features and their labels as a file that `run-all` takes."""
    with h5py.File(path, "w") as file:
        features = file.create_dataset("features", (rows, width), "f2")
        labels = file.create_dataset("labels", (rows,), "i8")
        start = 0
        for block, label in mixture(rows, clusters, width):
            features[start : start + len(block)] = block
            labels[start : start + len(block)] = label
            start += len(block)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(int, sys.argv[2:]))

"""Reading features through the index of shards, against one contiguous HDF5 dataset.

Run: python tests/benchmarks/bench_rows.py
"""

import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from clusterpipe.cache import artifact
from clusterpipe.cache.artifact import StoredRows, VirtualRows
from clusterpipe.cache.rows import Rows, blocks

ROWS, WIDTH, SHARDS = 262_144, 768, 256


def gigabytes_per_second(rows: Rows) -> float:
    list(blocks(rows))
    began = time.perf_counter()
    size = sum(block.nbytes for block in blocks(rows))
    return size / (time.perf_counter() - began) / 1e9


def main() -> None:
    rng = np.random.default_rng(0)
    per = ROWS // SHARDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with h5py.File(folder / "whole.h5", "w") as whole:
            target = whole.create_dataset("features", (ROWS, WIDTH), np.float16)
            for shard in range(SHARDS):
                part = rng.normal(size=(per, WIDTH)).astype(np.float16)
                target[shard * per : (shard + 1) * per] = part
                with h5py.File(folder / f"{shard:06d}.h5", "w") as file:
                    file["features"] = part
        runs = tuple((folder / f"{s:06d}.h5", "features", 0, per) for s in range(SHARDS))
        virtual = VirtualRows(runs, (ROWS, WIDTH), np.dtype(np.float16), "")
        with h5py.File(folder / "index.h5", "w") as file:
            artifact._write_virtual(file, "features", virtual)
        shape, dtype = (ROWS, WIDTH), np.dtype(np.float16)
        contiguous = gigabytes_per_second(StoredRows(folder / "whole.h5", "features", shape, dtype))
        indexed = gigabytes_per_second(StoredRows(folder / "index.h5", "features", shape, dtype))
    print(f"contiguous       {contiguous:6.2f} GB/s")
    print(f"through the index{indexed:6.2f} GB/s   {contiguous / indexed:.2f} x slower")


if __name__ == "__main__":
    main()

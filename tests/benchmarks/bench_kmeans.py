"""One run of our k-means (start, repair, inertia) against the bare FAISS call on the same rows.

Run: python tests/benchmarks/bench_kmeans.py
"""

import time

import faiss
import numpy as np

from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import unit_rows

ITERATIONS = 25


def main() -> None:
    rng = np.random.default_rng(0)
    for n, d, k in ((10_000, 512, 50), (60_000, 768, 100)):
        rows = unit_rows(rng.normal(size=(n, d)) + 3 * rng.normal(size=(k, d))[np.arange(n) % k])
        bare = faiss.Kmeans(
            d, k, niter=ITERATIONS, spherical=True, seed=1, max_points_per_centroid=n
        )
        began = time.perf_counter()
        bare.train(rows)
        reference = time.perf_counter() - began
        began = time.perf_counter()
        ours = kmeans(rows, k, spherical=True, iterations=ITERATIONS)
        seconds = time.perf_counter() - began
        assigned = bare.index.search(rows, 1)[0].sum()
        print(
            f"n={n:6,} d={d} k={k:3}  faiss {reference:6.2f} s  ours {seconds:6.2f} s "
            f"({seconds / reference:.2f} x)  mean cosine: faiss {assigned / n:.4f}, "
            f"ours {1 - ours.inertia / n / 2:.4f}"
        )


if __name__ == "__main__":
    main()

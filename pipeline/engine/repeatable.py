"""Equality to the last bit: sums are added up in one order, whatever the cores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from clusterpipe.stages.declaration import Compute


@contextmanager
def repeatable(compute: Compute) -> Iterator[None]:
    """With `compute.deterministic`, one thread in every library, and exact kernels of torch."""
    if not compute.deterministic:
        yield
        return
    import faiss  # noqa: F401 - what is loaded later would not be limited
    import sklearn.cluster  # noqa: F401
    import torch
    from threadpoolctl import threadpool_limits

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for
    threads, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(exact)

"""Reading rows of features: a stated number of them, as numbers that can be computed with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import MappedRows, Rows, take


def sample_of(rows: NDArray[np.integer[Any]], size: int, seed: int) -> NDArray[np.int64]:
    """At most `size` of the row numbers `rows` (m,), drawn at random, ascending."""
    chosen = np.asarray(rows, np.int64)
    if len(chosen) > size:
        chosen = np.random.default_rng(seed).choice(chosen, size, replace=False)
    return np.sort(chosen)


def read_rows(features: Rows, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The rows named by `index`, ascending, as float32. Raises UsageError for NaN or infinity."""
    return take(finite(features), index)


def finite(features: Rows) -> MappedRows:
    """The same features as float32, refusing NaN and infinity as they are read."""
    return MappedRows(features, _finite, features.shape[1])


def _finite(block: NDArray[Any]) -> NDArray[np.float32]:
    block = block.astype(np.float32, copy=False)
    bad = ~np.isfinite(block).all(axis=1)
    if bad.any():
        raise UsageError(
            f"the features of {int(bad.sum())} images or more are not numbers (NaN or infinite): "
            "leave those images out, or embed them again"
        )
    return block

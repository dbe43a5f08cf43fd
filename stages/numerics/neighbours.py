"""Nearest neighbours of unit rows among themselves: exact where few, nearly where many."""

from collections.abc import Callable

import numpy as np

from clusterpipe.stages.numerics.cell_search import cell_search
from clusterpipe.stages.numerics.nearest import Nearest, Sliced, flat, nobody, searched, without

EXACT_UP_TO = 50_000  # rows


def neighbours(
    rows: Sliced,
    count: int,
    *,
    seed: int = 0,
    exact_up_to: int = EXACT_UP_TO,
    done: Callable[[int], None] = nobody,
) -> Nearest:
    """The `count` other rows nearest to each row; (n, q), q = min(count, n - 1).

    rows: (n, d) of unit length. Exact up to `exact_up_to` rows; beyond, `cell_search` finds about
    96% of the neighbours, says how many it found of those of 1,000 random rows, and holds rows in
    half precision, which moves cosines by less than 0.001. Rows are read by slices and held once:
    memory O(n (d + q)). Of equal rows any may come first, but a row is never its own neighbour.
    `done` is told how many rows have been looked up.
    """
    n = rows.shape[0]
    wanted = min(count, n - 1)
    if wanted < 1:
        return Nearest(np.empty((n, 0), np.int64), np.empty((n, 0), np.float32))
    if n > exact_up_to:
        return cell_search(rows, wanted, seed=seed, done=done)
    return without(searched(flat(rows), rows, wanted + 1, done), np.arange(n))

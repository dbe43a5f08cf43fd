"""Evaluation of image search: precision@20 and mAP@100 within classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Advance, Progress, silent
from clusterpipe.cache.rows import Rows, blocks
from clusterpipe.cache.schema import IntArray
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.stages.sampling import finite, read_rows, sample_of

FIRST_HITS, LISTED_HITS = 20, 100  # of precision and of average precision
METRICS = (f"precision@{FIRST_HITS}", f"mAP@{LISTED_HITS}")


@dataclass(frozen=True)
class _Search:
    """Queries and collection of the evaluation: rows with ground truth, and those that ask.

    row, label: (l,) the labelled rows and their classes; query: (m,) places among them whose class
    has another row; available: (m,) how many others.
    """

    row: NDArray[np.int64]
    label: NDArray[np.int64]
    query: NDArray[np.int64]
    available: NDArray[np.int64]


def search_scores(
    features: Rows,
    refined: Rows | None,
    truth: IntArray,
    *,
    queries: int,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The fields of /retrieval of metrics.h5, none without classes of two rows.

    features: (n, d) as embedded; refined: (n, e); truth: (n,), -1 unknown; at most so many
    `queries` are asked, drawn at random.
    A labelled row is looked for among all other labelled ones by cosine. precision@20 is the share
    of its class in the first 20; mAP@100 the mean over queries of the sum of precision at each
    right hit of the first 100, over min(100, others of its class).
    """
    from clusterpipe.stages.numerics import retrieval as ranking

    search = _search(truth, queries, seed)
    if not len(search.query):
        return {}
    spaces = {"embeddings": features, **({} if refined is None else {"refined": refined})}
    total = sum(rows.shape[0] for rows in spaces.values())
    with progress("measuring search", total=total, unit="images") as advance:
        value = [_found(rows, search, advance) for rows in spaces.values()]
    others, available = len(search.row) - 1, search.available
    chance = (
        ranking.chance_precision(available, others),
        ranking.chance_average_precision(available, others, LISTED_HITS),
    )
    return {
        "retrieval_space": strings(spaces),
        "retrieval_metric": strings(METRICS),
        "retrieval_value": np.array(value),
        "retrieval_chance": np.mean(chance, axis=1),
        "retrieval_protocol": _retrieval_protocol(search, queries),
    }


def _search(truth: IntArray, queries: int, seed: int) -> _Search:
    row = np.flatnonzero(truth >= 0)
    label = np.asarray(truth[row], np.int64)
    others = np.bincount(label)[label] - 1
    query = sample_of(np.flatnonzero(others > 0), queries, seed)
    return _Search(row, label, query, others[query])


def _found(rows: Rows, search: _Search, advance: Advance) -> NDArray[np.float64]:
    """precision@20 and mAP@100 of every query among the labelled rows."""
    from clusterpipe.stages.numerics import retrieval as ranking
    from clusterpipe.stages.numerics.nearest import nearest_in_blocks, without
    from clusterpipe.stages.numerics.preparation import unit_rows

    asked = unit_rows(read_rows(rows, search.row[search.query]))
    listed = _labelled_blocks(rows, search.row, advance)
    found = without(nearest_in_blocks(asked, listed, LISTED_HITS + 1), search.query)
    relevant = search.label[found.index] == search.label[search.query][:, None]
    precision = ranking.precision(relevant, FIRST_HITS)
    return np.array(
        [
            precision.mean(),
            ranking.average_precision(relevant, search.available, LISTED_HITS).mean(),
        ]
    )


def _labelled_blocks(
    rows: Rows, labelled: NDArray[np.int64], advance: Advance
) -> Iterator[NDArray[np.float32]]:
    from clusterpipe.stages.numerics.preparation import unit_rows

    start = 0
    for block in blocks(finite(rows)):
        low, high = np.searchsorted(labelled, [start, start + len(block)])
        yield unit_rows(block[labelled[low:high] - start])
        start += len(block)
        advance(len(block))


def _retrieval_protocol(search: _Search, queries: int) -> str:
    drawn = " drawn at random" if len(search.query) == queries < len(search.row) else ""
    return (
        f"search: {len(search.query):,} labelled images{drawn}, each among all {len(search.row):,} "
        f"but itself, by cosine; right is the same class; mAP@{LISTED_HITS}: precision at the "
        f"right hits of the first {LISTED_HITS}, over min({LISTED_HITS}, others of the class); "
        "chance: a random order"
    )

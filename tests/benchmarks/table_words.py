"""What words are worth to clustering: TAC beside k-means on the same features, as Markdown.

Run: python tests/benchmarks/table_words.py WORDS NAME=FILE ...

WORDS is an .npz with `features` and `names` of words, by the text tower of the model that FILE, an
.npz with `features` and `labels`, comes from. Everything is fitted and scored on all rows, at the
true number of clusters, with the default settings: 5 seeds of one fit. "published" is TAC without
centring, its words mixed at temperature 0.005.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from table_refine import cell

from clusterpipe.cache.schema import Assignment
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads.text_aided import TextAided
from clusterpipe.stages.numerics.metrics import agreement

COLUMNS = {
    "k-means": ("spherical-kmeans", True),
    "tac, published": ("tac", False),
    "tac": ("tac", True),
    "tac-trained": ("tac-trained", True),
}


def scores(found: Assignment, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Accuracy, NMI and ARI of each seed."""
    agreed = [agreement(label, seed) for seed in found.label_per_seed]
    return np.array([[one.accuracy, one.nmi, one.ari] for one in agreed])


def main() -> None:
    words, *sets = sys.argv[1:]
    print("| set | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
    for argument in sets:
        name, _, file = argument.partition("=")
        arrays = np.load(Path(file))
        features, label = arrays["features"], np.unique(arrays["labels"], return_inverse=True)[1]
        cells = []
        for method, center in COLUMNS.values():
            config = AssignConfig(methods=(method,), center=center, heads=(TextAided(words),))
            found = assign(features, int(label.max()) + 1, config).methods[method]
            cells.append(cell(scores(found, label)))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

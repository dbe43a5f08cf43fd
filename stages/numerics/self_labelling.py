"""Self-labelling: a network learns a labelling from its surest rows, seen distorted.

The last step of SCAN (Van Gansbeke et al., ECCV 2020), on cached features: noise, neighbours or
augmented views are the strong augmentation. SCAN takes rows of probability above 0.99 and weighs
clusters by inverse frequency; here the surest share of every cluster is taken, since probabilities
of different heads are not on one scale, and no cluster is drawn to the size of another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from clusterpipe.stages.numerics.descent import descend
from clusterpipe.stages.numerics.refinement import shuffled_batches
from clusterpipe.stages.numerics.scp import Pairs


@dataclass(frozen=True)
class SelfLabellingRecipe:
    """epochs: passes over the rows that teach, in at least `least_steps`; batch: rows per step,
    each seen twice; rate: of Adam, falling to 0 by a half cosine. The values are ours."""

    epochs: int = 5
    least_steps: int = 300
    batch: int = 128
    rate: float = 3e-3

    def steps(self, taught: int) -> int:
        """Steps of learning from so many rows."""
        return max(self.least_steps, self.epochs * taught // self.batch)


def confident_rows(
    label: NDArray[np.integer[Any]], probability: NDArray[np.floating[Any]], *, share: float
) -> NDArray[np.int64]:
    """Row numbers, ascending: of each cluster the likeliest `share`, rounded up.

    label, probability: (n,); share: 0 to 1. So every cluster that has rows teaches, and their sizes
    keep their proportions. Among equal probabilities the first rows are taken. Ours.
    """
    order = np.lexsort((-probability, label))
    size = np.bincount(label)
    start = np.cumsum(size) - size
    place = np.arange(len(label)) - start[label[order]]
    return np.sort(order[place < np.ceil(share * size)[label[order]]])


def learn(
    network: nn.Module,
    pairs: Pairs,
    label: NDArray[np.integer[Any]],
    taught: NDArray[np.int64],
    generator: torch.Generator,
    *,
    recipe: SelfLabellingRecipe = SelfLabellingRecipe(),
) -> Iterator[float]:
    """Trains the network in place, and yields the mean cross-entropy of each step, nats per row.

    pairs: from row numbers to two distorted looks at each; label: (n,) of all rows, 0..k-1; taught:
    the row numbers that are learnt from, at least one. Afterwards it is in evaluation.
    """
    row, target = torch.from_numpy(taught), torch.from_numpy(label.astype(np.int64))
    steps = recipe.steps(len(row))
    optimiser = Adam(network.parameters(), lr=recipe.rate)
    schedule = CosineAnnealingLR(optimiser, steps)
    network.train()
    for place in islice(shuffled_batches(len(row), recipe.batch, generator), steps):
        index = row[place]
        loss = cross_entropy(network(torch.cat(pairs(index, generator))), target[index].repeat(2))
        descend(optimiser, loss)
        schedule.step()
        yield loss.item()
    network.eval()

"""TURTLE: clusters that linear classifiers find easy to learn, in one feature space or several.

'fast' (ours) works on principal components in which the differences between neighbours are white
(see `numerics.whitening`) and starts from annealed k-means, so a few dozen steps are enough;
'paper' is the published recipe from a random start.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.coordinates import Axes, own_axes, studied, white_axes
from clusterpipe.stages.heads.probing import PROBE_ERROR, probed
from clusterpipe.stages.heads.protocol import Fits, Training, labelled

if TYPE_CHECKING:
    from torch import Tensor

    from clusterpipe.stages.numerics.turtle import Maps, TurtleRecipe

SCALE = 10.0  # length of the rows: about the norm of CLIP's features
SHARPNESS = 2.0  # of the first labels: a softmax of SCALE * SHARPNESS * cosine
SMALLEST_SHARE = 0.1  # that the prior leaves a cluster, of 1 / k


@dataclass(frozen=True, kw_only=True)
class LinearClusters:
    """The mean, over r spaces, of the softmax of linear maps of a row's coordinates there.

    centroid: (k, d) in the prepared space; direction: (d, e) to the coordinates of all spaces side
    by side, of which `width` (r,) belong to each and are scaled to `length`; weight: (k, e), bias:
    (r, k).
    """

    centroid: NDArray[np.float32]
    direction: NDArray[np.float32]
    width: NDArray[np.int64]
    length: float
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from scipy.special import softmax

        at = np.cumsum(self.width)[:-1]
        spaces = np.split(z.astype(np.float64) @ self.direction, at, axis=1)  # logits are large
        lengths = [np.linalg.norm(x, axis=1, keepdims=True) / self.length for x in spaces]
        units = [
            x / np.where(length > 0, length, 1) for x, length in zip(spaces, lengths, strict=True)
        ]
        parts = zip(units, np.split(self.weight, at, axis=1), self.bias, strict=True)
        each = [softmax((x @ w.T + b) / self.temperature, axis=1) for x, w, b in parts]
        return np.asarray(np.mean(each, axis=0), np.float32)


@dataclass(frozen=True)
class Turtle:
    """Linear labels in every space, started by k-means and trained by classifiers; one per seed."""

    name: ClassVar[str] = "turtle"
    table: ClassVar[str] = "assign.turtle"
    about: ClassVar[str] = "looks for clusters that linear classifiers learn easily"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = PROBE_ERROR
    model: ClassVar[type[LinearClusters]] = LinearClusters

    preset: str = option(
        "fast",
        "'fast' = started from annealed k-means, in seconds to minutes. 'paper' = as "
        "published, for clusters of about equal size, in up to hours.",
        choices=("fast", "paper"),
    )
    balance: float = option(
        10.0,
        "Weight that holds clusters to the sizes of the start (equal ones for 'paper'). 0 = none.",
        least=0,
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        paper = self.preset == "paper"
        axes = own_axes(training) if paper else white_axes(training, k, seeds[0])
        spaces, recipe = axes.placed(training.z, SCALE), self.recipe(k)
        models, total = [], recipe.steps * len(seeds)
        with progress(f"fitting {self.name}", total=total, unit="steps") as advance:
            for seed in seeds:
                start = self._start(spaces, k, training.common.iterations, seed)
                maps = _trained(start, spaces, recipe, seed, advance)
                models.append(_model(maps, axes, training.z))
        return probed(models, training, seeds[0])

    def recipe(self, k: int) -> "TurtleRecipe":
        """Recipe for k clusters."""
        from clusterpipe.stages.numerics.turtle import TurtleRecipe

        fast = TurtleRecipe(
            steps=40,
            inner_steps=5,
            learning_rate=3e-3,
            inner_learning_rate=1e-2,
            balance=self.balance,
            batch=max(1024, 10 * k),
            cold=False,
            decay=True,
        )
        if self.preset == "fast":
            return fast
        return replace(
            fast,
            steps=6000,
            inner_steps=10,
            learning_rate=1e-3,
            inner_learning_rate=1e-3,
            batch=max(10_000, 10 * k),
            cold=True,
            decay=False,
        )

    def _start(
        self, spaces: list[NDArray[np.float32]], k: int, iterations: int, seed: int
    ) -> "_Start":
        import torch

        from clusterpipe.stages.numerics.turtle import random_maps

        if self.preset == "paper":
            generator, widths = torch.Generator().manual_seed(seed), [x.shape[1] for x in spaces]
            return _Start(random_maps(widths, k, generator), torch.full((k,), 1 / k))
        part = studied(len(spaces[0]), k, seed)
        return _annealed([x[part] for x in spaces], k, iterations, seed)


# ---------------------------------------------------------------- start and training


@dataclass(frozen=True)
class _Start:
    """The first maps, and the sizes (k,) that clusters are held to, of sum 1."""

    maps: "Maps"
    prior: "Tensor"


def _annealed(spaces: list[NDArray[np.float32]], k: int, iterations: int, seed: int) -> _Start:
    """From several runs of k-means in all spaces at once: their mean vote, annealed.

    The prior is the sizes of the clusters that come out.
    """
    import torch

    from clusterpipe.stages.numerics.annealing import COLD, annealed_kmeans, memberships
    from clusterpipe.stages.numerics.preparation import unit_rows
    from clusterpipe.stages.numerics.turtle import Maps

    rows = unit_rows(np.hstack(spaces))
    direction = annealed_kmeans(rows, k, iterations=iterations, seed=seed)
    size = memberships(rows, direction, COLD).mean(axis=0)
    prior = np.maximum(size, SMALLEST_SHARE / k)
    parts = np.split(direction, np.cumsum([x.shape[1] for x in spaces])[:-1], axis=1)
    weight = [torch.from_numpy(SHARPNESS * unit_rows(part)) for part in parts]
    maps = Maps(weight, [torch.zeros(k) for _ in spaces])
    return _Start(maps, torch.from_numpy(prior / prior.sum()))


def _trained(
    start: _Start,
    spaces: list[NDArray[np.float32]],
    recipe: "TurtleRecipe",
    seed: int,
    advance: Callable[[int], None],
) -> "Maps":
    import torch

    from clusterpipe.stages.numerics.refinement import shuffled_batches
    from clusterpipe.stages.numerics.turtle import TaskEncoder, train

    encoder, generator = TaskEncoder(start.maps), torch.Generator().manual_seed(seed)
    batches = shuffled_batches(len(spaces[0]), recipe.batch, generator)
    rows = [torch.from_numpy(space) for space in spaces]
    for _ in train(encoder, rows, start.prior, recipe, batches, generator):
        advance(1)
    return encoder.maps


def _model(maps: "Maps", axes: Axes, z: NDArray[np.float32]) -> LinearClusters:
    """The trained maps as arrays, clusters numbered from the largest down; temperature 1."""
    from clusterpipe.stages.numerics.preparation import largest_first, mean_directions

    weight = np.hstack([one.detach().numpy() for one in maps.weight])
    bias = np.stack([one.detach().numpy() for one in maps.bias])
    k = len(weight)
    model = LinearClusters(
        centroid=np.zeros((k, z.shape[1]), np.float32),
        direction=axes.direction,
        width=axes.width,
        length=SCALE,
        weight=weight,
        bias=bias,
        temperature=1.0,
    )
    label = labelled(model, z)
    order = largest_first(label, k)
    centroid = mean_directions(z, label, k)
    return replace(model, centroid=centroid[order], weight=weight[order], bias=bias[:, order])

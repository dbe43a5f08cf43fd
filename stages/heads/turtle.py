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

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress
from clusterpipe.stages.heads.calibration import calibration_rows, temperature_of
from clusterpipe.stages.heads.protocol import Fits, Training, labelled
from clusterpipe.stages.sampling import sample_of

if TYPE_CHECKING:
    from torch import Tensor

    from clusterpipe.stages.numerics.turtle import Maps, Recipe

WIDTH = 128  # principal components of each space
NEIGHBOURS, SHRINKAGE = 8, 0.2  # of the whitening, as in refine
SCALE = 10.0  # length of the rows: about the norm of CLIP's features
STARTS = 8  # runs of k-means that vote on the start
HOT, COLD, ROUNDS = 0.08, 0.03, 20  # of the annealing
SHARPNESS = 2.0  # of the first labels: a softmax of SCALE * SHARPNESS * cosine
STUDIED, STUDIED_PER_CLUSTER = 20_000, 64  # rows that coordinates and start are found from
SMALLEST_SHARE = 0.1  # that the prior leaves a cluster, of 1 / k
PRESETS = ("fast", "paper")


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
    about: ClassVar[str] = "looks for clusters that linear classifiers learn easily"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = "loss"
    model: ClassVar[type[LinearClusters]] = LinearClusters

    iterations: int
    temperature: float
    turtle_preset: str
    turtle_steps: int
    turtle_balance: float
    turtle_prior: float

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        self._check()
        axes = self._axes(training, k, seeds[0])
        spaces, recipe = axes.placed(training.z), self._recipe(k)
        models, losses = [], []
        total = recipe.steps * len(seeds)
        with progress(f"fitting {self.name}", total=total, unit="steps") as advance:
            for seed in seeds:
                trained = _trained(self._start(spaces, k, seed), spaces, recipe, seed, advance)
                models.append(_model(trained.maps, axes, training.z))
                losses.append(trained.loss)
        objective = np.array(losses)
        chosen, part = int(objective.argmin()), calibration_rows(training.z)
        temperature = temperature_of(
            lambda value: replace(models[chosen], temperature=value).soft(part),
            [model.soft(part).argmax(axis=1) for model in models],
            chosen,
            given=self.temperature,
            scale=1.0,
        )
        return Fits([replace(m, temperature=temperature) for m in models], objective, chosen)

    def _check(self) -> None:
        if self.turtle_preset not in PRESETS:
            raise UsageError(
                f"assign.turtle_preset must be {' or '.join(PRESETS)}, not {self.turtle_preset!r}"
            )

    def _recipe(self, k: int) -> "Recipe":
        from clusterpipe.stages.numerics.turtle import Recipe

        fast = Recipe(
            steps=self.turtle_steps or 40,
            inner_steps=5,
            learning_rate=3e-3,
            inner_learning_rate=1e-2,
            balance=self.turtle_balance,
            batch=max(1024, 10 * k),
            cold=False,
            decay=True,
        )
        if self.turtle_preset == "fast":
            return fast
        return replace(
            fast,
            steps=self.turtle_steps or 6000,
            inner_steps=10,
            learning_rate=1e-3,
            inner_learning_rate=1e-3,
            batch=max(10_000, 10 * k),
            cold=True,
            decay=False,
        )

    def _axes(self, training: Training, k: int, seed: int) -> "_Axes":
        """White principal components of every space, or for 'paper' its own axes."""
        if self.turtle_preset == "paper":
            return _Axes(np.eye(training.z.shape[1], dtype=np.float32), np.array(training.widths))
        studied = _studied(len(training.z), k, seed)
        return _side_by_side([_white(space[studied], seed) for space in training.spaces])

    def _start(self, spaces: list[NDArray[np.float32]], k: int, seed: int) -> "_Start":
        import torch

        from clusterpipe.stages.numerics.turtle import random_maps

        if self.turtle_preset == "paper":
            generator, widths = torch.Generator().manual_seed(seed), [x.shape[1] for x in spaces]
            return _Start(random_maps(widths, k, generator), torch.full((k,), 1 / k))
        studied = _studied(len(spaces[0]), k, seed)
        return _annealed([x[studied] for x in spaces], k, self.iterations, self.turtle_prior, seed)


# ---------------------------------------------------------------- coordinates


@dataclass(frozen=True)
class _Axes:
    """direction: (d, e) of all spaces side by side; width: (r,) how many belong to each."""

    direction: NDArray[np.float32]
    width: NDArray[np.int64]

    def placed(self, z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return _coordinates(z, self.direction, self.width, SCALE)


def _coordinates(
    z: NDArray[np.float32],
    direction: NDArray[np.float32],
    width: NDArray[np.int64],
    length: float,
) -> list[NDArray[np.float32]]:
    """Prepared rows (b, d) in each space, (b, width), all of one `length`."""
    from clusterpipe.stages.numerics.preparation import unit_rows

    spaces = np.split(z @ direction, np.cumsum(width)[:-1], axis=1)
    return [unit_rows(rows) * np.float32(length) for rows in spaces]


def _studied(n: int, k: int, seed: int) -> NDArray[np.int64]:
    return sample_of(np.arange(n), max(STUDIED, STUDIED_PER_CLUSTER * k), seed)


def _white(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """The axes (d, e), e <= 128, along which the rows (n, d) differ alike from their neighbours."""
    from clusterpipe.stages.numerics.neighbours import neighbours
    from clusterpipe.stages.numerics.preparation import principal_directions, unit_rows
    from clusterpipe.stages.numerics.whitening import neighbourhood_scatter, whitening

    direction = principal_directions(rows, WIDTH)
    projected = unit_rows(rows @ direction)
    scatter = neighbourhood_scatter(projected, neighbours(projected, NEIGHBOURS, seed=seed).index)
    return np.asarray(direction @ whitening(scatter, shrinkage=SHRINKAGE), np.float32)


def _side_by_side(directions: list[NDArray[np.float32]]) -> _Axes:
    from scipy.linalg import block_diag

    width = np.array([direction.shape[1] for direction in directions])
    return _Axes(np.asarray(block_diag(*directions), np.float32), width)


# ---------------------------------------------------------------- start and training


@dataclass(frozen=True)
class _Start:
    """The first maps, and the sizes (k,) that clusters are held to, of sum 1."""

    maps: "Maps"
    prior: "Tensor"


def _annealed(
    spaces: list[NDArray[np.float32]], k: int, iterations: int, power: float, seed: int
) -> _Start:
    """From several runs of k-means in all spaces at once: their mean vote, annealed.

    power: of the cluster sizes that come out, which gives the prior.
    """
    import torch

    from clusterpipe.stages.numerics.annealing import annealed, memberships
    from clusterpipe.stages.numerics.consensus import matches, votes
    from clusterpipe.stages.numerics.kmeans import kmeans
    from clusterpipe.stages.numerics.preparation import unit_rows
    from clusterpipe.stages.numerics.turtle import Maps

    rows = unit_rows(np.hstack(spaces))
    seeds = np.random.SeedSequence(seed).generate_state(STARTS)
    runs = [kmeans(rows, k, spherical=True, iterations=iterations, seed=int(s)) for s in seeds]
    best = int(np.argmin([run.inertia for run in runs]))
    labels = [run.label for run in runs]
    vote = votes(labels, matches(labels, labels[best], k))
    direction = annealed(rows, unit_rows(vote.T @ rows), hot=HOT, cold=COLD, rounds=ROUNDS)
    size = memberships(rows, direction, COLD).mean(axis=0)
    prior = np.maximum(size, SMALLEST_SHARE / k) ** np.float32(power)
    parts = np.split(direction, np.cumsum([x.shape[1] for x in spaces])[:-1], axis=1)
    weight = [torch.from_numpy(SHARPNESS * unit_rows(part)) for part in parts]
    maps = Maps(weight, [torch.zeros(k) for _ in spaces])
    return _Start(maps, torch.from_numpy(prior / prior.sum()))


@dataclass(frozen=True)
class _Trained:
    """The maps at the end, and the mean loss over the last tenth of the steps."""

    maps: "Maps"
    loss: float


def _trained(
    start: _Start,
    spaces: list[NDArray[np.float32]],
    recipe: "Recipe",
    seed: int,
    advance: Callable[[int], None],
) -> _Trained:
    import torch

    from clusterpipe.stages.numerics.refinement import shuffled_batches
    from clusterpipe.stages.numerics.turtle import TaskEncoder, train

    encoder, generator = TaskEncoder(start.maps), torch.Generator().manual_seed(seed)
    batches = shuffled_batches(len(spaces[0]), recipe.batch, generator)
    rows, losses = [torch.from_numpy(space) for space in spaces], []
    for step in train(encoder, rows, start.prior, recipe, batches, generator):
        losses.append(step.loss)
        advance(1)
    return _Trained(encoder.maps, float(np.mean(losses[-max(1, len(losses) // 10) :])))


def _model(maps: "Maps", axes: _Axes, z: NDArray[np.float32]) -> LinearClusters:
    """The trained maps as arrays, clusters numbered from the largest down; temperature 1."""
    from clusterpipe.stages.numerics.preparation import mean_directions

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
    order = np.argsort(-np.bincount(label, minlength=k), kind="stable")
    centroid = mean_directions(z, label, k)
    return replace(model, centroid=centroid[order], weight=weight[order], bias=bias[:, order])

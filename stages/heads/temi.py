"""TEMI: heads that distil themselves over pairs of neighbours; the head of least loss is kept.

'fast' (ours) has four narrow heads that start from k-means; 'paper' is the published recipe, fifty
heads from a random start, which takes a GPU.
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

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.scp import Pairs
    from clusterpipe.stages.numerics.temi import Layers, Recipe

PRESETS = ("fast", "paper")
SMALLEST_BATCH, BATCHES = 64, 32  # 'fast' has about so many steps per epoch where images are few


@dataclass(frozen=True)
class _Size:
    """Layers of each head, and neighbours that positives are drawn from."""

    heads: int
    width: int
    bottleneck: int
    neighbours: int


SIZES = {"fast": _Size(4, 128, 64, 10), "paper": _Size(50, 512, 256, 50)}


@dataclass(frozen=True, kw_only=True)
class DistilledClusters:
    """The softmax of one head's logits.

    centroid: (k, d) in the prepared space; the layers: see numerics.temi.Layers; losses: (h,) of
    all heads in the last epoch, of which the least was chosen.
    """

    centroid: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    bottleneck: NDArray[np.float32]
    bottleneck_bias: NDArray[np.float32]
    last: NDArray[np.float32]
    losses: NDArray[np.float64]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from scipy.special import softmax

        from clusterpipe.stages.numerics.temi import Layers, logits

        layers = Layers(**{name: getattr(self, name) for name in Layers.__dataclass_fields__})
        return np.asarray(softmax(logits(z, layers) / self.temperature, axis=1), np.float32)


@dataclass(frozen=True)
class Temi:
    """Several heads per seed, of which the one of least training loss is kept."""

    name: ClassVar[str] = "temi"
    about: ClassVar[str] = "teaches several small networks that neighbours belong together"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = "loss"
    model: ClassVar[type[DistilledClusters]] = DistilledClusters

    restarts: int
    iterations: int
    temperature: float
    temi_preset: str
    temi_heads: int
    temi_epochs: int
    temi_beta: float

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        from clusterpipe.stages.numerics.neighbours import neighbours
        from clusterpipe.stages.numerics.scp import neighbour_pairs

        self._check()
        z, count = training.z, SIZES[self.temi_preset].neighbours
        pairs = neighbour_pairs(z, neighbours(z, count, seed=seeds[0]).index)
        total = self._recipe(len(z)).epochs * len(seeds)
        with progress(f"fitting {self.name}", total=total, unit="epochs") as advance:
            models = [self._train(z, pairs, k, seed, advance) for seed in seeds]
        loss, part = np.array([model.losses.min() for model in models]), calibration_rows(z)
        chosen = int(loss.argmin())
        temperature = temperature_of(
            lambda value: replace(models[chosen], temperature=value).soft(part),
            [labelled(model, part) for model in models],
            chosen,
            given=self.temperature,
            scale=1.0,
        )
        return Fits([replace(model, temperature=temperature) for model in models], loss, chosen)

    def _check(self) -> None:
        if self.temi_preset not in PRESETS:
            raise UsageError(
                f"assign.temi_preset must be {' or '.join(PRESETS)}, not {self.temi_preset!r}"
            )
        for name in ("temi_heads", "temi_epochs"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"assign.{name} must be at least 0")
        if not 0 < self.temi_beta <= 1:
            raise UsageError("assign.temi_beta must be above 0 and at most 1")

    def _recipe(self, n: int) -> "Recipe":
        from clusterpipe.stages.numerics.temi import RATE_PER_256, Recipe

        if self.temi_preset == "paper":
            return Recipe(
                epochs=self.temi_epochs or 200,
                start_epochs=0,
                warm_up=20,
                batch=512,
                rate=RATE_PER_256,
                momentum=0.996,
                beta=self.temi_beta,
            )
        return Recipe(
            epochs=self.temi_epochs or 20,
            start_epochs=5,
            warm_up=0,
            batch=min(512, max(SMALLEST_BATCH, n // BATCHES)),
            rate=10 * RATE_PER_256,
            momentum=0.98,  # the teacher must get somewhere in few steps
            beta=self.temi_beta,
        )

    def _train(
        self,
        z: NDArray[np.float32],
        pairs: "Pairs",
        k: int,
        seed: int,
        advance: Callable[[int], None],
    ) -> DistilledClusters:
        from clusterpipe.stages.numerics.temi import Heads, train

        size = SIZES[self.temi_preset]
        heads = self.temi_heads or size.heads
        student, teacher = (
            Heads(heads, z.shape[1], k, width=size.width, bottleneck=size.bottleneck, seed=seed)
            for _ in range(2)
        )
        start, recipe, losses = self._start(z, k, heads, seed), self._recipe(len(z)), []
        for loss in train(student, teacher, pairs, recipe, start=start, n=len(z), seed=seed):
            losses.append(loss)
            advance(1)
        return _model(teacher.layers(int(losses[-1].argmin())), z, losses[-1])

    def _start(
        self, z: NDArray[np.float32], k: int, heads: int, seed: int
    ) -> NDArray[np.int64] | None:
        """Labels (h, n) of k-means, another run for each head."""
        from clusterpipe.stages.numerics.kmeans import kmeans

        if self.temi_preset == "paper":
            return None
        runs = [
            kmeans(
                z,
                k,
                spherical=True,
                restarts=self.restarts,
                iterations=self.iterations,
                seed=int(s),
            )
            for s in np.random.SeedSequence(seed).generate_state(heads)
        ]
        return np.stack([run.label for run in runs]).astype(np.int64)


def _model(
    layers: "Layers", z: NDArray[np.float32], losses: NDArray[np.float64]
) -> DistilledClusters:
    """The layers as a model of temperature 1, clusters numbered from the largest down."""
    from clusterpipe.stages.numerics.preparation import mean_directions

    k = len(layers.last)
    model = DistilledClusters(
        centroid=np.zeros((k, z.shape[1]), np.float32),
        **vars(layers),
        losses=losses,
        temperature=1.0,
    )
    label = labelled(model, z)
    order = np.argsort(-np.bincount(label, minlength=k), kind="stable")
    return replace(model, centroid=mean_directions(z, label, k)[order], last=layers.last[order])

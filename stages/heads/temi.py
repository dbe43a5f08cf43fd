"""TEMI: heads that distil themselves over pairs of neighbours; the head of least loss is kept.

'fast' (ours) has four narrow heads that work in white components (see `heads.coordinates`) and
first learn the labels of annealed k-means; 'paper' is the published recipe, fifty heads from a
random start, which takes a GPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.heads.calibration import probabilities
from clusterpipe.stages.heads.coordinates import Axes, Placed
from clusterpipe.stages.heads.probing import PROBE_ERROR, probed
from clusterpipe.stages.heads.protocol import Fits, Training, labelled

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.scp import Pairs
    from clusterpipe.stages.numerics.temi import Layers, Recipe

SMALLEST_BATCH, PER_CLUSTER = 64, 5
BATCHES = 32  # of 'fast' per epoch, where images are few
TAUGHT, TRAINED = 300, 100  # least steps of 'fast' to learn a start's labels, and then pairs


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

    centroid: (k, d) in the prepared space; direction: (d, e) to the coordinates of all spaces side
    by side, of which `width` (r,) belong to each; the layers: see numerics.temi.Layers; losses:
    (h,) of all heads in the last epoch, of which the least was chosen.
    """

    centroid: NDArray[np.float32]
    direction: NDArray[np.float32]
    width: NDArray[np.int64]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    bottleneck: NDArray[np.float32]
    bottleneck_bias: NDArray[np.float32]
    last: NDArray[np.float32]
    losses: NDArray[np.float64]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.temi import Layers, logits

        layers = Layers(**{name: getattr(self, name) for name in Layers.__dataclass_fields__})
        rows = Axes(self.direction, self.width).rows(z)
        return probabilities(logits(rows, layers), self.temperature)


@dataclass(frozen=True)
class Temi:
    """Several heads per seed, of which that of least training loss is kept."""

    name: ClassVar[str] = "temi"
    about: ClassVar[str] = "teaches several small networks that neighbours belong together"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = PROBE_ERROR
    model: ClassVar[type[DistilledClusters]] = DistilledClusters

    iterations: int
    temperature: float
    temi_preset: str
    temi_heads: int
    temi_epochs: int
    temi_beta: float

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        from clusterpipe.stages.numerics.scp import neighbour_pairs

        placed = Placed.of(training, k, seeds[0], white=not self._is_paper)
        pairs = neighbour_pairs(placed.rows, placed.near(SIZES[self.temi_preset].neighbours))
        total = self._recipe(len(placed.z), k).epochs * len(seeds)
        with progress(f"fitting {self.name}", total=total, unit="epochs") as advance:
            models = [self._train(placed, pairs, k, seed, advance) for seed in seeds]
        return probed(models, training, seeds[0], given=self.temperature)

    @property
    def _is_paper(self) -> bool:
        return self.temi_preset == "paper"

    def _recipe(self, n: int, k: int) -> "Recipe":
        from clusterpipe.stages.numerics.temi import RATE_PER_256, Recipe

        if self._is_paper:
            return Recipe(
                epochs=self.temi_epochs or 200,
                start_epochs=0,
                warm_up=20,
                batch=512,
                rate=RATE_PER_256,
                momentum=0.996,
                beta=self.temi_beta,
            )
        batch = min(512, max(SMALLEST_BATCH, PER_CLUSTER * k, n // BATCHES))
        steps = max(1, n // batch)
        return Recipe(
            epochs=self.temi_epochs or -(-TRAINED // steps),
            start_epochs=-(-TAUGHT // steps),
            warm_up=0,
            batch=batch,
            rate=10 * RATE_PER_256,
            momentum=0.98,  # the teacher must get somewhere in few steps
            beta=self.temi_beta,
        )

    def _train(
        self,
        placed: Placed,
        pairs: "Pairs",
        k: int,
        seed: int,
        advance: Callable[[int], None],
    ) -> DistilledClusters:
        from clusterpipe.stages.numerics.temi import Heads, train

        n, e = placed.rows.shape
        size = SIZES[self.temi_preset]
        heads = self.temi_heads or size.heads
        student, teacher = (
            Heads(heads, e, k, width=size.width, bottleneck=size.bottleneck, seed=seed)
            for _ in range(2)
        )
        start, recipe, losses = self._start(placed, k, heads, seed), self._recipe(n, k), []
        for loss in train(student, teacher, pairs, recipe, start=start, n=n, seed=seed):
            losses.append(loss)
            advance(1)
        return _model(teacher.layers(int(losses[-1].argmin())), losses[-1], placed)

    def _start(self, placed: Placed, k: int, heads: int, seed: int) -> NDArray[np.int64] | None:
        """Labels (h, n) of annealed k-means, the same for every head."""
        if self._is_paper:
            return None
        label = placed.annealed(k, iterations=self.iterations, seed=seed)
        return np.tile(label, (heads, 1))


def _model(layers: "Layers", losses: NDArray[np.float64], placed: Placed) -> DistilledClusters:
    """The layers as a model of temperature 1, clusters numbered from the largest down."""
    from clusterpipe.stages.numerics.preparation import mean_directions

    z, k = placed.z, len(layers.last)
    model = DistilledClusters(
        centroid=np.zeros((k, z.shape[1]), np.float32),
        direction=placed.axes.direction,
        width=placed.axes.width,
        **vars(layers),
        losses=losses,
        temperature=1.0,
    )
    label = labelled(model, z)
    order = np.argsort(-np.bincount(label, minlength=k), kind="stable")
    return replace(model, centroid=mean_directions(z, label, k)[order], last=layers.last[order])

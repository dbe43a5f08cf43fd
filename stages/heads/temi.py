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
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.calibration import probabilities
from clusterpipe.stages.heads.coordinates import Axes, Placed
from clusterpipe.stages.heads.probing import PROBE_ERROR, probed
from clusterpipe.stages.heads.protocol import Fits, Training, labelled

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.scp import Pairs
    from clusterpipe.stages.numerics.temi import Layers, TemiRecipe

SMALLEST_BATCH, PER_CLUSTER = 64, 5
BETA = 0.6  # as published; smaller makes clusters more equal
BATCHES = 32  # of 'fast' per epoch, where images are few
TAUGHT, TRAINED = 300, 100  # least steps of 'fast' to learn a start's labels, and then pairs


@dataclass(frozen=True)
class Size:
    """Layers of each head, and neighbours that positives are drawn from."""

    heads: int
    width: int
    bottleneck: int
    neighbours: int


SIZES = {"fast": Size(4, 128, 64, 10), "paper": Size(50, 512, 256, 50)}


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
    table: ClassVar[str] = "assign.temi"
    about: ClassVar[str] = "teaches several small networks that neighbours belong together"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = PROBE_ERROR
    model: ClassVar[type[DistilledClusters]] = DistilledClusters

    preset: str = option(
        "fast",
        "'fast' has narrow heads in white components that start from annealed k-means; 'paper' "
        "is the recipe as published, from a random start: hours without a GPU.",
        choices=("fast", "paper"),
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        from clusterpipe.stages.numerics.scp import neighbour_pairs

        placed = Placed.of(training, k, seeds[0], white=not self._is_paper)
        pairs = neighbour_pairs(placed.rows, placed.near(self.size.neighbours))
        total = self.recipe(len(placed.z), k).epochs * len(seeds)
        with progress(f"fitting {self.name}", total=total, unit="epochs") as advance:
            starts = [self._start(placed, k, training.common.iterations, seed) for seed in seeds]
            models = [
                self._train(placed, pairs, start, k, seed, advance)
                for start, seed in zip(starts, seeds, strict=True)
            ]
        return probed(models, training, seeds[0])

    @property
    def size(self) -> Size:
        """Of its heads."""
        return SIZES[self.preset]

    @property
    def _is_paper(self) -> bool:
        return self.preset == "paper"

    def recipe(self, n: int, k: int) -> "TemiRecipe":
        """Recipe for n images, in batches large enough for k clusters."""
        from clusterpipe.stages.numerics.temi import RATE_PER_256, TemiRecipe

        if self._is_paper:
            return TemiRecipe(
                epochs=200,
                start_epochs=0,
                warm_up=20,
                batch=512,
                rate=RATE_PER_256,
                momentum=0.996,
                beta=BETA,
            )
        batch = min(512, max(SMALLEST_BATCH, PER_CLUSTER * k, n // BATCHES))
        steps = max(1, n // batch)
        return TemiRecipe(
            epochs=-(-TRAINED // steps),
            start_epochs=-(-TAUGHT // steps),
            warm_up=0,
            batch=batch,
            rate=10 * RATE_PER_256,
            momentum=0.98,  # the teacher must get somewhere in few steps
            beta=BETA,
        )

    def _train(
        self,
        placed: Placed,
        pairs: "Pairs",
        start: NDArray[np.int64] | None,
        k: int,
        seed: int,
        advance: Callable[[int], None],
    ) -> DistilledClusters:
        from clusterpipe.stages.numerics.temi import Heads, train

        n, e = placed.rows.shape
        size = self.size
        student, teacher = (
            Heads(size.heads, e, k, width=size.width, bottleneck=size.bottleneck, seed=seed)
            for _ in range(2)
        )
        recipe, losses = self.recipe(n, k), []
        for loss in train(student, teacher, pairs, recipe, start=start, n=n, seed=seed):
            losses.append(loss)
            advance(1)
        return _model(teacher.layers(int(losses[-1].argmin())), losses[-1], placed)

    def _start(
        self, placed: Placed, k: int, iterations: int, seed: int
    ) -> NDArray[np.int64] | None:
        """Labels (h, n) of annealed k-means, the same for every head."""
        if self._is_paper:
            return None
        label = placed.annealed(k, iterations=iterations, seed=seed)
        return np.tile(label, (self.size.heads, 1))


def _model(layers: "Layers", losses: NDArray[np.float64], placed: Placed) -> DistilledClusters:
    """The layers as a model of temperature 1, clusters numbered from the largest down."""
    from clusterpipe.stages.numerics.preparation import largest_first, mean_directions

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
    order = largest_first(label, k)
    return replace(model, centroid=mean_directions(z, label, k)[order], last=layers.last[order])

"""Self-labelling: a finishing step. A student learns the labels that another head gave.

A perceptron of one hidden layer learns from the images that the head is surest of, seen with noise,
beside neighbours or as augmented views (see `numerics.self_labelling`), and labels all. Its
clusters are those of the head, in their order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.calibration import probabilities
from clusterpipe.stages.heads.protocol import Fits, Training, Verdict, judged

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.scp import Pairs

WIDTH = 256
NOISE = 0.18  # deviation along every axis, of unit rows: in proportion to each it did harm
NEIGHBOURS = 10  # that a distorted row is drawn from


@dataclass(frozen=True, kw_only=True)
class StudentClusters:
    """The softmax of a perceptron's logits.

    centroid: (k, d) in the prepared space; the layers: see numerics.perceptron.
    """

    centroid: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    middle: NDArray[np.float32]
    middle_bias: NDArray[np.float32]
    last: NDArray[np.float32]
    last_bias: NDArray[np.float32]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.perceptron import Layers, logits

        return probabilities(logits(z, Layers.of(self)), self.temperature)


@dataclass(frozen=True)
class SelfLabel:
    """One student per fit of the head that is finished; the student of the chosen fit is chosen."""

    name: ClassVar[str] = "self-label"
    table: ClassVar[str] = "assign.self_label"
    about: ClassVar[str] = "a small network learns the labels of the images that are surest"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = ""  # the objective is that of the head that is finished
    model: ClassVar[type[StudentClusters]] = StudentClusters

    distortion: str = option(
        "noise",
        "View of the images for the student: with noise, as neighbours, or as augmented views"
        " (embed.views = 4).",
        choices=("noise", "neighbours", "views"),
    )
    share: float = option(
        0.8, "Share of each cluster's images, surest first, that teach.", above=0, most=1
    )
    rounds: int = option(
        1, "Rounds; from the second on, the student learns its own labels.", least=1
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        self._check(training)
        lesson, z = training.lesson, training.z
        if lesson is None:
            raise UsageError(f"{self.name} finishes the labels of a head, and none were given")
        pairs, chosen = self._pairs(training, seeds[0]), lesson.chosen
        total = self.rounds * len(seeds)
        with progress(f"fitting {self.name}", total=total, unit="rounds") as advance:
            models = [
                self._taught(z, pairs, verdict, k, seed, advance)
                for verdict, seed in zip(lesson.verdicts, seeds, strict=True)
            ]
        given = training.common.temperature or 1.0
        models = [replace(model, temperature=given) for model in models]
        return Fits(models, lesson.objective, chosen)

    def _check(self, training: Training) -> None:
        if self.distortion == "views" and (training.views is None or training.views.shape[1] < 2):
            raise UsageError(
                "assign.self_label.distortion = 'views' needs at least 2 augmented views of each "
                "image: run `clusterpipe embed --set embed.views=4`, and cluster the features as "
                "embedded (assign.features = embeddings)"
            )

    def _pairs(self, training: Training, seed: int) -> "Pairs":
        from clusterpipe.stages.numerics.neighbours import neighbours
        from clusterpipe.stages.numerics.scp import neighbour_pairs, noise_pairs, view_pairs

        z = training.z
        if self.distortion == "views" and training.views is not None:
            return view_pairs(training.views)
        if self.distortion == "neighbours":
            return neighbour_pairs(z, neighbours(z, NEIGHBOURS, seed=seed).index)
        return noise_pairs(z, NOISE)

    def _taught(
        self,
        z: NDArray[np.float32],
        pairs: "Pairs",
        verdict: Verdict,
        k: int,
        seed: int,
        advance: Callable[[int], None],
    ) -> StudentClusters:
        """A student of that verdict, and after the first round of its own."""
        import torch

        from clusterpipe.stages.numerics.perceptron import perceptron, plain_layers
        from clusterpipe.stages.numerics.preparation import mean_directions
        from clusterpipe.stages.numerics.self_labelling import confident_rows, learn

        network = perceptron(z.shape[1], k, layers=2, width=WIDTH, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        unknown = np.zeros((k, z.shape[1]), np.float32)
        for _ in range(self.rounds):
            label = verdict.label
            taught = confident_rows(label, verdict.probability, share=self.share)
            for _ in learn(network, pairs, label, taught, generator):
                pass
            layers = vars(plain_layers(network))
            model = StudentClusters(centroid=unknown, **layers, temperature=1.0)
            verdict = judged(model, z)
            advance(1)
        return replace(model, centroid=mean_directions(z, verdict.label, k))

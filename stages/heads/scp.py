"""SCP: a five-layer perceptron that learns clusters from pairs of rows of the same thing.

'fast' (ours) is narrow and starts from k-means; 'paper' is the published recipe from a random
start. Positives: neighbours, which need no views and so no second look at any image; augmented
views, as published; or noise.
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
    from clusterpipe.stages.numerics.perceptron import Layers
    from clusterpipe.stages.numerics.scp import Pairs, Recipe

LAYERS = 5
FAST_WIDTH, PAPER_WIDTH = 128, 512
STARTING = 5  # epochs of learning the labels of k-means
SMALLEST_BATCH, BATCHES = 64, 32  # 'fast' has about so many steps per epoch where images are few
NEIGHBOURS = 10  # that positives are drawn from
NOISE = 0.5  # of each dimension's deviation
ALPHAS = (1.0, 3.0)  # tried where none is given
SCORED_BY = 15  # neighbours that the trials are scored by
SMALLEST_SHARE = 0.1  # of the average cluster: an alpha that leaves less is taken only if all do
PRESETS, POSITIVES = ("fast", "paper"), ("neighbours", "views", "noise")


@dataclass(frozen=True, kw_only=True)
class PerceptronClusters:
    """The softmax of a perceptron's logits.

    centroid: (k, d) in the prepared space; the layers: see numerics.perceptron. alpha: the weight
    of balance; alphas (a,) are those that were tried with the first seed, scores (a,) how well
    neighbours agreed on the labels (numerics.selection), less than 0 where a cluster came out tiny.
    """

    centroid: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    middle: NDArray[np.float32]
    middle_bias: NDArray[np.float32]
    last: NDArray[np.float32]
    last_bias: NDArray[np.float32]
    alpha: float
    alphas: NDArray[np.float64]
    scores: NDArray[np.float64]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from scipy.special import softmax

        from clusterpipe.stages.numerics.perceptron import Layers, logits

        layers = Layers(**{name: getattr(self, name) for name in Layers.__dataclass_fields__})
        return np.asarray(softmax(logits(z, layers) / self.temperature, axis=1), np.float32)


@dataclass(frozen=True)
class Scp:
    """One perceptron per seed; the one of lowest loss is chosen."""

    name: ClassVar[str] = "scp"
    about: ClassVar[str] = "teaches a small network that neighbours, or views, are alike"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = "loss"
    model: ClassVar[type[PerceptronClusters]] = PerceptronClusters

    restarts: int
    iterations: int
    temperature: float
    scp_preset: str
    scp_positives: str
    scp_epochs: int
    scp_alpha: float
    scp_prior: float
    scp_consistency: float
    scp_confidence: float

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        self._check(training)
        z, pairs = training.z, self._pairs(training, seeds[0])
        starts = [self._start(z, k, seed) for seed in seeds]
        alphas = (self.scp_alpha,) if self.scp_alpha else ALPHAS
        total = self.scp_epochs * (len(seeds) + len(alphas) - 1)
        with progress(f"fitting {self.name}", total=total, unit="epochs") as advance:
            tried = [self._train(z, pairs, starts[0], a, seeds[0], advance) for a in alphas]
            scores = _scores([one.model for one in tried], z, seeds[0])
            best = int(scores.argmax())
            fits = [tried[best]] + [
                self._train(z, pairs, start, alphas[best], seed, advance)
                for start, seed in zip(starts[1:], seeds[1:], strict=True)
            ]
        return self._calibrated(fits, z, np.array(alphas), scores)

    def _check(self, training: Training) -> None:
        for name, known in {"scp_preset": PRESETS, "scp_positives": POSITIVES}.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"assign.{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}"
                )
        for name in ("scp_alpha", "scp_prior", "scp_consistency", "scp_confidence"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"assign.{name} must be at least 0")
        if self.scp_epochs < 1:
            raise UsageError("assign.scp_epochs must be at least 1")
        if self.scp_positives == "views" and (
            training.views is None or training.views.shape[1] < 2
        ):
            raise UsageError(
                "assign.scp_positives = 'views' needs at least 2 augmented views of each image: "
                "run `clusterpipe embed --set embed.views=4`, and cluster the features as embedded "
                "(assign.features = embeddings)"
            )

    def _pairs(self, training: Training, seed: int) -> "Pairs":
        from clusterpipe.stages.numerics.neighbours import neighbours
        from clusterpipe.stages.numerics.scp import neighbour_pairs, noise_pairs, view_pairs

        if self.scp_positives == "views" and training.views is not None:
            return view_pairs(training.views)
        if self.scp_positives == "noise":
            return noise_pairs(training.z, NOISE)
        return neighbour_pairs(training.z, neighbours(training.z, NEIGHBOURS, seed=seed).index)

    def _start(self, z: NDArray[np.float32], k: int, seed: int) -> "_Start":
        """The labels of k-means and the shares to hold clusters to; or none, and equal shares."""
        from clusterpipe.stages.numerics.kmeans import kmeans

        if self.scp_preset == "paper":
            return _Start(None, np.full(k, 1 / k))
        found = kmeans(
            z, k, spherical=True, restarts=self.restarts, iterations=self.iterations, seed=seed
        )
        share = np.bincount(found.label, minlength=k).astype(np.float64) ** self.scp_prior
        return _Start(found.label, share / share.sum())

    def _recipe(self, n: int, alpha: float) -> "Recipe":
        from clusterpipe.stages.numerics.scp import Recipe

        few = max(SMALLEST_BATCH, n // BATCHES)
        return Recipe(
            epochs=self.scp_epochs,
            start_epochs=STARTING,
            batch=512 if self.scp_preset == "paper" else min(512, few),
            rate=1e-3,
            consistency=self.scp_consistency,
            confidence=self.scp_confidence,
            balance=alpha,
        )

    def _train(
        self,
        z: NDArray[np.float32],
        pairs: "Pairs",
        start: "_Start",
        alpha: float,
        seed: int,
        advance: Callable[[int], None],
    ) -> "_Trained":
        from clusterpipe.stages.numerics.perceptron import perceptron, plain_layers
        from clusterpipe.stages.numerics.scp import train

        k, width = len(start.prior), PAPER_WIDTH if self.scp_preset == "paper" else FAST_WIDTH
        network = perceptron(z.shape[1], k, layers=LAYERS, width=width, seed=seed)
        recipe, loss = self._recipe(len(z), alpha), 0.0
        for epoch in train(
            network, pairs, start.prior, recipe, start=start.label, n=len(z), seed=seed
        ):
            loss = epoch.loss
            advance(1)
        return _Trained(_model(plain_layers(network), z, alpha), loss)

    def _calibrated(
        self,
        fits: "list[_Trained]",
        z: NDArray[np.float32],
        alphas: NDArray[np.float64],
        scores: NDArray[np.float64],
    ) -> Fits:
        loss, part = np.array([fit.loss for fit in fits]), calibration_rows(z)
        chosen = int(loss.argmin())
        temperature = temperature_of(
            lambda value: replace(fits[chosen].model, temperature=value).soft(part),
            [labelled(fit.model, part) for fit in fits],
            chosen,
            given=self.temperature,
            scale=1.0,
        )
        models = [
            replace(fit.model, temperature=temperature, alphas=alphas, scores=scores)
            for fit in fits
        ]
        return Fits(models, loss, chosen)


@dataclass(frozen=True)
class _Start:
    """Labels (n,) to begin with, if any, and the shares (k,) that balance draws clusters to."""

    label: NDArray[np.int64] | None
    prior: NDArray[np.float64]


@dataclass(frozen=True)
class _Trained:
    """A model and its mean loss in the last epoch."""

    model: PerceptronClusters
    loss: float


def _model(layers: "Layers", z: NDArray[np.float32], alpha: float) -> PerceptronClusters:
    """The layers as a model of temperature 1, clusters numbered from the largest down."""
    from clusterpipe.stages.numerics.preparation import mean_directions

    none = np.zeros(0)
    k = len(layers.last)
    model = PerceptronClusters(
        centroid=np.zeros((k, z.shape[1]), np.float32),
        **vars(layers),
        alpha=alpha,
        alphas=none,
        scores=none,
        temperature=1.0,
    )
    label = labelled(model, z)
    order = np.argsort(-np.bincount(label, minlength=k), kind="stable")
    return replace(
        model,
        centroid=mean_directions(z, label, k)[order],
        last=layers.last[order],
        last_bias=layers.last_bias[order],
    )


def _scores(
    models: Sequence[PerceptronClusters], z: NDArray[np.float32], seed: int
) -> NDArray[np.float64]:
    """How far neighbours agree beyond chance, less 1 where a cluster is tiny; of one model, 0."""
    from clusterpipe.stages.numerics.neighbours import neighbours
    from clusterpipe.stages.numerics.selection import neighbour_agreement, smallest_share

    if len(models) == 1:
        return np.zeros(1)
    near, scores = neighbours(z, SCORED_BY, seed=seed).index, []
    for model in models:
        label = labelled(model, z)
        tiny = smallest_share(label, len(model.centroid)) < SMALLEST_SHARE
        scores.append(neighbour_agreement(label, near) - tiny)
    return np.array(scores)

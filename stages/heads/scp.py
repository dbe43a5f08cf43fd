"""SCP: a five-layer perceptron that learns clusters from pairs of rows of the same thing.

'fast' (ours) is narrow, works in white components (see `heads.coordinates`) and first learns the
labels of annealed k-means; 'paper' is the published recipe from a random start. Positives:
neighbours, which need no views and so no second look at any image, and count as much as a network
that was taught something thinks them one thing; augmented views, drawn anew in every pass from
those that are cached; or noise. Where images are few, batches are smaller than published: a network
needs steps.
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
from clusterpipe.stages.heads.coordinates import Axes, Placed
from clusterpipe.stages.heads.probing import PROBE_ERROR, probe_errors, probed
from clusterpipe.stages.heads.protocol import Fits, Training, labelled

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.perceptron import Layers
    from clusterpipe.stages.numerics.scp import Pairs, ScpRecipe

LAYERS = 5
FAST_WIDTH, PAPER_WIDTH = 128, 512
LARGEST_BATCH, SMALLEST_BATCH, PER_CLUSTER = 512, 64, 5
BATCHES = 32  # per epoch, where images are few
PUBLISHED_EPOCHS = 30
TAUGHT, TRAINED = 300, 100  # least steps of 'fast' to learn a start's labels, and then pairs
NEIGHBOURS = 10  # that positives are drawn from
NOISE = 0.5  # of each dimension's deviation
ALPHAS = (1.0, 3.0)  # tried where none is given
SMALLEST_SHARE = 0.1  # of 1 / k, for the prior; an alpha that leaves less is taken last


@dataclass(frozen=True, kw_only=True)
class PerceptronClusters:
    """The softmax of a perceptron's logits.

    centroid: (k, d) in the prepared space; direction: (d, e) to the coordinates of all spaces side
    by side, of which `width` (r,) belong to each; the layers: see numerics.perceptron. alpha: the
    weight of balance; alphas (a,) are those that were tried with the first seed, errors (a,) what
    linear probes miss of the labels, and 1 more where a cluster came out tiny.
    """

    centroid: NDArray[np.float32]
    direction: NDArray[np.float32]
    width: NDArray[np.int64]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    middle: NDArray[np.float32]
    middle_bias: NDArray[np.float32]
    last: NDArray[np.float32]
    last_bias: NDArray[np.float32]
    alpha: float
    alphas: NDArray[np.float64]
    errors: NDArray[np.float64]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.perceptron import Layers, logits

        rows = Axes(self.direction, self.width).rows(z)
        return probabilities(logits(rows, Layers.of(self)), self.temperature)


@dataclass(frozen=True)
class Scp:
    """One perceptron per seed; all seeds take the alpha that is best with the first."""

    name: ClassVar[str] = "scp"
    table: ClassVar[str] = "assign.scp"
    about: ClassVar[str] = "teaches a small network that neighbours, or views, are alike"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = PROBE_ERROR
    model: ClassVar[type[PerceptronClusters]] = PerceptronClusters

    preset: str = option(
        "fast",
        "'fast' = a narrow network, started from annealed k-means. 'paper' = as published, "
        "for tens of thousands of images.",
        choices=("fast", "paper"),
    )
    positives: str = option(
        "neighbours",
        "Pairs to make alike: an image and its neighbours, its augmented views (embed.views ="
        " 4), or itself with noise.",
        choices=("neighbours", "views", "noise"),
    )
    alpha: float = option(
        0.0,
        "Weight of balance, which keeps clusters from dying out. 0 = of two that are tried, "
        "the one that a linear probe learns better.",
        least=0,
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        self._check(training)
        placed = Placed.of(training, k, seeds[0], white=not self._is_paper)
        alphas = (self.alpha,) if self.alpha else ALPHAS
        pairs = self._pairs(placed, training.views)
        starts = [self._start(placed, k, training.common.iterations, seed) for seed in seeds]
        total = self.recipe(len(training.z), k, 0).epochs * (len(seeds) + len(alphas) - 1)
        with progress(f"fitting {self.name}", total=total, unit="epochs") as advance:
            tried = [self._train(placed, pairs, starts[0], a, seeds[0], advance) for a in alphas]
            errors = _errors(tried, training, seeds[0])
            best = int(errors.argmin())
            models = [tried[best]] + [
                self._train(placed, pairs, start, alphas[best], seed, advance)
                for start, seed in zip(starts[1:], seeds[1:], strict=True)
            ]
        models = [replace(model, alphas=np.array(alphas), errors=errors) for model in models]
        return probed(models, training, seeds[0])

    def _check(self, training: Training) -> None:
        if self.positives == "views" and (training.views is None or training.views.shape[1] < 2):
            raise UsageError(
                "assign.scp.positives = 'views' needs at least 2 augmented views of each image: "
                "run `clusterpipe embed --set embed.views=4`, and cluster the features as embedded "
                "(assign.features = embeddings)"
            )

    def _pairs(self, placed: Placed, views: NDArray[np.float32] | None) -> "Pairs":
        from clusterpipe.stages.numerics.scp import neighbour_pairs, noise_pairs, view_pairs

        if self.positives == "views" and views is not None:
            n, v, d = views.shape
            return view_pairs(placed.axes.rows(views.reshape(n * v, d)).reshape(n, v, -1))
        if self.positives == "noise":
            return noise_pairs(placed.rows, NOISE * placed.rows.std(axis=0))
        return neighbour_pairs(placed.rows, placed.near(NEIGHBOURS))

    def _start(self, placed: Placed, k: int, iterations: int, seed: int) -> "_Start":
        """Labels to begin with and the shares to hold clusters to; or none, and equal shares."""
        if self._is_paper:
            return _Start(None, np.full(k, 1 / k))
        label = placed.annealed(k, iterations=iterations, seed=seed)
        share = np.maximum(np.bincount(label, minlength=k) / len(label), SMALLEST_SHARE / k)
        return _Start(label, share / share.sum())

    @property
    def _is_paper(self) -> bool:
        return self.preset == "paper"

    def recipe(self, n: int, k: int, alpha: float) -> "ScpRecipe":
        """Recipe for n images: enough steps, in batches large enough for k clusters."""
        from clusterpipe.stages.numerics.scp import ScpRecipe

        batch = min(LARGEST_BATCH, max(SMALLEST_BATCH, PER_CLUSTER * k, n // BATCHES))
        steps = max(1, n // batch)
        return ScpRecipe(
            epochs=PUBLISHED_EPOCHS if self._is_paper else -(-TRAINED // steps),
            start_epochs=-(-TAUGHT // steps),
            batch=batch,
            rate=1e-3,
            consistency=1.0,
            confidence=1.0,
            balance=alpha,
            weighted=self.positives == "neighbours" and not self._is_paper,
        )

    def _train(
        self,
        placed: Placed,
        pairs: "Pairs",
        start: "_Start",
        alpha: float,
        seed: int,
        advance: Callable[[int], None],
    ) -> PerceptronClusters:
        from clusterpipe.stages.numerics.perceptron import perceptron, plain_layers
        from clusterpipe.stages.numerics.scp import train

        k, width = len(start.prior), PAPER_WIDTH if self._is_paper else FAST_WIDTH
        n, e = placed.rows.shape
        network = perceptron(e, k, layers=LAYERS, width=width, seed=seed)
        recipe = self.recipe(n, k, alpha)
        for _ in train(network, pairs, start.prior, recipe, start=start.label, n=n, seed=seed):
            advance(1)
        return _model(plain_layers(network), placed, alpha)


@dataclass(frozen=True)
class _Start:
    """Labels (n,) to begin with, if any, and the shares (k,) that balance draws clusters to."""

    label: NDArray[np.int64] | None
    prior: NDArray[np.float64]


def _model(layers: "Layers", placed: Placed, alpha: float) -> PerceptronClusters:
    """The layers as a model of temperature 1, clusters numbered from the largest down."""
    from clusterpipe.stages.numerics.preparation import largest_first, mean_directions

    z, none = placed.z, np.zeros(0)
    k = len(layers.last)
    model = PerceptronClusters(
        centroid=np.zeros((k, z.shape[1]), np.float32),
        direction=placed.axes.direction,
        width=placed.axes.width,
        **vars(layers),
        alpha=alpha,
        alphas=none,
        errors=none,
        temperature=1.0,
    )
    label = labelled(model, z)
    order = largest_first(label, k)
    return replace(
        model,
        centroid=mean_directions(z, label, k)[order],
        last=layers.last[order],
        last_bias=layers.last_bias[order],
    )


def _errors(
    models: Sequence[PerceptronClusters], training: Training, seed: int
) -> NDArray[np.float64]:
    """Errors of probes on the labels of each, and 1 more where a cluster is tiny."""
    from clusterpipe.stages.numerics.selection import smallest_share

    labels = [labelled(model, training.z) for model in models]
    k = len(models[0].centroid)
    tiny = np.array([smallest_share(label, k) < SMALLEST_SHARE for label in labels])
    return np.asarray(probe_errors(labels, training, seed) + tiny)

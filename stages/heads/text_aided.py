"""TAC: clusters of what images look like and what words say of them (Li et al., ICML 2024).

Words that tell the images apart are picked from a vocabulary; each image is given the words that
it is like, mixed. `TextAided` clusters both views side by side; `TrainedTextAided` trains a head
for images with another one for texts, which teach each other. Neither needs a text tower again: the
picked words are stored, so new images are labelled exactly as those of the run are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.stages.declaration import option
from clusterpipe.stages.heads.calibration import probabilities
from clusterpipe.stages.heads.kmeans import Centroids, SphericalKMeans
from clusterpipe.stages.heads.protocol import Fits, Training, words_of

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.tac import Layers, Pairs

TEXT_TEMPERATURE, CENTRED_TEXT_TEMPERATURE = 0.005, 0.05  # as published; ours, for centred rows
NEIGHBOURS = 50
MANY = 100  # clusters, beyond which the settings for many are taken
NOUNS, BALANCE = 5, 5.0  # words picked per centre, weight of equal sizes; as published
LAST = 0.1  # share of the steps whose mean loss is compared


@dataclass(frozen=True, kw_only=True)
class TextAidedClusters:
    """Clusters by the nearest of k centres among images beside their text counterparts.

    centroid: (k, d) in the prepared space; noun: (m, d) the picked words, unit rows;
    text_temperature: of their mixture; place: (k, 2 d) the centres among both views.
    """

    centroid: NDArray[np.float32]
    noun: NDArray[np.float32]
    text_temperature: float
    place: NDArray[np.float32]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        both = _both(z, self.noun, float(self.text_temperature))
        return Centroids(self.place, self.temperature).soft(both)


@dataclass(frozen=True)
class TextAided:
    """Spherical k-means in both views side by side; all seeds share the picked words."""

    name: ClassVar[str] = "tac"
    table: ClassVar[str] = "assign.tac"
    about: ClassVar[str] = "sets the words that an image is like beside its features"
    unit: ClassVar[bool] = True
    minimised: ClassVar[str] = "inertia"
    model: ClassVar[type[Any]] = TextAidedClusters

    vocabulary: str = option(
        "",
        "Words to pick from, as in caption.vocabulary. Empty = the backbone's own, else "
        "imagenet-21k.",
    )

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        from clusterpipe.stages.numerics.kmeans import nearest
        from clusterpipe.stages.numerics.preparation import mean_directions

        noun = self.picked(training, k, seeds[0], progress)
        mixing = _mixing(training)
        both = _both(training.z, noun, mixing)
        inner = Training.of(both, training.common)
        fits = SphericalKMeans().fit(inner, k, seeds, progress, named=self.name)
        models = [
            TextAidedClusters(
                centroid=mean_directions(training.z, nearest(both, fit.centroid).label, k),
                noun=noun,
                text_temperature=mixing,
                place=fit.centroid,
                temperature=fit.temperature,
            )
            for fit in fits.models
        ]
        return Fits(models, fits.objective, fits.chosen)

    def picked(
        self, training: Training, k: int, seed: int, progress: Progress
    ) -> NDArray[np.float32]:
        """The words (m, d) that tell the semantic centres of the images apart, unit rows.

        Words are centred if the images are: what all words share tells none of them apart.
        """
        from clusterpipe.stages.numerics.kmeans import kmeans
        from clusterpipe.stages.numerics.preparation import center_of, prepare, unit_rows
        from clusterpipe.stages.numerics.tac import centre_count, select_words

        z, words = training.z, unit_rows(words_of(training, self.name).feature)
        if training.common.center:
            words = prepare(words, center_of(words, unit=True), unit=True)
        count = centre_count(len(z), k)
        with progress("picking words", total=count, unit="centres") as advance:
            found = kmeans(
                z,
                count,
                spherical=True,
                restarts=training.common.restarts,
                iterations=training.common.iterations,
                seed=seed,
            )
            advance(count)
        return words[select_words(unit_rows(found.centroid), words, each=NOUNS)]


@dataclass(frozen=True, kw_only=True)
class TrainedClusters:
    """Clusters by a head with one hidden layer; batch normalisation is folded into it.

    centroid: (k, d) in the prepared space; hidden_weight (h, d), hidden_bias (h,), weight (k, h)
    and bias (k,): see `numerics.tac.Layers`.
    """

    centroid: NDArray[np.float32]
    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float

    def soft(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        from clusterpipe.stages.numerics.tac import Layers

        layers = Layers(self.hidden_weight, self.hidden_bias, self.weight, self.bias)
        return probabilities(layers.logits(z), self.temperature)


@dataclass(frozen=True)
class _Trained:
    """An image head, its clusters from the largest down, and the loss at the end."""

    layers: "Layers"
    loss: float


@dataclass(frozen=True)
class TrainedTextAided(TextAided):
    """Two heads taught by each other, anew with each seed; the one for images assigns."""

    least_steps: ClassVar[int] = 100
    name: ClassVar[str] = "tac-trained"
    table: ClassVar[str] = "assign.tac"
    about: ClassVar[str] = "trains a head by such words; slower"
    minimised: ClassVar[str] = "loss at the end of training"
    model: ClassVar[type[Any]] = TrainedClusters

    def fit(self, training: Training, k: int, seeds: Sequence[int], progress: Progress) -> Fits:
        from clusterpipe.stages.numerics.preparation import mean_directions

        z = training.z
        pairs = self._pairs(training, self.picked(training, k, seeds[0], progress))
        trained = [self._trained(pairs, k, seed, progress) for seed in seeds]
        labels = [one.layers.logits(z).argmax(axis=1) for one in trained]
        loss = np.array([one.loss for one in trained])
        chosen = int(loss.argmin())
        temperature = training.common.temperature or 1.0
        models = [
            TrainedClusters(
                centroid=mean_directions(z, label, k), temperature=temperature, **vars(one.layers)
            )
            for one, label in zip(trained, labels, strict=True)
        ]
        return Fits(models, loss, chosen)

    def _pairs(self, training: Training, noun: NDArray[np.float32]) -> "Pairs":
        import torch

        from clusterpipe.stages.numerics.neighbours import neighbours
        from clusterpipe.stages.numerics.tac import Pairs, text_counterparts

        z = training.z
        text = text_counterparts(z, noun, temperature=_mixing(training))
        near = [neighbours(view, NEIGHBOURS).index for view in (z, text)]
        return Pairs(*map(torch.from_numpy, (z, text, *near)))

    def _trained(self, pairs: "Pairs", k: int, seed: int, progress: Progress) -> "_Trained":
        from clusterpipe.stages.numerics.tac import Weights, train, two_heads

        n, d = pairs.image.shape
        epochs, batch, temperature = (20, 512, 0.5) if k <= MANY else (100, 8192, 5.0)
        steps = max(self.least_steps, epochs * max(1, n // batch))
        heads, losses = two_heads(d, k, seed=seed), list[float]()
        weights = Weights(BALANCE, temperature)
        with progress(f"training {self.name}", total=steps, unit="steps") as advance:
            for loss in train(heads, pairs, steps=steps, batch=batch, weights=weights, seed=seed):
                losses.append(loss)
                advance(1)
        layers = heads.image_layers()
        label = layers.logits(pairs.image.numpy()).argmax(axis=1)
        return _Trained(layers.by_size(label), float(np.mean(losses[-int(LAST * steps) :])))


def _mixing(training: Training) -> float:
    """The temperature of the mixture of words: centred rows have larger cosines with them."""
    return CENTRED_TEXT_TEMPERATURE if training.common.center else TEXT_TEMPERATURE


def _both(
    z: NDArray[np.float32], noun: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    """Prepared rows (b, d) beside their text counterparts, unit rows (b, 2 d)."""
    from clusterpipe.stages.numerics.preparation import unit_rows
    from clusterpipe.stages.numerics.tac import text_counterparts

    return unit_rows(np.hstack([z, text_counterparts(z, noun, temperature=temperature)]))

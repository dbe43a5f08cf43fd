"""refine: turns features so that images of a kind draw together and kinds draw apart."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.checkpoints import CheckpointStore, unbroken
from clusterpipe.cache.errors import Interrupted, UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import LaterRows, MappedRows, Rows, StackedRows
from clusterpipe.cache.schema import Checkpoint, Embeddings, Refined, StringArray
from clusterpipe.stages.declaration import Compute, Input, check, option, stage
from clusterpipe.stages.sampling import (
    as_rows,
    described_rows,
    different,
    finite,
    read_rows,
    rows_of_split,
    sample_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from clusterpipe.stages.numerics.feature_map import RefinementNetwork
    from clusterpipe.stages.numerics.nearest import Nearest
    from clusterpipe.stages.numerics.refinement import Objective, Step, TrainingRun

CHECKED_ROWS = 4096  # rows on which the finished map is checked for collapse
WIDTH = 128  # of what 'scalable' takes by itself; CPP's for all but ImageNet
SCALABLE_LEARNING_RATE = 2e-4
SCALABLE_STEPS = 60  # at most
GROUP_TEMPERATURE = 0.1  # of the softmax over cosines that starts `groups`
PUBLISHED_LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class RefineConfig:
    """Settings of the refine stage. 0 means: chosen by the preset, or from the data."""

    table: ClassVar[str] = "refine"

    space: str = option(
        "",
        "Feature space to refine, such as clip. Empty = the first, 'concatenate' = all side "
        "by side.",
    )
    preset: str = option(
        "scalable",
        "'scalable' = a linear map, in seconds. 'paper' = CPP's network and recipe as "
        "published, in minutes to hours.",
        choices=("scalable", "paper"),
    )
    width: int = option(
        0,
        "Width of refined features. 0 = 128 ('scalable') or the published number ('paper'). "
        "Raise it for thousands of kinds.",
        least=0,
    )
    epsilon_squared: float = option(
        0.1,
        "Squared distortion of coding rates. Smaller pays attention to finer differences and "
        "to noise.",
        above=0,
    )
    temperature: float = option(
        0.0,
        "Softness of membership; lower keeps only near-duplicates together. 0 = measured "
        "('scalable') or published ('paper').",
        least=0,
    )
    neighbours: int = option(
        8,
        "Nearest images to keep each image together with ('scalable'). Lower it if kinds hold"
        " only a handful of images.",
        least=1,
    )
    shrinkage: float = option(
        0.2,
        "Share of neighbour differences taken as alike in all directions ('scalable'). Raise "
        "it for few or noisy images.",
        least=0,
    )
    groups: int = option(
        0,
        "Soft groups of the objective ('scalable'), more than there are kinds. 0 = each image"
        " with its neighbours.",
        least=0,
    )
    compression: float = option(
        1.0,
        "Weight of drawing alike images together ('scalable'). Lower it if kinds run into one"
        " another, raise it if they stay loose.",
        least=0,
    )
    epochs: int = option(
        0,
        "Passes over the images. 0 = one, or at most 60 steps ('scalable'), or the published "
        "number ('paper').",
        least=0,
    )
    batch: int = option(
        1024,
        "Images per step, neighbours included; several times `width`.",
        least=2,
    )
    learning_rate: float = option(
        0.0, "Step size. 0 = by preset. Lower it if refinement collapses.", least=0
    )
    hidden: int = option(
        0,
        "Hidden units of the 'paper' network. 0 = the published number for this many images.",
        least=0,
    )
    warmup_steps: int = option(
        0,
        "Steps that only spread features apart ('paper'). 0 = the published number.",
        least=0,
    )
    sample: int = option(
        100_000,
        "Sampled rows to train on, held in memory (8 bytes x feature width each); all images "
        "are refined.",
        least=2,
    )
    fit_split: str = option(
        "",
        "Train on this split only, such as train; all images are refined. Empty = all. Set "
        "assign.fit_split alike.",
    )
    checkpoint_seconds: int = option(
        60,
        "Seconds between checkpoints of the training, the most that a kill can cost.",
        affects_result=False,
        least=0,
    )


def _reads(config: RefineConfig) -> Mapping[str, Input]:
    inputs = {"features": Input(Embeddings, "{space}/features")}
    if config.fit_split:
        inputs["split"] = Input(Embeddings, "split", optional=True)
    return inputs


def _extended(previous: Refined, arguments: Mapping[str, Any], before: int) -> Refined:
    """Appended images go through the map as it is."""
    from clusterpipe.stages.numerics.feature_map import apply_map

    rows = finite(LaterRows(arguments["features"], before))
    mapped = MappedRows(rows, partial(apply_map, previous.parameters), previous.features.shape[1])
    return replace(previous, features=StackedRows([previous.features, mapped]))


@stage(version=3, config=RefineConfig, reads=_reads, writes=Refined, extend=_extended, resumes=True)
def refine(
    features: Rows,
    config: RefineConfig = RefineConfig(),
    *,
    split: StringArray | None = None,
    seed: int = 0,
    checkpoint: CheckpointStore | None = None,
    compute: Compute = Compute(),
    progress: Progress = silent,
) -> Refined:
    """Refine features by rate reduction, without labels and without the number of clusters.

    features: (n, d), n >= 2, of any length and precision; split: (n,). Rows that nearly repeat an
    earlier one (`numerics.near_copies`) are refined, but nothing is learnt from them. Returns
    refined features (n, e), unit rows in float32, computed anew whenever they are read; the map as
    arrays for `numerics.feature_map.apply_map`; and the objective at each step. Training goes on
    from `checkpoint` and is kept there; on one CPU the result is the same to the bit. Raises
    UsageError when the features cannot be refined or training collapsed, StorageError when the disk
    is full. CPP (Chu et al. 2024); 'scalable' is ours.
    """
    from clusterpipe.stages.numerics.feature_map import apply_map
    from clusterpipe.stages.numerics.preparation import center_of, prepare

    config, features = check(config), as_rows(features)
    if features.shape[0] < 2:
        raise UsageError(f"refine needs at least 2 images, not {features.shape[0]}")
    candidates = rows_of_split(
        features.shape[0], split, config.fit_split, setting="refine.fit_split"
    )
    index = sample_of(candidates, config.sample, seed)
    if len(index) < 2:
        raise UsageError(f"refine needs at least 2 images of split {config.fit_split!r}")
    rows = read_rows(features, index)
    rows = rows[different(rows, seed=seed)]
    center = center_of(rows, unit=True)
    begin = _published if config.preset == "paper" else _scalable
    z, device = prepare(rows, center, unit=True), _device(compute.device)
    training = begin(z, len(candidates), config, device, seed)
    steps = _train(training, config, checkpoint, progress)
    parameters = training.parameters(center)
    return Refined(
        features=MappedRows(finite(features), partial(apply_map, parameters), training.width),
        parameters=parameters,
        **_terms(steps),
        fitted_on=described_rows(len(index), len(candidates), config.fit_split),
    )


@dataclass(frozen=True)
class _Training:
    """Training, and the rows that its network learns from, projected on `directions` if any.

    `on_a_line` says that the rows differ in sign only before they are refined.
    """

    sample: "Tensor"
    run: "TrainingRun"
    directions: NDArray[np.float32] | None = None
    on_a_line: bool = False

    @property
    def network(self) -> "RefinementNetwork":
        return self.run.network

    @property
    def width(self) -> int:
        return self.network.feature_head.out_features

    def parameters(self, center: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        from clusterpipe.stages.numerics.feature_map import map_parameters

        return map_parameters(self.network, center, self.directions)


def _scalable(
    sample: NDArray[np.float32], n: int, config: RefineConfig, device: str, seed: int
) -> _Training:
    """The linear map that makes neighbourhoods white, trained further on sparse membership rows."""
    import torch

    from clusterpipe.stages.numerics.neighbours import neighbours
    from clusterpipe.stages.numerics.preparation import principal_directions, unit_rows
    from clusterpipe.stages.numerics.rate import coding_rate
    from clusterpipe.stages.numerics.refinement import is_collapsed, train_balanced

    if not sample.any():
        raise UsageError(
            f"cannot refine: the variance of the {len(sample):,} images read is 0: nothing to tell "
            "apart"
        )
    components = principal_directions(sample, config.width or WIDTH).T.copy()
    rows = unit_rows(sample @ components.T)
    nearest = neighbours(rows, config.neighbours, seed=seed)
    directions = _whitening(rows, nearest, config.shrinkage) @ components
    start = unit_rows(sample @ directions.T)
    projected = torch.from_numpy(start).to(device)
    network = _linear_network(start, config, seed).to(device)
    objective = _objective(network, projected, nearest, config)
    size = max(1, config.batch if config.groups else config.batch // (config.neighbours + 1))
    per_epoch = _steps_per_epoch(len(sample), size)
    steps = config.epochs * per_epoch or min(per_epoch, SCALABLE_STEPS)
    run = train_balanced(
        network,
        objective,
        _batches(len(sample), size, seed),
        steps=steps,
        compression=config.compression,
        learning_rate=config.learning_rate or SCALABLE_LEARNING_RATE,
    )
    before = float(coding_rate(projected, epsilon_squared=config.epsilon_squared))
    on_a_line = is_collapsed(before, width=start.shape[1], epsilon_squared=config.epsilon_squared)
    return _Training(projected, run, directions, on_a_line)


def _whitening(
    rows: NDArray[np.float32], nearest: "Nearest", shrinkage: float
) -> NDArray[np.float32]:
    from clusterpipe.stages.numerics.whitening import neighbourhood_scatter, whitening

    return whitening(neighbourhood_scatter(rows, nearest.index), shrinkage=shrinkage)


def _linear_network(
    start: NDArray[np.float32], config: RefineConfig, seed: int
) -> "RefinementNetwork":
    """The identity on `start`, with the logits of soft groups around k-means centres if asked."""
    from clusterpipe.stages.numerics.feature_map import linear_network
    from clusterpipe.stages.numerics.kmeans import kmeans

    if not config.groups:
        return linear_network(start.shape[1])
    if config.groups > len(start):
        raise UsageError(f"refine.groups = {config.groups} is more than there are images")
    centres = kmeans(start, config.groups, spherical=True, seed=seed).centroid
    temperature = config.temperature or GROUP_TEMPERATURE
    return linear_network(start.shape[1], groups=centres / np.float32(temperature))


def _objective(
    network: "RefinementNetwork", sample: "Tensor", nearest: "Nearest", config: RefineConfig
) -> "Objective":
    import torch

    from clusterpipe.stages.numerics.membership import neighbour_membership
    from clusterpipe.stages.numerics.refinement import on_groups, on_neighbourhoods

    if config.groups:
        return on_groups(network, sample, epsilon_squared=config.epsilon_squared)
    start = sample.cpu().numpy()
    cosine = np.einsum("ne,nqe->nq", start, start[nearest.index])
    membership = neighbour_membership(nearest.index, cosine, temperature=config.temperature)
    support, weight = (
        torch.from_numpy(part).to(sample.device) for part in (membership.support, membership.weight)
    )
    return on_neighbourhoods(
        network, sample, support, weight, epsilon_squared=config.epsilon_squared
    )


def _published(
    sample: NDArray[np.float32], n: int, config: RefineConfig, device: str, seed: int
) -> _Training:
    """CPP's network and recipe, with its settings for a collection of `n` images."""
    import torch

    from clusterpipe.stages.numerics import refinement
    from clusterpipe.stages.numerics.feature_map import published_network

    published = refinement.published_settings(n)
    rows = torch.from_numpy(sample).to(device)
    network = published_network(
        sample.shape[1],
        hidden=config.hidden or published.hidden,
        width=config.width or published.width,
        seed=seed,
    ).to(device)
    warmup_steps = config.warmup_steps or published.warmup_steps
    epochs = config.epochs or published.epochs
    steps = epochs * _steps_per_epoch(len(sample), config.batch)
    run = refinement.train_published(
        network,
        rows,
        _batches(len(sample), config.batch, seed),
        warmup_steps=warmup_steps,
        steps=steps,
        epsilon_squared=config.epsilon_squared,
        temperature=config.temperature or published.temperature,
        learning_rate=config.learning_rate or PUBLISHED_LEARNING_RATE,
    )
    return _Training(rows, run)


def _train(
    training: _Training,
    config: RefineConfig,
    checkpoint: CheckpointStore | None,
    progress: Progress,
) -> "list[Step]":
    """Takes all steps that are left, and refuses a map that makes all images the same."""
    import torch

    run = training.run
    steps = _resumed(run, checkpoint)
    what = f"refining, resumed after {run.done:,} of {run.steps:,} steps" if steps else "refining"
    with (
        progress(what, total=run.steps - run.done, unit="steps") as advance,
        _keeping(training, steps, checkpoint, config) as now_and_then,
    ):
        try:
            while run.done < run.steps:
                with unbroken():
                    steps.append(run.step())
                _refuse_collapse(steps[-1].rate, training, config)
                now_and_then()
                advance(1)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise _collapsed("the features left all bounds") from error
    _refuse_collapse(_final_rate(training, config.epsilon_squared), training, config)
    return steps


def _resumed(run: "TrainingRun", checkpoint: CheckpointStore | None) -> "list[Step]":
    """The steps that lie behind a training that was broken off, which goes on where it was."""
    from clusterpipe.stages.numerics.refinement import Step

    kept = checkpoint.read() if checkpoint else None
    if kept is None:
        return []
    run.resume(kept.state, done=kept.done)
    terms = (kept.rate.tolist(), kept.membership_rate.tolist(), kept.loss.tolist())
    return [Step(*step) for step in zip(*terms, strict=True)]


@contextmanager
def _keeping(
    training: _Training,
    steps: "list[Step]",
    checkpoint: CheckpointStore | None,
    config: RefineConfig,
) -> Iterator[Callable[[], None]]:
    """Keeps what is to be resumed when it is interrupted, and if due when what it yields is called.

    To be called between steps.
    """
    run, device = training.run, str(training.sample.device)
    written = began = time.monotonic()

    def write() -> None:
        nonlocal written
        if checkpoint and steps:
            seconds = time.monotonic() - began
            checkpoint.write(_checkpoint(run, steps), seconds=seconds, device=device)
        written = time.monotonic()

    def now_and_then() -> None:
        if run.done < run.steps and time.monotonic() - written >= config.checkpoint_seconds:
            write()

    try:
        yield now_and_then
    except (Interrupted, KeyboardInterrupt):
        write()
        raise


def _checkpoint(run: "TrainingRun", steps: "list[Step]") -> Checkpoint:
    return Checkpoint(state=run.state(), done=run.done, steps=run.steps, **_terms(steps))


def _terms(steps: "list[Step]") -> dict[str, NDArray[np.float32]]:
    """The terms of the objective at each step, each (t,)."""
    names = ("rate", "membership_rate", "loss")
    return {name: np.array([getattr(step, name) for step in steps], np.float32) for name in names}


def _final_rate(training: _Training, epsilon_squared: float) -> float:
    """R of rows spread evenly over the sample, under the map as it will be used."""
    import torch

    from clusterpipe.stages.numerics.rate import coding_rate

    network = training.network.eval()
    rows = training.sample[:: math.ceil(len(training.sample) / CHECKED_ROWS)]
    with torch.no_grad():
        z = network.features(network.hidden(rows))
    return float(coding_rate(z, epsilon_squared=epsilon_squared))


def _refuse_collapse(rate: float, training: _Training, config: RefineConfig) -> None:
    """Training must not put rows on one line; those that were there before, a linear map keeps."""
    from clusterpipe.stages.numerics.refinement import is_collapsed

    if training.on_a_line and math.isfinite(rate):
        return
    if is_collapsed(rate, width=training.width, epsilon_squared=config.epsilon_squared):
        raise _collapsed(f"all images became the same, with a coding rate of {rate:.2f} nats")


def _collapsed(what: str) -> UsageError:
    return UsageError(
        f"refinement collapsed: {what}. Lower refine.learning_rate, or use refine.preset=scalable "
        "with its defaults."
    )


def _batches(n: int, size: int, seed: int) -> "Iterator[Tensor]":
    import torch

    from clusterpipe.stages.numerics.refinement import shuffled_batches

    return shuffled_batches(n, size, torch.Generator().manual_seed(seed))


def _steps_per_epoch(n: int, batch: int) -> int:
    return max(1, n // batch)


def _device(name: str) -> str:
    """The device to train on; auto takes no mps, which lacks some of the linear algebra."""
    import torch

    from clusterpipe.stages.backbones.network import resolve_device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return resolve_device(name)

"""Fits the methods that are asked for, each on the rows that it clusters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.cache.rows import Rows
from clusterpipe.stages import heads
from clusterpipe.stages.heads.calibration import calibrated
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.protocol import (
    Common,
    Fits,
    Head,
    Lesson,
    Member,
    Training,
    Verdict,
    Words,
    kind_of,
)
from clusterpipe.stages.heads.zero_shot import ZeroShot

CONSENSUS = Consensus.name


@dataclass(frozen=True)
class Data:
    """All rows of `features` (n, d), of spaces of these widths, and those of the fit in memory.

    index: (m,) their numbers, rows: (m, d); fitted_on: the same in words; space: what the features
    are; words: in the same space, for methods that read some; views: (m, v, d), augmented; start:
    the column where these features begin among all that a consensus sees.
    """

    features: Rows
    widths: tuple[int, ...]
    index: NDArray[np.int64]
    rows: NDArray[np.float32]
    fitted_on: str
    space: str = ""
    words: Words | None = None
    views: NDArray[np.float32] | None = None
    start: int = 0


@dataclass(frozen=True)
class Fitted:
    """Fits of one method on the sampled rows: a model per seed, and the head of the selected one.

    kind: of the head; minimised: by its fits, or by those that it learnt from.
    """

    kind: str
    head: Head
    fits: Fits
    minimised: str


def fit_methods(
    data: Mapping[str, Data], k: int, config: Any, *, seed: int, progress: Progress
) -> dict[str, Fitted]:
    """Fits k clusters by every method that has data, each once per seed.

    config: of assign. Raises UsageError for settings that a method cannot use.
    """
    return {name: _fit(name, own, k, config, seed, progress) for name, own in data.items()}


def finished(
    fitted: Mapping[str, Fitted],
    data: Mapping[str, Data],
    config: Any,
    *,
    seed: int,
    progress: Progress,
) -> dict[str, Fitted]:
    """Heads `config.finish`, which learnt from the rows of the fit what each fit says of them.

    Their clusters are the same. Raises UsageError for settings that they cannot use.
    """
    found = {}
    for name, one in fitted.items():
        k, lesson = len(one.fits.model.centroid), _lesson(one, data[name].rows)
        student = _fit(config.finish, data[name], k, config, seed, progress, lesson=lesson)
        found[name] = replace(student, minimised=one.minimised)
    return found


def _lesson(fitted: Fitted, rows: NDArray[np.float32]) -> Lesson:
    fits, by_block = fitted.fits, []
    for part, z in fitted.head.prepared_blocks(rows):
        count = part.stop - part.start
        by_block.append([Verdict.of(soft[:count]) for soft in fits.soft(z)])
    verdicts = [Verdict.joined(parts) for parts in zip(*by_block, strict=True)]
    return Lesson(verdicts, fits.objective, fits.chosen)


def fit_consensus(
    members: tuple[Member, ...], data: Data, k: int, config: Any, *, seed: int, progress: Progress
) -> Fitted:
    """The vote of the members, whose features are among those of `data`."""
    plain = replace(config, center=False)  # its members prepare the rows, each in its way
    return _fit(CONSENSUS, data, k, plain, seed, progress, members=members)


def _fit(
    name: str,
    data: Data,
    k: int,
    config: Any,
    seed: int,
    progress: Progress,
    *,
    members: tuple[Member, ...] = (),
    lesson: Lesson | None = None,
) -> Fitted:
    from clusterpipe.stages.numerics.preparation import center_of, prepare

    method = heads.method(name, config.heads)
    center = center_of(data.rows, unit=method.unit, widths=data.widths)
    if not config.center or name == ZeroShot.name:  # names are scored on features as they are
        center = np.zeros_like(center)
    seeds = np.random.SeedSequence(seed).generate_state(config.seeds)

    def prepared(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = prepare(rows.reshape(-1, len(center)), center, unit=method.unit, widths=data.widths)
        return flat.reshape(rows.shape)

    views = None if data.views is None else prepared(data.views)
    common = Common(config.restarts, config.iterations, config.temperature, config.center)
    training = Training(
        prepared(data.rows),
        data.widths,
        common,
        views=views,
        words=data.words,
        members=members,
        lesson=lesson,
    )
    fits = method.fit(training, k, [int(one) for one in seeds], progress)
    if name != ZeroShot.name:  # its names are no clusters that images could be put into otherwise
        fits = calibrated(fits, training, len(fits.model.centroid), int(seeds[0]))
    every = np.arange(len(fits.model.centroid))
    head = Head(fits.model, center, method.unit, data.widths, every)
    return Fitted(kind_of(name), head, fits, method.minimised)

"""Choice among fits without ground truth: each is scored by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.progress import Progress
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.stages.fits.fitting import Data, Fitted, fit_consensus, fit_methods
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.protocol import Member, Training
from clusterpipe.stages.sampling import sample_of

if TYPE_CHECKING:
    from clusterpipe.stages.numerics.selection import Selection

LESS_PARTED = 0.85  # times as many neighbours, from which the rival of a vote is better
MOST_SCORED, SCORED_PER_CLUSTER = 10_000, 16  # images that fits are compared on


@dataclass(frozen=True)
class Judged:
    """Fits of every method on the sampled rows, and their scores; no scores for one
    method alone."""

    fitted: dict[str, Fitted]
    scores: dict[str, "Scores"]


@dataclass(frozen=True)
class Scores:
    """Scores of the s fits of a method: selection of each, `chosen` the selected fit."""

    selection: "Selection"
    chosen: int


def fit_and_judge(
    data: Mapping[str, Data],
    spaces: Data,
    k: int,
    config: Any,
    *,
    members: Sequence[str],
    seed: int,
    progress: Progress,
) -> Judged:
    """Fits all methods that have data; a consensus is the vote of the best fits of `members`.

    spaces: the features in which fits are judged; config: of assign.
    """
    single = {name: own for name, own in data.items() if name != Consensus.name}
    fitted = fit_methods(single, k, config, seed=seed, progress=progress)
    if len(data) == 1:
        return Judged(fitted, {})
    scores = scored(fitted, single, spaces, seed=seed, progress=progress)
    if Consensus.name in data:
        best = sound_fits({name: scores[name] for name in members}, fitted, data)
        agreed = fit_consensus(best, spaces, k, config, seed=seed, progress=progress)
        joint = {Consensus.name: agreed}
        scores |= scored(joint, data, spaces, seed=seed, progress=progress)
        fitted |= joint
    return Judged(fitted, scores)


def scored(
    fitted: Mapping[str, Fitted],
    data: Mapping[str, Data],
    spaces: Data,
    *,
    seed: int,
    progress: Progress,
) -> dict[str, Scores]:
    """Measures the labels that every fit gives to the rows of the fit, or a sample of them.

    data: what each method is fitted on; spaces: the features, in one space or several, in which the
    labels are to be learnt and neighbours to be alike. All are of the same images.
    """
    from clusterpipe.stages.numerics.preparation import center_of, prepare
    from clusterpipe.stages.numerics.selection import selection

    k = max(len(one.fits.model.centroid) for one in fitted.values())
    most = max(MOST_SCORED, SCORED_PER_CLUSTER * k)
    place = sample_of(np.arange(len(spaces.index)), most, seed)
    rows, widths = spaces.rows[place], spaces.widths
    z = prepare(rows, center_of(rows, unit=True, widths=widths), unit=True, widths=widths)
    labels = [_labels(one, data[name].rows[place]) for name, one in fitted.items()]
    every, found = [label for method in labels for label in method], {}
    with progress("comparing fits", total=len(every), unit="fits") as advance:
        whole = selection(Training(z, widths).spaces, every, seed=seed)
        advance(len(every))
    at = 0
    for (name, one), own in zip(fitted.items(), labels, strict=True):
        found[name] = Scores(whole.part(slice(at, at + len(own))), one.fits.chosen)
        at += len(own)
    return found


def _labels(fitted: Fitted, rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """The labels (s, n) of the rows (n, d) by each fit."""
    found = np.empty((len(fitted.fits.models), len(rows)), np.int64)
    for part, z in fitted.head.prepared_blocks(rows):
        for own, soft in zip(found, fitted.fits.soft(z), strict=True):
            own[part] = soft[: part.stop - part.start].argmax(axis=1)
    return found


def sound_fits(
    scores: Mapping[str, Scores], fitted: Mapping[str, Fitted], data: Mapping[str, Data]
) -> tuple[Member, ...]:
    """All fits of the methods scored, the best first, but collapsed ones.

    Collapsed: see `numerics.selection.collapsed`.
    """
    from clusterpipe.stages.numerics.selection import collapsed

    each = np.concatenate([one.selection.score for one in scores.values()])
    filled = np.concatenate([one.selection.filled for one in scores.values()])
    k = max(len(fitted[name].fits.model.centroid) for name in scores)
    out = collapsed(filled, k)
    order = np.argsort(np.where(out, np.inf, -each), kind="stable")
    fits = [
        Member(name, seed, replace(fitted[name].head, model=model), data[name].start)
        for name in scores
        for seed, model in enumerate(fitted[name].fits.models)
    ]
    return tuple(fits[place] for place in order[: np.sum(~out)])


def standing(chosen: str, rival: str, scores: Mapping[str, Scores]) -> str:
    """The rival of the chosen method if it parts fewer than 0.85 times as many neighbours.

    Counted beyond chance (`numerics.selection.neighbour_agreement`). Where kinds differ much in
    size, k-means splits the large ones, through the midst of them, and a cut of the neighbour graph
    does not; elsewhere it parts about as many. Not if the rival collapsed.
    """
    from clusterpipe.stages.numerics.selection import collapsed

    if not rival or chosen not in scores:
        return chosen
    parted, filled = [], []
    for name in (chosen, rival):
        one = scores[name]
        value = dict(zip(one.selection.measure, one.selection.value[one.chosen], strict=True))
        parted.append(1 - value["neighbour_agreement"])
        filled.append(value["clusters_filled"])
    better = parted[1] < LESS_PARTED * parted[0] and not collapsed(filled, int(max(filled)))[1]
    return rival if better else chosen


def recorded(scores: Mapping[str, Scores]) -> dict[str, Any]:
    """The fields of /selection, none for one method alone."""
    if len(scores) <= 1:
        return {}
    each = list(scores.values())
    return {
        "selection_method": strings(scores),
        "selection_measure": strings(each[0].selection.measure),
        "selection_value": np.stack([one.selection.value[one.chosen] for one in each]),
        "selection_score": np.array([one.selection.score[one.chosen] for one in each]),
        "selection_score_per_seed": np.stack([one.selection.score for one in each]),
    }

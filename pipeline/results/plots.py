"""Plots of a run as PNG: the estimate of k, the training of refine, and what refine changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import canonical, digest
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Artifact, Assignments, Embeddings, KEstimate, Refined
from clusterpipe.cache.storage import replacing
from clusterpipe.pipeline.engine.inputs import describes, refined_spaces, side_by_side
from clusterpipe.pipeline.results.pictures import MARK, key_of, ours
from clusterpipe.stages.sampling import read_rows, sample_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERSION = 3  # of the drawing: raise it when plots look different from the same artifacts
SPECTRUM_ROWS, SIMILARITY_ROWS = 4_000, 800  # images drawn at random for what compares images
DPI, FEW_STEPS = 120, 50  # fewer steps are marked one by one
# Okabe and Ito's colours, which the colour-blind can tell apart; each also has its own line.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#666666"


@dataclass(frozen=True)
class Plot:
    """A plot that can be drawn: its file name, what it needs, and how it is drawn."""

    name: str
    needs: tuple[type[Artifact], ...]
    draw: Callable[[RunDirectory], "Figure"]

    def missing(self, run: RunDirectory) -> type[Artifact] | None:
        """The first artifact it needs that is not there or was made from what is no longer so."""
        return next((kind for kind in self.needs if not describes(kind, run)), None)

    def key(self, run: RunDirectory) -> str:
        """Digest of what the plot shows."""
        content = [artifact.header(run.artifact(kind), kind).content_id for kind in self.needs]
        return digest(canonical([self.name, VERSION, content]).encode())


def plots(run: RunDirectory, *, progress: Progress = silent) -> list[Path]:
    """Draws into the run's `plots` folder whatever its artifacts allow, as PNG.

    Plots that show what they showed are left alone; of those that can no longer be drawn, the
    ones that this function drew are removed.
    """
    possible = [plot for plot in PLOTS if plot.missing(run) is None]
    paths = [run.plots / plot.name for plot in possible]
    for stale in set(ours(run.plots)) - set(paths):
        stale.unlink()
    with progress("plots", total=len(possible), unit="plots") as advance:
        for plot, path in zip(possible, paths, strict=True):
            if key_of(path) != plot.key(run):
                _save(plot.draw(run), path, plot.key(run))
            advance(1)
    return paths


def impossible(run: RunDirectory) -> Iterator[str]:
    """For each plot that cannot be drawn now, the command that it waits for."""
    for plot in PLOTS:
        if kind := plot.missing(run):
            yield (
                f"{plot.name} needs a current {kind.name}.h5: run `clusterpipe {kind.stage} "
                f"--run-dir {run.folder}`"
            )


def _save(figure: "Figure", path: Path, key: str) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={MARK: key})


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(axes: "Axes") -> None:
    """Lines on white with a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


# ---------------------------------------------------------------- the number of clusters


def _coding_length(run: RunDirectory) -> "Figure":
    """The curve of all candidates, and beside it what chose among them."""
    found = artifact.read(run.artifact(KEstimate), KEstimate)
    figure = _figure(9, 3.8)
    if np.isnan(found.length).all():
        figure.text(0.5, 0.5, found.reason, ha="center", va="center", wrap=True)
        return figure
    whole, beside = figure.subplots(1, 2)
    _curve(whole, found, np.full(found.candidate.shape, True))
    whole.set(title="all candidates", xscale="log")
    whole.xaxis.set_major_formatter("{x:,.0f}")
    if found.number is not None and found.probability is not None:
        _probabilities(beside, found, found.number, found.probability)
    else:
        _around(beside, found)
    beside.legend(frameon=False)
    return figure


def _curve(axes: "Axes", found: KEstimate, shown: NDArray[np.bool_]) -> None:
    _estimate(axes, found)
    axes.plot(found.candidate[shown], found.length[shown], color=BLUE, marker=".")
    axes.set(ylabel="coding length (nats)")
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _estimate(axes: "Axes", found: KEstimate) -> None:
    """The estimate and its interval along the axis of k."""
    _plain(axes)
    axes.axvspan(int(found.interval[0]), int(found.interval[1]), color=ORANGE, alpha=0.25)
    axes.axvline(found.k, color=GREY, linestyle="--", label=f"k = {found.k}")
    axes.set(xlabel="clusters k")


def _probabilities(
    axes: "Axes",
    found: KEstimate,
    number: NDArray[np.integer[Any]],
    probability: NDArray[np.floating[Any]],
) -> None:
    """The probability of each number, with the levels that stand out."""
    _estimate(axes, found)
    axes.fill_between(number, probability, color=BLUE, alpha=0.4, step="mid")
    if found.level is not None:
        axes.plot(
            found.level,
            np.zeros(len(found.level)),
            color=GREEN,
            marker="^",
            linestyle="",
            label="levels",
            clip_on=False,
            zorder=3,
        )
    axes.set(title="probability of each number", ylabel="probability", xscale="log", ylim=(0, None))
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _around(axes: "Axes", found: KEstimate) -> None:
    """The curve near the estimate, with the eigengaps there."""
    low, high = int(found.interval[0]), int(found.interval[1])
    around = (found.candidate >= low / 2) & (found.candidate <= 2 * high)
    _curve(axes, found, around)
    if found.gap is not None:
        _eigengaps(axes.twinx(), found.gap, around[: len(found.gap)])
    axes.set_title("around the estimate")
    axes.locator_params(axis="x", integer=True)


def _eigengaps(axes: "Axes", gap: NDArray[np.floating[Any]], shown: NDArray[np.bool_]) -> None:
    axes.bar(np.flatnonzero(shown) + 1, gap[shown], color=GREY, alpha=0.4)
    axes.set_ylabel("eigengap (bars)")
    axes.spines["top"].set_visible(False)


# ---------------------------------------------------------------- the training of refine


def _loss_terms(run: RunDirectory) -> "Figure":
    found = artifact.read(run.artifact(Refined), Refined)
    step = np.arange(1, len(found.loss) + 1)
    figure = _figure(11, 3.4)
    panels = figure.subplots(1, 3, sharex=True)
    terms = (
        ("$R$: rate of all images", "rate (nats)", found.rate, BLUE),
        ("$R_c$: rate within soft groups", "rate (nats)", found.membership_rate, ORANGE),
        ("the objective, minimised", "loss (nats)", found.loss, GREEN),
    )
    for axes, (title, unit, values, color) in zip(panels, terms, strict=True):
        _plain(axes)
        axes.plot(step, values, color=color, marker="." if len(step) < FEW_STEPS else "")
        axes.set(title=title, xlabel="step, each on a batch of its own", ylabel=unit)
    return figure


# ---------------------------------------------------------------- before and after


@dataclass(frozen=True)
class _Sides:
    """The features before and after refinement, and what was subtracted from those before."""

    before: Rows
    after: Rows
    center: NDArray[np.float32]


def _sides(run: RunDirectory) -> _Sides:
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    refined = artifact.read(run.artifact(Refined), Refined)
    before = side_by_side([index.spaces[name].features for name in refined_spaces(run)])
    return _Sides(before, refined.features, refined.parameters["center"])


def _spectrum(run: RunDirectory) -> "Figure":
    from clusterpipe.stages.numerics.preparation import unit_rows
    from clusterpipe.stages.numerics.spectrum import effective_rank, variance_shares

    sides = _sides(run)
    sample = sample_of(np.arange(sides.after.shape[0]), SPECTRUM_ROWS, seed=0)
    figure = _figure(6, 4.2)
    axes = figure.subplots()
    _plain(axes)
    for rows, name, color, line in (
        (sides.before, "as embedded", BLUE, "-"),
        (sides.after, "refined", ORANGE, "--"),
    ):
        share = variance_shares(unit_rows(read_rows(rows, sample)))
        label = f"{name}: effective rank {effective_rank(share):.1f}"
        axes.plot(np.arange(1, len(share) + 1), share, color=color, linestyle=line, label=label)
    axes.set(
        title=f"squared singular values of {_of(sample, sides)}",
        xlabel="principal component",
        ylabel="share of the variance",
        xscale="log",
        yscale="log",
        ylim=(1e-6, 1.5),
    )
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False)
    return figure


def _similarity(run: RunDirectory) -> "Figure":
    from clusterpipe.stages.numerics.preparation import prepare

    sides, assignments = _sides(run), artifact.read(run.artifact(Assignments), Assignments)
    label = assignments.methods[assignments.chosen].label
    sample = sample_of(np.flatnonzero(label >= 0), SIMILARITY_ROWS, seed=0)
    order = np.argsort(label[sample], kind="stable")
    before = prepare(read_rows(sides.before, sample), sides.center, unit=True)
    after = read_rows(sides.after, sample)
    figure = _figure(9, 4.6)
    panels = figure.subplots(1, 2)
    for axes, rows, title in zip(
        panels, (before, after), ("as embedded, centred", "refined"), strict=True
    ):
        shown: Any = axes.imshow(rows[order] @ rows[order].T, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set(title=title, xticks=[], yticks=[], xlabel="images, sorted by cluster")
    figure.colorbar(shown, ax=panels, label="cosine", shrink=0.85)
    figure.suptitle(f"similarity of {_of(sample, sides)}")
    return figure


def _of(sample: NDArray[np.int64], sides: _Sides) -> str:
    n = sides.after.shape[0]
    return f"{len(sample):,} of {n:,} images" if len(sample) < n else f"{n:,} images"


PLOTS = (
    Plot("coding_length.png", (KEstimate,), _coding_length),
    Plot("loss_terms.png", (Refined,), _loss_terms),
    Plot("singular_values.png", (Embeddings, Refined), _spectrum),
    Plot("similarity.png", (Embeddings, Refined, Assignments), _similarity),
)

"""A run as an object: `run` and `open_run` give one, and a notebook shows what is in it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import MissingArtifact, UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.sources import ImageSource, open_source
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.execute import result
from clusterpipe.pipeline.resolving import configured, existing_run
from clusterpipe.pipeline.results import export
from clusterpipe.pipeline.results.pictures import contact_sheet
from clusterpipe.pipeline.results.predict import Predictions, predict
from clusterpipe.pipeline.results.reading import Results, read_results
from clusterpipe.pipeline.results.search import Answer, SearchOptions, search
from clusterpipe.pipeline.terminal.console import Reporter
from clusterpipe.pipeline.whole_run import run_all

if TYPE_CHECKING:
    from PIL.Image import Image

LISTED = 20  # clusters in the summary


def run(
    source: str | Path | Sequence[str | Path] | None = None,
    *,
    run_dir: str | Path | None = None,
    config: Config | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    until: str = "",
    force: Collection[str] = (),
    encode: Callable[[Any], Any] | None = None,
    quiet: bool = False,
) -> "Run":
    """Brings a run up to date, as `clusterpipe run-all SOURCE` does, and opens it.

    `source` is a folder of images, a list, an archive or an array file, or several; None is the
    demonstration, or what `run_dir` remembers. `run_dir` is by default runs/<name of the source>.
    `settings` maps "table.field" to a value, as in {"assign.k": 10}; a `config` stands in the place
    of what the run remembers and of ./pipeline.toml. Only what is stale runs, up to the stage
    `until`; stages in `force` run anyway. `encode` embeds in the place of a backbone: it takes a
    list of RGB PIL images, of 224 x 224 pixels or of `encode.size`, and gives features (b, d);
    another source of it makes features stale. Progress goes to stderr, or into the notebook, unless
    `quiet`.

    Raises the errors of `clusterpipe.cache.errors`, such as UsageError for an unknown setting.
    """
    folder = Path(run_dir) if run_dir else None
    several = [source] if isinstance(source, str | Path) else source or ()
    given = [str(one) for one in several]
    chosen = dict(settings or {})
    if encode:
        from clusterpipe.stages.backbones.python_function import given as embedding_by

        chosen["embed.backbones"] = (embedding_by(encode),)
    resolved, directory = configured(given, folder, None, None, seed, chosen, start=config)
    reporter = Reporter(quiet)
    run_all(
        resolved,
        run_dir=directory.folder,
        until=until,
        force=force,
        progress=reporter.progress,
        tell=reporter.tell,
    )
    return Run(directory.folder, resolved, quiet)


def open_run(folder: str | Path | None = None, *, quiet: bool = False) -> "Run":
    """Opens a run directory; None is the only one under runs/. Nothing is computed.

    Raises MissingArtifact when there is no run.
    """
    config, directory = existing_run(Path(folder) if folder else None)
    return Run(directory.folder, config, quiet)


@dataclass(frozen=True, repr=False)
class Run:
    """A run: its folder, its settings, and what it found. Row i of everything is image i.

    Read when first asked for, and kept: open the run again when it has changed. What needs clusters
    raises MissingArtifact before `assign`, or after something changed, naming the command.
    """

    folder: Path
    config: Config
    quiet: bool = False

    @cached_property
    def results(self) -> Results:
        """The images of the run and the clusters it stands by, with all that is known of them."""
        return read_results(self._directory, self.config.source)

    @property
    def clusters(self) -> NDArray[np.integer[Any]]:
        """The cluster (n,) of each image: 0..k-1 from the largest down, -1 unassigned."""
        return self.results.clusters.label

    @property
    def captions(self) -> list[str]:
        """The caption of each of the k clusters; empty where there is none."""
        return self.results.captions

    @property
    def probabilities(self) -> NDArray[np.floating[Any]]:
        """The probability (n,) of each image's cluster, 0..1."""
        return self.results.clusters.probability

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of each method; those that need ground truth are absent without it."""
        return result(self._directory, ()).metrics

    @property
    def artifacts(self) -> dict[str, Path]:
        """The HDF5 files that are there, by name: embeddings, refined, assignments, ..."""
        return result(self._directory, ()).artifacts

    def table(self, *, exif: bool = False) -> Any:
        """One row per image: id, path, cluster, caption, probability, ..., as `export` has them.

        A pandas data frame where pandas is installed, else a dict of arrays (n,). With `exif` when
        and with what camera images were taken, and where if embed kept it, too; raises UsageError
        if it kept nothing.
        """
        return _frame(export.columns(self.results, exif=exif))

    def search(
        self,
        text: str = "",
        *,
        image: str | Path = "",
        top: int = 20,
        features: str = "embeddings",
        space: str = "",
    ) -> Answer:
        """The `top` images most like a `text` such as "red bicycle", or like an `image`.

        `image` is a file, or the id, path or row of an image of the run. `hits` of the answer come
        best first, each with its score (cosine), row, id, path, cluster and caption. Raises
        UsageError when the space has no words, or the image is unknown.
        """
        options = SearchOptions(features=features, space=space, top=top, drawn=False)
        images = [str(image)] if str(image) else []
        texts = [text] if text else []
        progress = Reporter(self.quiet).progress
        (answer,) = search(
            self._directory, self.config, images, options, texts=texts, progress=progress
        )
        return answer

    def predict(self, paths: str | Path | Sequence[str | Path]) -> Predictions:
        """The clusters of new images: a file or several, a folder, or any source of the run's kind.

        `label` (m,) and `probability` (m, k) of the images `id` that could be read; `skipped` has
        the reasons for the others. The run is not changed.
        """
        one = isinstance(paths, str | Path)
        source = Path(paths) if one else [Path(path) for path in paths]  # type: ignore[arg-type, union-attr]
        return predict(self.results, source, progress=Reporter(self.quiet).progress)

    def show(self, cluster: int) -> "Image":
        """A picture of a cluster: exemplars first, then the images it is least sure of.

        Raises UsageError when there is no such cluster, or the source is gone or holds no images.
        """
        source = open_source(self.config.source)
        if not isinstance(source, ImageSource):
            raise UsageError(f"{self.config.source.path} holds features: there are no pictures")
        return contact_sheet(self._directory, source, cluster)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {self._headline()}"

    def _repr_html_(self) -> str:
        """The summary that a notebook shows: counts, metrics, and the largest clusters."""
        lines = [f"<b>{escape(str(self.folder))}</b>: {escape(self._headline())}"]
        try:
            results = self.results
        except MissingArtifact as error:
            return "<br>".join([*lines, escape(str(error))])
        measured = self.metrics.get(results.method, {})
        lines += [", ".join(f"{escape(name)} {value:.3f}" for name, value in measured.items())]
        return "<br>".join(filter(None, lines)) + _cluster_table(results)

    def _headline(self) -> str:
        try:
            results = self.results
        except MissingArtifact:
            return f"no clusters yet; artifacts: {', '.join(self.artifacts) or 'none'}"
        skipped = len(results.index.skipped_path)
        return (
            f"{len(results.index.id):,} images"
            + (f" ({skipped:,} skipped)" if skipped else "")
            + f" in {len(results.captions)} clusters by {results.method}"
        )

    @property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.folder)


def _cluster_table(results: Results) -> str:
    sizes = np.bincount(
        results.clusters.label[results.clusters.label >= 0], minlength=len(results.captions)
    )
    rows = "".join(
        f"<tr><td>{cluster}</td><td>{sizes[cluster]:,}</td>"
        f"<td style='text-align:left'>{escape(results.captions[cluster])}</td></tr>"
        for cluster in np.argsort(-sizes, kind="stable")[:LISTED].tolist()
    )
    left = len(sizes) - LISTED
    more = f"<tr><td colspan='3'>and {left:,} more</td></tr>" if left > 0 else ""
    head = "<tr><th>cluster</th><th>images</th><th>caption</th></tr>"
    return f"<table>{head}{rows}{more}</table>"


def _frame(columns: Mapping[str, list[Any]]) -> Any:
    try:
        import pandas
    except ImportError:
        return {name: np.array(values) for name, values in columns.items()}
    return pandas.DataFrame(dict(columns))

"""What the plots show is what the artifacts hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import provenance

from clusterpipe.cache import artifact
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignments, Embeddings, KEstimate, Refined
from clusterpipe.pipeline import Config, run_all
from clusterpipe.pipeline.engine.config import override
from clusterpipe.pipeline.results.plots import PLOTS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run over four groups of features."""
    folder = tmp_path_factory.mktemp("plots")
    config = override(Config(), [f"source.path='{features(folder)}'"])
    run_all(config, run_dir=folder / "run")
    return RunDirectory(folder / "run")


def features(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = 5 * np.eye(4, 16)[np.arange(160) % 4] + 0.5 * rng.normal(size=(160, 16))
    np.savez(folder / "rows.npz", features=rows.astype(np.float32))
    return folder / "rows.npz"


def panels(name: str, run: RunDirectory) -> list[Any]:
    plot = next(plot for plot in PLOTS if plot.name == name)
    return list(plot.draw(run).axes)


def test_the_coding_length_is_drawn_beside_the_probability_of_each_number(
    run: RunDirectory,
) -> None:
    found = artifact.read(run.artifact(KEstimate), KEstimate)
    assert found.probability is not None
    whole, beside = panels("coding_length.png", run)
    (curve,) = [line for line in whole.lines if len(line.get_xdata()) == len(found.candidate)]
    np.testing.assert_array_equal(curve.get_xdata(), found.candidate)
    np.testing.assert_array_equal(curve.get_ydata(), found.length)
    assert_tells_estimate(whole, found)
    assert_tells_estimate(beside, found)
    top = beside.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(found.probability.max())
    np.testing.assert_array_equal(beside.lines[1].get_xdata(), found.level)


def test_eigengaps_are_drawn_where_they_chose(tmp_path: Path) -> None:
    chosen = [f"source.path='{features(tmp_path)}'", "estimate_k.method='eigengap'"]
    run_all(override(Config(), chosen), run_dir=tmp_path / "run", until="estimate-k")
    run = RunDirectory(tmp_path / "run")
    found = artifact.read(run.artifact(KEstimate), KEstimate)
    assert found.gap is not None
    _, near, gaps = panels("coding_length.png", run)
    assert_tells_estimate(near, found)
    assert set(found.interval) <= set(near.lines[1].get_xdata())
    height = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in gaps.patches}
    assert height[found.k] == found.gap[found.k - 1] == found.gap.max()


def assert_tells_estimate(axes: Any, found: KEstimate) -> None:
    assert set(axes.lines[0].get_xdata()) == {found.k}
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], found.interval)


def test_the_loss_terms_are_those_of_each_step(run: RunDirectory) -> None:
    found = artifact.read(run.artifact(Refined), Refined)
    terms = (found.rate, found.membership_rate, found.loss)
    for axes, values in zip(panels("loss_terms.png", run), terms, strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), values)
        assert "nats" in axes.get_ylabel()


def test_singular_values_are_those_of_the_features(run: RunDirectory) -> None:
    (axes,) = panels("singular_values.png", run)
    before = artifact.read(run.artifact(Embeddings), Embeddings).spaces["features"].features[:]
    after = artifact.read(run.artifact(Refined), Refined).features[:]
    before = before / np.linalg.norm(before, axis=1, keepdims=True)
    for line, rows in zip(axes.lines, (before, after), strict=True):
        singular = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
        np.testing.assert_allclose(line.get_ydata(), singular**2 / (singular**2).sum(), atol=1e-6)


def test_similar_images_are_drawn_by_cluster(run: RunDirectory) -> None:
    assignments = artifact.read(run.artifact(Assignments), Assignments)
    label = np.sort(assignments.methods[assignments.chosen].label)
    together = label[:, None] == label
    for axes in panels("similarity.png", run)[:2]:
        cosine = axes.images[0].get_array()
        assert cosine.shape == (160, 160)
        np.testing.assert_allclose(np.diag(cosine), 1, atol=1e-5)
        assert cosine[together].min() > cosine[~together].max()


def test_a_key_says_what_a_plot_shows(run: RunDirectory) -> None:
    keys = {plot.key(run) for plot in PLOTS}
    assert len(keys) == len(PLOTS)
    assert keys == {plot.key(run) for plot in PLOTS}


def test_a_curve_without_a_length_gives_way_to_the_reason(tmp_path: Path) -> None:
    nothing = KEstimate(
        k=1,
        interval=np.array([1, 1]),
        candidate=np.array([1]),
        length=np.array([np.nan]),
        reason="too few images",
    )
    artifact.write(tmp_path / "k_estimate.h5", nothing, provenance(schema=KEstimate.schema))
    figure = PLOTS[0].draw(RunDirectory(tmp_path))
    assert [text.get_text() for text in figure.texts] == ["too few images"]
    assert not figure.axes

"""`predict`: what was never seen is labelled as what was, alone or among others."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tables import read

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline import Config, run_all
from clusterpipe.pipeline.engine.config import override
from clusterpipe.pipeline.results.predict import predict
from clusterpipe.pipeline.results.reading import Results, read_results
from clusterpipe.pipeline.terminal.predictions import print_predictions

pytestmark = pytest.mark.slow

K, D = 4, 12


def rows(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (np.eye(K, D)[np.arange(n) % K] + 0.2 * rng.normal(size=(n, D))).astype(np.float32)


CANDIDATES = '["spherical-kmeans", "spectral:embeddings", "coding-length:both"]'


@pytest.fixture(scope="module", params=["spherical-kmeans", "spectral:both", "auto"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    home = tmp_path_factory.mktemp("predict")
    np.savez(home / "features.npz", features=rows(200, seed=0))
    methods = [f'assign.methods=["{request.param}"]', f"assign.consensus.candidates={CANDIDATES}"]
    config = override(Config(), [f"source.path={home / 'features.npz'}", "assign.k=4", *methods])
    run_all(config, run_dir=home / "run", until="assign")
    return read_results(RunDirectory(home / "run"), config.source)


def save(folder: Path, features: np.ndarray) -> Path:
    np.savez(folder / "new.npz", features=features)
    return folder / "new.npz"


def test_the_images_of_the_run_get_what_they_have(results: Results, tmp_path: Path) -> None:
    found = predict(results, save(tmp_path, rows(200, seed=0)))
    assert_array_equal(found.label, results.clusters.label)
    chosen = found.probability[np.arange(200), found.label]
    assert_allclose(chosen, results.clusters.probability, atol=1e-6)


def test_new_rows_go_where_their_kind_is(results: Results, tmp_path: Path) -> None:
    found = predict(results, save(tmp_path, rows(80, seed=1)))
    expected = results.clusters.label[:K]
    assert_array_equal(found.label, np.tile(expected, 20))
    assert_allclose(found.probability.sum(axis=1), 1, atol=1e-5)
    assert_array_equal(found.probability.argmax(axis=1), found.label)


def test_a_row_alone_is_as_among_others(results: Results, tmp_path: Path) -> None:
    new = rows(9, seed=2)
    together = predict(results, save(tmp_path, new))
    for row in range(9):
        alone = predict(results, save(tmp_path, new[row : row + 1]))
        assert_allclose(alone.probability[0], together.probability[row], atol=1e-5)
        assert alone.label[0] == together.label[row]


def test_features_of_another_width_are_refused(results: Results, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="width 12, not 5"):
        predict(results, save(tmp_path, np.ones((3, 5), np.float32)))


def test_an_image_cannot_follow_given_features(results: Results, tmp_path: Path) -> None:
    from program import draw

    draw(0, 0).save(tmp_path / "photo.png")
    with pytest.raises(UsageError, match="were given"):
        predict(results, tmp_path / "photo.png")


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_predictions_are_written_as_an_export_is(
    ending: str, results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = predict(results, save(tmp_path, rows(8, seed=1)))
    path = tmp_path / f"found.{ending}"
    print_predictions(found, results.captions, output=path, as_json=False)
    assert capsys.readouterr().out.strip() == str(path)
    table = read(path)
    assert [row["cluster"] for row in table] == found.label.tolist()
    with pytest.raises(UsageError, match="should end in"):
        print_predictions(found, results.captions, output=tmp_path / "found.xlsx", as_json=False)


def test_predictions_are_told(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = predict(results, save(tmp_path, rows(8, seed=1)))
    print_predictions(found, results.captions, output=None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["cluster"] == found.label.tolist()
    print_predictions(found, results.captions, output=None, as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == 9

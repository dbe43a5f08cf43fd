"""The scikit-learn estimator keeps scikit-learn's rules, and the program's results."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from clusterpipe.cache import artifact
from clusterpipe.cache.schema import Assignments
from clusterpipe.estimator import FeatureClusters
from clusterpipe.pipeline import Config, run_all
from clusterpipe.pipeline.engine.config import override

K, D = 4, 12


def rows(n: int, seed: int = 0, *, spread: float = 0.15, noise: int = 0) -> np.ndarray:
    """K groups on the axes, and so many coordinates besides that are noise."""
    rng = np.random.default_rng(seed)
    centres = np.eye(K, D + noise)[np.arange(n) % K]
    return (centres + spread * rng.normal(size=(n, D + noise))).astype(np.float32)


CHECKS = list(estimator_checks_generator(FeatureClusters(n_clusters=3)))


@pytest.mark.slow
@pytest.mark.parametrize("check", [c for _, c in CHECKS], ids=lambda c: c.func.__name__)
def test_scikit_learns_own_checks(check: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(FeatureClusters(n_clusters=3))  # type: ignore[operator]


def test_k_is_estimated_when_it_is_not_given() -> None:
    x = rows(400)
    model = FeatureClusters().fit(x)
    assert model.n_clusters_ == K
    low, high = model.interval_
    assert low <= K <= high
    assert adjusted_rand_score(np.arange(400) % K, model.labels_) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({}, []),
        ({"refine": False}, ["assign.features=embeddings"]),
        ({"method": "auto", "seeds": 2}, ["assign.methods=auto", "assign.seeds=2"]),
    ],
)
def test_it_is_what_run_all_gives(
    given: dict[str, object], settings: list[str], tmp_path: Path
) -> None:
    """Groups that overlap, so that another recipe gives other labels."""
    x = rows(1500, spread=0.4, noise=D)
    np.save(tmp_path / "x.npy", x)
    config = override(Config(), [f"source.path='{tmp_path / 'x.npy'}'", "seed=3", *settings])
    run_all(config, run_dir=tmp_path / "run", until="assign")
    found = artifact.read(tmp_path / "run/assignments.h5", Assignments)
    expected = found.methods[found.chosen]
    model = FeatureClusters(random_state=3, **given).fit(x)  # type: ignore[arg-type]
    assert_array_equal(model.labels_, expected.label)
    assert_array_equal(model.probabilities_, expected.probability)
    assert (model.method_, model.space_) == (found.chosen, expected.space)
    assert (model.predict(x) == model.labels_).mean() > 0.99


@pytest.mark.slow
def test_refining_changes_what_is_found() -> None:
    """Or else the test above could not fail."""
    x = rows(1500, spread=0.4, noise=D)
    refined, raw = (FeatureClusters(K, refine=refine).fit(x) for refine in (True, False))
    assert (refined.labels_ != raw.labels_).any()
    assert (refined.space_, raw.space_) == ("refined", "embeddings")


def test_auto_takes_a_method_and_says_which() -> None:
    x = rows(200)
    model = FeatureClusters(K, method="auto", seeds=2).fit(x)
    assert model.method_ == "consensus"
    assert_array_equal(model.predict(x), model.labels_)


def test_label_and_probability_agree() -> None:
    x = rows(200)
    model = FeatureClusters(K).fit(x)
    probability = model.predict_proba(rows(50, seed=1))
    assert_array_equal(probability.argmax(axis=1), model.predict(rows(50, seed=1)))
    assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    assert_array_equal(model.predict(x), model.labels_)
    assert_allclose(model.predict_proba(x).max(axis=1), model.probabilities_, atol=1e-6)


def test_the_nearest_centre_is_the_cluster() -> None:
    x = rows(200)
    model = FeatureClusters(K).fit(x)
    assert_array_equal(model.transform(x).argmin(axis=1), model.labels_)
    assert list(model.get_feature_names_out()) == [f"featureclusters{k}" for k in range(K)]


def test_euclidean_blobs() -> None:
    x, y = make_blobs(300, 5, centers=K, random_state=0)
    model = FeatureClusters(K, method="kmeans").fit(x)
    assert adjusted_rand_score(y, model.labels_) > 0.95


@pytest.mark.parametrize("bad", [{"n_clusters": 900}, {"method": "kmean"}, {"seeds": 0}])
def test_a_bad_setting_is_a_value_error(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        FeatureClusters(**{"n_clusters": 3, **bad}).fit(rows(100))  # type: ignore[arg-type]

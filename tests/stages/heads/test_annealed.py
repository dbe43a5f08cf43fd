"""Annealed k-means: sizes, settings, chance."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.progress import silent
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads import Training
from clusterpipe.stages.heads.annealed import Annealed
from clusterpipe.stages.heads.protocol import labelled
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import center_of, prepare


def kinds(k: int, images: int, noise: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """So many images around each of k random directions in 32 dimensions."""
    rng = np.random.default_rng(2)
    truth = np.arange(k * images) % k
    rows = rng.normal(size=(k, 32))[truth] + noise * rng.normal(size=(k * images, 32))
    return np.asarray(rows, np.float32), truth


@pytest.mark.parametrize("images", [4, 8, 15])
def test_many_kinds_of_few_images_are_found_better_than_by_one_run_of_k_means(images: int) -> None:
    rows, truth = kinds(40, images, noise=0.7)
    found = assign(rows, 40).methods["annealed"]
    z = prepare(rows, center_of(rows, unit=True), unit=True)
    runs = [kmeans(z, 40, spherical=True, seed=seed).label for seed in range(5)]
    alone = np.mean([adjusted_rand_score(truth, label) for label in runs])
    assert adjusted_rand_score(truth, found.label) > alone + 0.02
    assert found.effective_k == 40


def test_balance_draws_clusters_to_equal_sizes() -> None:
    rows, truth = kinds(4, 120)
    kept = np.concatenate([np.flatnonzero(truth == c)[:m] for c, m in enumerate((120, 60, 30, 15))])
    z = prepare(rows[kept], center_of(rows[kept], unit=True), unit=True)

    def sizes(balance: float) -> np.ndarray:
        model = Annealed(balance).fit(Training.of(z), 4, [1], silent).model
        return np.bincount(labelled(model, z), minlength=4)

    assert sizes(1.0).std() < sizes(0.0).std()


def test_the_default_is_as_sure_as_independent_halves_agree() -> None:
    sure, unsure = (assign(kinds(5, 60, noise)[0], 5).methods["annealed"] for noise in (0.2, 3.0))
    assert sure.probability.mean() > 0.9 > unsure.probability.mean() + 0.2


def test_it_is_the_default() -> None:
    assert AssignConfig().methods == ("annealed",)

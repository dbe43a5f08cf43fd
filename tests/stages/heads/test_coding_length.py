"""Coding-length heads: clusters that differ in spread, few images, and clusters that run empty."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import silent
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads import Common, Training, load
from clusterpipe.stages.heads.coding_length import CodingLength
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import unit_rows

QUICK = AssignConfig(seeds=3, restarts=2, methods=("coding-length",))


class Unmoved(CodingLength):
    """It leaves images where k-means puts them."""

    rounds = 0


def planes() -> tuple[np.ndarray, np.ndarray]:
    """Unit rows near four planes of 12 dimensions, 100 each, around a mean direction of theirs."""
    rng = np.random.default_rng(1)
    truth = np.repeat(np.arange(4), 100)
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0][:, :12].reshape(12, 4, 3)
    inside = np.array([0.7, 0, 0]) + rng.normal(size=(400, 3)) * [0, 1, 1]
    rows = np.einsum("dnj,nj->nd", basis[:, truth], inside)
    return unit_rows(rows + 0.1 * rng.normal(size=rows.shape)), truth


def test_finds_planes_better_than_centres_do() -> None:
    rows, truth = planes()
    found = assign(rows, 4, QUICK).methods["coding-length"]
    centres = [kmeans(rows, 4, spherical=True, restarts=2, seed=s).label for s in range(3)]
    best = max(adjusted_rand_score(truth, label) for label in centres)
    assert adjusted_rand_score(truth, found.label) > best + 0.1


def test_no_rounds_leave_what_k_means_found() -> None:
    rows, _ = planes()
    fits = Unmoved().fit(Training.of(rows, Common(restarts=2)), 4, [7], silent)
    start = kmeans(rows, 4, spherical=True, restarts=2, seed=7)
    np.testing.assert_allclose(fits.model.centroid, unit_rows(start.centroid), atol=1e-2)


@pytest.mark.parametrize(
    ("n", "k", "width"), [(400, 4, 12), (400, 20, 10), (100, 5, 10), (9, 1, 4)]
)
def test_few_images_per_cluster_keep_few_components(n: int, k: int, width: int) -> None:
    rows, _ = planes()
    fits = CodingLength().fit(Training.of(rows[:: 400 // n][:n]), k, [1], silent)
    assert fits.model.direction.shape == (12, width)
    assert fits.model.factor.shape == (k, width + 1, width + 1)


@pytest.mark.parametrize("n", [2, 12])
def test_tiny_collections(n: int) -> None:
    rows = planes()[0][::33][:n]
    found = assign(rows, 1, QUICK).methods["coding-length"]
    assert found.effective_k == 1
    assert np.isfinite(load(found).soft(rows)).all()


@pytest.mark.parametrize(("n", "k"), [(3, 2), (39, 2), (400, 50)])
def test_refuses_clusters_of_fewer_images_than_it_can_code(n: int, k: int) -> None:
    with pytest.raises(UsageError, match=r"images per cluster are too few: it takes 20"):
        assign(planes()[0][:n], k, QUICK)


def test_duplicates_and_more_clusters_than_different_images() -> None:
    rows = np.repeat(planes()[0][::100], 25, axis=0)
    found = assign(rows, 5, QUICK).methods["coding-length"]
    assert 1 <= found.effective_k <= 4
    assert all(len(np.unique(found.label[at : at + 25])) == 1 for at in range(0, 100, 25))
    assert np.isfinite(found.outlier_score).all()

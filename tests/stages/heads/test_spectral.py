"""Spectral heads: what centres cannot tell apart, exact and by landmarks, and graphs in pieces."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.progress import silent
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads import Training, load
from clusterpipe.stages.heads.spectral import Spectral, SpectralClusters
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.preparation import center_of, prepare, unit_rows


class Fifty(Spectral):
    """As many landmarks."""

    landmarks = 50


class Eighty(Spectral):
    """As many landmarks."""

    landmarks = 80


EITHER = pytest.mark.parametrize(
    "head", [Spectral(), Eighty(exact_up_to=0)], ids=["exact", "landmarks"]
)


def arcs(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Rows along three bent arcs on a sphere of 8 dimensions; the ends of two are far apart."""
    rng = np.random.default_rng(0)
    label, angle = np.arange(n) % 3, rng.uniform(0, 2.2, n)
    rows = np.zeros((n, 8))
    rows[np.arange(n), 2 * label] = np.cos(angle)
    rows[np.arange(n), 2 * label + 1] = np.sin(angle)
    return unit_rows(rows + 0.05 * rng.normal(size=rows.shape)), label


def fitted(rows: np.ndarray, k: int, head: Spectral) -> np.ndarray:
    config = AssignConfig(seeds=2, methods=(head,))
    return assign(rows, k, config).methods["spectral"].label


@EITHER
def test_follows_arcs_that_have_no_centre(head: Spectral) -> None:
    rows, truth = arcs()
    assert adjusted_rand_score(truth, fitted(rows, 3, head)) > 0.97
    z = prepare(rows, center_of(rows, unit=True), unit=True)
    by_centres = kmeans(z, 6, spherical=True, restarts=5).label
    assert adjusted_rand_score(truth, by_centres) < 0.7


@EITHER
def test_rotation_and_order_do_not_matter(head: Spectral) -> None:
    rows, _ = arcs()
    rng = np.random.default_rng(3)
    turn, order = np.linalg.qr(rng.normal(size=(8, 8)))[0], rng.permutation(len(rows))
    moved = fitted(np.asarray(rows[order] @ turn, np.float32), 3, head)
    assert adjusted_rand_score(fitted(rows, 3, head)[order], moved) > 0.97


def test_the_threshold_decides_which_graph_is_built() -> None:
    rows, _ = arcs(200)
    z = prepare(rows, center_of(rows, unit=True), unit=True)
    for most, landmarks in ((200, 200), (199, 50)):
        fits = Fifty(exact_up_to=most).fit(Training.of(z), 3, [1, 2], silent)
        assert fits.model.landmark.shape == (landmarks, 8)
        assert fits.model.coordinate.shape == (landmarks, 3)
    many = Fifty(exact_up_to=0).fit(Training.of(z), 20, [1], silent).model
    assert len(many.landmark) == 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "k", "noise", "joined"), [(10, 24, 0.25, 16), (400, 4, 0.4, 41), (200, 6, 0.35, 101)]
)
def test_the_graph_suits_the_clusters(size: int, k: int, noise: float, joined: int) -> None:
    """Joined to many others, small clusters merge; joined to few, noisy ones fray."""
    truth, rng = np.arange(size * k) % k, np.random.default_rng(5)
    rows = np.asarray(np.eye(24)[truth] + noise * rng.normal(size=(size * k, 24)), np.float32)
    training = Training.of(prepare(rows, center_of(rows, unit=True), unit=True))

    def model(count: int) -> SpectralClusters:
        fits = Spectral(neighbours=count).fit(training, k, [1], silent)
        return fits.model  # type: ignore[no-any-return]

    found = model(0)
    agreed = {
        count + 1: adjusted_rand_score(truth, model(count).soft(training.z).argmax(axis=1))
        for count in (15, 40, 100)
    }
    assert found.tried.tolist() == [16, 41, 101]
    assert found.neighbours == found.tried[found.errors.argmin()] == joined
    assert agreed[joined] == max(agreed.values()) > min(agreed.values())


def test_each_seed_clusters_the_same_places() -> None:
    rows, _ = arcs(200)
    z = prepare(rows, center_of(rows, unit=True), unit=True)
    fits = Spectral().fit(Training.of(z), 3, [1, 2, 3], silent)
    for together, model in zip(fits.soft(z), fits.models, strict=True):
        np.testing.assert_array_equal(together, model.soft(z))
    assert fits.objective.shape == (3,)
    assert fits.chosen == fits.objective.argmin()


@EITHER
@pytest.mark.parametrize("k", [2, 5, 8, 12])
def test_a_graph_in_more_pieces_than_clusters_and_in_fewer(head: Spectral, k: int) -> None:
    """Eight tight groups of 40, so far apart that no edge joins them."""
    rng = np.random.default_rng(4)
    truth = np.arange(320) % 8
    rows = np.asarray(np.eye(8, 16)[truth] + 0.01 * rng.normal(size=(320, 16)), np.float32)
    label = fitted(rows, k, head)
    whole = [len(np.unique(label[truth == group])) == 1 for group in range(8)]
    assert all(whole) or k > 8
    assert len(np.unique(label)) == k if k <= 8 else len(np.unique(label)) >= 8


@EITHER
def test_duplicates_are_one_place(head: Spectral) -> None:
    rows = np.repeat(arcs()[0][:12], 40, axis=0)
    label = fitted(rows, 12, head)
    assert adjusted_rand_score(np.repeat(np.arange(12), 40), label) > 0.5
    assert all(len(np.unique(label[row * 40 : row * 40 + 40])) == 1 for row in range(12))


@pytest.mark.parametrize("n", [2, 3, 5, 9])
@pytest.mark.parametrize("k", [1, 2])
@EITHER
def test_tiny_collections(head: Spectral, n: int, k: int) -> None:
    rows, _ = arcs(n)
    config = AssignConfig(seeds=2, methods=(head,))
    found = assign(rows, k, config).methods["spectral"]
    assert 1 <= found.effective_k <= k
    assert np.isfinite(load(found).soft(rows)).all()
    assert np.isfinite(found.centroid).all()

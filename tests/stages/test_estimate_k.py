"""estimate-k on collections of known structure, on hostile input, and as a declared stage."""

from dataclasses import replace

import numpy as np
import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import Embeddings, KEstimate, Refined
from clusterpipe.stages.assign import AssignConfig
from clusterpipe.stages.declaration import STAGES, Input
from clusterpipe.stages.estimate_k import EstimateKConfig, estimate_k

QUICK = EstimateKConfig(method="eigengap", restarts=2, resamples=10)
NEIGHBOURS = replace(QUICK, method="neighbours")


def subspaces(k: int, size: int, *, d: int = 64, noise: float = 0.35, seed: int = 0) -> np.ndarray:
    """Unit rows near k random subspaces of 4 dimensions, with noise of norm `noise`."""
    rng = np.random.default_rng(seed)
    bases = np.linalg.qr(rng.normal(size=(k, d, 4)))[0]
    inside = np.einsum("kdr,ksr->ksd", bases, unit(rng.normal(size=(k, size, 4)))).reshape(-1, d)
    return unit(inside + noise * unit(rng.normal(size=inside.shape))).astype(np.float32)


def directions(sizes: list[int], *, d: int = 64, noise: float = 0.8, seed: int = 0) -> np.ndarray:
    """Unit rows around one random direction per cluster: von Mises-Fisher-like blobs."""
    rng = np.random.default_rng(seed)
    centre = np.repeat(unit(rng.normal(size=(len(sizes), d))), sizes, axis=0)
    return unit(centre + noise * rng.normal(size=centre.shape) / np.sqrt(d)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def holds(found: KEstimate, k: int) -> bool:
    return bool(found.interval[0] <= k <= found.interval[1])


# ---- known structure ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("k", [5, 20])
def test_counts_subspaces(k: int) -> None:
    found = estimate_k(subspaces(k, 150, d=48), QUICK)
    assert found.k == k
    assert holds(found, k)


@pytest.mark.slow
def test_counts_fifty_subspaces_within_a_fifth() -> None:
    found = estimate_k(subspaces(50, 80), QUICK)
    assert found.k == pytest.approx(50, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 10, 30])
def test_counts_directions(k: int) -> None:
    found = estimate_k(directions([60] * k), QUICK)
    assert found.k == k
    assert holds(found, k)


def test_counts_clusters_of_very_different_sizes() -> None:
    sizes = [int(300 / rank**0.8) for rank in range(1, 13)]
    found = estimate_k(directions(sizes), QUICK)
    assert found.k == pytest.approx(12, abs=1)


def test_counts_few_small_clusters() -> None:
    found = estimate_k(directions([20] * 4, noise=0.5), QUICK)
    assert found.k == pytest.approx(4, abs=1)
    assert holds(found, 4)


def test_one_direction_is_one_cluster() -> None:
    found = estimate_k(directions([500], noise=1.0), QUICK)
    assert found.k == 1
    assert "1 cluster describes" in found.reason


def test_the_published_criterion_counts_large_clusters_far_apart() -> None:
    config = replace(QUICK, method="paper", dimensions=8, k_max=12)
    found = estimate_k(directions([100] * 6, d=24, noise=0.3), config)
    assert found.k == 6
    assert found.merge is None


def test_the_curve_has_a_length_for_every_candidate() -> None:
    found = estimate_k(directions([60] * 8), QUICK)
    assert list(found.candidate) == list(range(1, len(found.candidate) + 1))
    assert f"{found.length.min() / 480 / np.log(2):.2f} bits per image" in found.reason


def test_the_eigengap_is_kept_beside_the_coding_length() -> None:
    found = estimate_k(directions([60] * 8), QUICK)
    assert found.gap is not None
    assert found.gap.argmax() + 1 == found.k == 8
    assert "falls most after 8, so 8 clusters" in found.reason


def test_coding_length_alone_asks_no_graph() -> None:
    found = estimate_k(directions([60] * 8), replace(QUICK, method="coding-length"))
    assert found.gap is None
    assert found.candidate[found.length.argmin()] == found.k == 8
    assert "graph" not in found.reason


def test_any_number_of_clusters_can_be_cut_from_the_tree() -> None:
    found = estimate_k(directions([60] * 8), QUICK)
    assert found.merge is not None
    assert found.cell_size is not None
    cells = len(found.cell_size)
    assert found.cell_size.sum() == 480
    assert found.merge.shape == (cells - 1, 2)
    assert sorted(found.merge.flatten()) == list(range(2 * cells - 2))
    size = list(found.cell_size)
    for left, right in found.merge[: cells - 8]:
        size.append(size[left] + size[right])
    kept = set(range(len(size))) - set(found.merge[: cells - 8].flatten())
    assert sorted(size[name] for name in kept) == [60] * 8


# ---- by mutual neighbours -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("k", [10, 30])
def test_neighbours_count_directions(k: int) -> None:
    found = estimate_k(directions([60] * k), NEIGHBOURS)
    assert found.k == pytest.approx(k, rel=0.15)
    assert holds(found, k)
    assert "each other's neighbours" in found.reason


@pytest.mark.slow
def test_neighbours_count_many_small_clusters() -> None:
    """Ten images each: coding length in 32 components sees a tenth of them."""
    found = estimate_k(directions([10] * 200, d=128, noise=0.6), NEIGHBOURS)
    assert found.k == pytest.approx(200, rel=0.15)


def test_probabilities_are_of_all_numbers_and_sum_to_one() -> None:
    found = estimate_k(directions([60] * 8), NEIGHBOURS)
    assert found.number is not None
    assert found.probability is not None
    assert found.number[0] == 1
    assert (np.diff(found.number) > 0).all()
    assert found.probability.sum() == pytest.approx(1)
    low, high = found.interval
    inside = (found.number >= low) & (found.number <= high)
    assert found.probability[inside].sum() > 0.8 - 1e-9


def families(groups: int, each: int, size: int, *, d: int = 128, seed: int = 0) -> np.ndarray:
    """Clusters of `size` rows, `each` of them around each of some directions."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(unit(rng.normal(size=(groups, d))), each, axis=0)
    centre = np.repeat(unit(shared + 0.8 * unit(rng.normal(size=shared.shape))), size, axis=0)
    return unit(centre + 0.5 * rng.normal(size=centre.shape) / np.sqrt(d)).astype(np.float32)


@pytest.mark.slow
def test_two_levels_stand_out_and_grain_chooses() -> None:
    rows = families(6, 8, 25)
    found = estimate_k(rows, NEIGHBOURS)
    assert found.k == pytest.approx(48, rel=0.15)
    assert found.level is not None
    assert found.level_evidence is not None
    coarse = found.level[found.level < found.k]
    assert coarse[-1] == pytest.approx(6, abs=1)
    assert found.level_evidence.min() > 3
    assert f"{coarse[-1]} " in found.reason
    coarser = estimate_k(rows, replace(NEIGHBOURS, grain="coarse"))
    assert coarser.k == coarse[-1]
    assert coarser.interval[0] <= coarser.k
    assert "grain = coarse" in coarser.reason


@pytest.mark.slow
def test_draws_more_rows_while_the_count_grows() -> None:
    rows = directions([30] * 200, d=128, noise=0.5)
    few = estimate_k(rows, replace(NEIGHBOURS, sample=600, sample_limit=600))
    more = estimate_k(rows, replace(NEIGHBOURS, sample=600, sample_limit=6000))
    assert few.k < 150
    assert more.k == pytest.approx(200, rel=0.15)


def test_exact_copies_of_a_few_images_are_as_many_kinds() -> None:
    found = estimate_k(np.eye(12, dtype=np.float32)[np.arange(300) % 12], NEIGHBOURS)
    assert found.k == 12
    assert holds(found, 1)
    assert "copies of 12 different ones" in found.reason


def test_near_copies_do_not_change_the_count() -> None:
    rows = directions([30] * 12, d=64, noise=0.6)
    copies = unit(rows[::5] + 0.05 * unit(np.random.default_rng(1).normal(size=rows[::5].shape)))
    with_copies = np.concatenate([rows, copies.astype(np.float32)])
    once, again = estimate_k(rows, NEIGHBOURS), estimate_k(with_copies, NEIGHBOURS)
    assert once.k == again.k
    np.testing.assert_array_equal(once.interval, again.interval)


# ---- invariances --------------------------------------------------------------------------


def test_equal_seeds_give_equal_estimates() -> None:
    rows = directions([60] * 5)
    first, second = estimate_k(rows, QUICK, seed=4), estimate_k(rows, QUICK, seed=4)
    np.testing.assert_array_equal(first.length, second.length)
    assert first.reason == second.reason


def test_length_precision_and_offset_of_rows_do_not_matter() -> None:
    rows = directions([60] * 5)
    scale = np.linspace(0.5, 20, len(rows))[:, None]
    changed = (rows * scale).astype(np.float16)
    assert estimate_k(changed, QUICK).k == estimate_k(rows, QUICK).k == 5


def test_copies_carry_no_evidence() -> None:
    rows = directions([40] * 5)
    once, thrice = estimate_k(rows, QUICK), estimate_k(np.tile(rows, (3, 1)), QUICK)
    np.testing.assert_allclose(once.length, thrice.length)
    assert "200 different images of 600" in thrice.reason


# ---- hostile input and limits ---------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 30])
def test_survives_tiny_collections(n: int) -> None:
    found = estimate_k(np.random.default_rng(0).normal(size=(n, 7)).astype(np.float32), QUICK)
    assert 1 <= found.interval[0] <= found.k <= found.interval[1] <= n
    assert found.reason


@pytest.mark.parametrize("n", [2, 200])
def test_equal_images_are_one_cluster(n: int) -> None:
    found = estimate_k(np.ones((n, 5), np.float16), QUICK)
    assert found.k == 1
    assert "same features" in found.reason


def test_a_few_images_many_times_over() -> None:
    rows = np.repeat(directions([20] * 4, noise=0.2), 20, axis=0)
    assert estimate_k(rows, QUICK).k == 4


def test_never_silent_at_the_edge_of_its_range() -> None:
    found = estimate_k(directions([60] * 10), replace(QUICK, k_max=6))
    assert found.k == 6
    assert "largest number tried" in found.reason
    assert "k_max" in found.reason


def test_starts_from_more_cells_when_k_comes_near_their_number() -> None:
    rows = directions([60] * 20)
    assert estimate_k(rows, replace(QUICK, cells=25)).k == 20


def test_is_made_on_a_stated_sample() -> None:
    found = estimate_k(directions([300] * 4), replace(QUICK, sample=400))
    assert found.k == 4
    assert "400 different images of 1,200" in found.reason


def test_refuses_features_that_are_not_numbers() -> None:
    rows = directions([20] * 3)
    rows[5, 2] = np.nan
    with pytest.raises(UsageError, match="not numbers"):
        estimate_k(rows, QUICK)


@pytest.mark.parametrize(
    "setting", [{"sample": 1}, {"restarts": 1}, {"k_max": -1}, {"epsilon_squared": 0.0}]
)
def test_refuses_unusable_settings(setting: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(setting))):
        estimate_k(directions([20] * 3), replace(QUICK, **setting))


def test_refuses_an_empty_collection() -> None:
    with pytest.raises(UsageError, match="no images"):
        estimate_k(np.empty((0, 4), np.float32), QUICK)


# ---- declaration ----------------------------------------------------------------------------


def test_reads_embeddings_or_refined_features() -> None:
    reads = STAGES["estimate-k"].reads
    assert reads(EstimateKConfig()) == {"features": Input(Embeddings, "{space}/features")}
    refined = {"features": Input(Refined, "features")}
    assert reads(EstimateKConfig(features="refined")) == refined


def test_is_skipped_when_k_is_given() -> None:
    skip = STAGES["estimate-k"].skip
    assert skip({"assign": AssignConfig()}, lambda source: None) is None
    assert skip({"assign": AssignConfig(k=7)}, lambda source: None) == "assign.k = 7 is given"


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_few_large_plain_clusters_are_not_taken_for_hundreds(k: int) -> None:
    found = estimate_k(directions([500] * k, noise=1.0), NEIGHBOURS)
    assert found.k == k
    assert holds(found, k)

"""refine on unions of subspaces of known structure, on hostile input, and as a declared stage."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from records import assert_same, in_memory
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.checkpoints import CheckpointStore
from clusterpipe.cache.errors import Interrupted, UsageError
from clusterpipe.cache.progress import Advance, Progress
from clusterpipe.cache.provenance import Identity
from clusterpipe.cache.schema import Embeddings, Refined
from clusterpipe.stages.declaration import STAGES, Input
from clusterpipe.stages.numerics.feature_map import apply_map
from clusterpipe.stages.refine import RefineConfig, refine

SMALL_PAPER = RefineConfig(preset="paper", hidden=64, width=16, epochs=20, learning_rate=3e-3)
QUICK = RefineConfig(width=8, epochs=3, batch=64)
PRESETS = pytest.mark.parametrize(
    "config",
    [RefineConfig(), pytest.param(SMALL_PAPER, marks=pytest.mark.slow)],
    ids=lambda c: c.preset,
)


def subspaces(
    n: int = 600, *, k: int = 6, d: int = 48, rank: int = 3, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows near k random subspaces, and which: off the origin, with noise and with what all share.

    What all share (lighting, say) varies in 4 directions and blurs the subspaces: rate reduction
    must turn it down.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    bases = np.linalg.qr(rng.normal(size=(k, d, rank)))[0]
    coefficients = rng.normal(size=(n, rank)) / 2 + rng.normal(size=(k, rank))[labels]
    inside = np.einsum("ndr,nr->nd", bases[labels], coefficients)
    shared = rng.normal(size=(n, 4)) @ rng.normal(size=(4, d)) / math.sqrt(d)
    rows = rng.normal(size=d) / 2 + inside + shared + rng.normal(size=(n, d)) / math.sqrt(d)
    return rows.astype(np.float32), labels


def centred(rows: NDArray[Any]) -> NDArray[np.float64]:
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float64)
    rows = rows - rows.mean(axis=0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mean_cosines(rows: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Mean |cosine| of pairs within one subspace and between two."""
    z = centred(rows)
    cosines, same = np.abs(z @ z.T), labels[:, None] == labels
    return float(cosines[same].mean()), float(cosines[~same].mean())


def tight_clusters(
    n: int = 240, *, k: int = 12, d: int = 140, rank: int = 8
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows near k points, off the origin, each cluster a little spread in directions of its own."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(n) % k)
    points = rng.normal(size=d) + rng.normal(size=(k, d))
    bases = rng.normal(size=(k, rank, d)) / math.sqrt(rank)
    spread = np.einsum("nr,nrd->nd", rng.normal(size=(n, rank)), bases[labels])
    return (points[labels] + spread / 2).astype(np.float32), labels


def agreement(rows: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Adjusted Rand index of k-means on the centred rows, the same for raw and refined ones."""
    found = KMeans(labels.max() + 1, n_init=10, random_state=0).fit_predict(centred(rows))
    return float(adjusted_rand_score(labels, found))


# ---- known structure ----------------------------------------------------------------------


@PRESETS
@pytest.mark.parametrize("seed", [0, 2, 3])
def test_refined_subspaces_are_further_apart_and_easier_to_find(
    config: RefineConfig, seed: int
) -> None:
    features, labels = subspaces(seed=seed)
    refined = refine(features, config).features[:]
    within_before, between_before = mean_cosines(features, labels)
    within, between = mean_cosines(refined, labels)
    assert within > within_before
    assert within - between > within_before - between_before
    assert agreement(refined, labels) > agreement(features, labels)


def test_tight_clusters_stay_whole() -> None:
    features, labels = tight_clusters()
    assert agreement(features, labels) > 0.99
    assert agreement(refine(features).features[:], labels) > 0.99


def test_what_neighbours_differ_in_is_turned_down() -> None:
    """Half the variance lies in three directions that say nothing of the kind."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 6
    kinds = np.eye(6)[labels] + 0.1 * rng.normal(size=(600, 6))
    nuisance = 0.8 * rng.normal(size=(600, 3))
    features = np.hstack([kinds, nuisance]).astype(np.float32)
    assert agreement(features, labels) < 0.8
    assert agreement(refine(features).features[:], labels) > 0.9


def test_training_goes_on_from_the_whitening_and_lowers_the_objective() -> None:
    steps = refine(subspaces()[0], RefineConfig(learning_rate=1e-3, epochs=5))
    assert len(steps.loss) == len(steps.rate) == len(steps.membership_rate) == 5 * 5
    assert np.mean(steps.loss[-5:]) < np.mean(steps.loss[:5])


@pytest.mark.slow
def test_groups_are_learnt_along_with_the_map() -> None:
    features, labels = subspaces()
    grouped = refine(features, RefineConfig(groups=9, epochs=20, learning_rate=3e-3))
    assert grouped.parameters["membership_weight"].shape == (9, 48)
    assert grouped.loss[-1] < grouped.loss[0]
    assert agreement(grouped.features[:], labels) > agreement(features, labels)
    with pytest.raises(UsageError, match=r"refine\.groups = 700"):
        refine(features, RefineConfig(groups=700))


@pytest.mark.slow
def test_published_training_lowers_its_objective_after_warm_up() -> None:
    steps = refine(subspaces()[0], SMALL_PAPER)
    warm_up = np.isnan(steps.membership_rate)
    assert warm_up.sum() == 50
    assert warm_up[:50].all()
    joint = steps.loss[50:]
    assert joint[-1] < joint[0]
    assert steps.rate[49] > steps.rate[0]


# ---- what comes out -----------------------------------------------------------------------


@PRESETS
def test_refined_rows_are_unit_and_read_lazily(config: RefineConfig) -> None:
    features, _ = subspaces(200)
    refined = refine(features, replace(config, epochs=2, width=8))
    assert isinstance(refined, Refined)
    assert refined.features.shape == (200, 8)
    rows = refined.features[:]
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(refined.features[50:60], rows[50:60], atol=1e-5)


@PRESETS
def test_new_images_are_refined_by_the_stored_arrays_alone(config: RefineConfig) -> None:
    features, _ = subspaces(200)
    refined = refine(features, replace(config, epochs=2))
    assert {array.dtype for array in refined.parameters.values()} == {np.dtype(np.float32)}
    again = apply_map(refined.parameters, 7 * features[:1])
    np.testing.assert_allclose(again, refined.features[:1], atol=1e-5)


@PRESETS
def test_same_seed_same_result_and_no_trace_in_the_global_generators(config: RefineConfig) -> None:
    features, _ = subspaces(200)
    config = replace(config, epochs=2, batch=64)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (refine(features, config, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.features[:], again.features[:])
    np.testing.assert_array_equal(first.loss, again.loss)
    assert not np.array_equal(first.features[:], other.features[:])
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_length_and_precision_of_the_input_do_not_matter() -> None:
    features, _ = subspaces(200)
    plain = refine(features, QUICK)
    scaled = refine(features * 40, QUICK)
    half = refine(features.astype(np.float16), QUICK)
    np.testing.assert_allclose(scaled.features[:], plain.features[:], atol=1e-3)
    cosine = np.abs((half.features[:] * plain.features[:]).sum(axis=1))
    assert np.median(cosine) > 0.99


def test_rotating_the_input_only_rotates_the_output() -> None:
    features, _ = subspaces(200)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(48, 48)))[0]
    plain = refine(features, QUICK).features[:]
    turned = refine((features @ rotation).astype(np.float32), QUICK).features[:]
    np.testing.assert_allclose(turned @ turned.T, plain @ plain.T, atol=5e-3)


def test_the_map_is_trained_on_a_capped_sample_and_applied_to_all() -> None:
    features, _ = subspaces(600)
    read: list[int] = []

    class Watched:
        shape, dtype = features.shape, features.dtype

        def __getitem__(self, rows: slice) -> NDArray[np.float32]:
            read.append(len(features[rows]))
            return features[rows]

    refined = refine(Watched(), replace(QUICK, sample=100))
    assert sum(read) <= 600
    assert len(refined.loss) == 3 * (100 // 7)
    assert refined.features[:].shape == (600, 8)


def test_only_the_split_that_is_named_shapes_the_map() -> None:
    features, _ = subspaces(200)
    split = np.where(np.arange(200) < 120, "train", "test").astype(object)
    changed = features.copy()
    changed[120:] = subspaces(200, seed=1)[0][120:]
    config = replace(QUICK, fit_split="train")
    first, other = (refine(rows, config, split=split) for rows in (features, changed))
    np.testing.assert_array_equal(first.features[:120], other.features[:120])
    assert first.fitted_on == "the 120 images of split 'train'"
    assert refine(features, QUICK).fitted_on == "the 200 images"
    with pytest.raises(UsageError, match=r"refine\.fit_split: there is no split 'trian'.*train"):
        refine(features, replace(QUICK, fit_split="trian"), split=split)
    with pytest.raises(UsageError, match="at least 2 images of split 'rare'"):
        refine(features, replace(QUICK, fit_split="rare"), split=np.array(["rare"] + [""] * 199))


def test_progress_counts_the_steps() -> None:
    seen: list[object] = []

    @contextmanager
    def record(what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        seen.append((what, total, unit))
        yield seen.append

    refine(subspaces(200)[0], QUICK, progress=record)
    assert seen == [("refining", 84, "steps"), *[1] * 84]
    seen.clear()
    refine(subspaces(200)[0], replace(QUICK, epochs=0), progress=record)
    assert seen == [("refining", 28, "steps"), *[1] * 28]


# ---- broken off and resumed ---------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    identity = Identity(
        stage="refine", stage_version=2, schema=2, seed=0, config={}, inputs={"features": "x"}
    )
    return CheckpointStore(tmp_path / "checkpoint.h5", identity)


def breaking_off(step: int, error: type[BaseException]) -> Progress:
    @contextmanager
    def progress(what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        counter = itertools.count(1)

        def advance(done: int) -> None:
            if next(counter) == step:
                raise error("broken off")

        yield advance

    return progress


@pytest.mark.slow
@PRESETS
@pytest.mark.parametrize(
    ("error", "every", "done"),
    [(Interrupted, 3600, 57), (RuntimeError, 0, 3)],
)
def test_a_resumed_run_comes_to_the_same_result(
    config: RefineConfig, error: type[BaseException], every: int, done: int, store: CheckpointStore
) -> None:
    """Interrupted, it keeps the last step; killed outright, the last checkpoint."""
    features, _ = subspaces(200)
    config = replace(config, epochs=4, batch=64, checkpoint_seconds=every)
    whole = refine(features, config, seed=3)
    with pytest.raises(error):
        refine(features, config, seed=3, checkpoint=store, progress=breaking_off(done, error))
    kept = store.read()
    assert kept
    assert (kept.done, kept.steps) == (done, len(whole.loss))
    said = list[str]()

    @contextmanager
    def listening(what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        said.append(f"{what}: {total} {unit}")
        yield lambda done: None

    resumed = refine(features, config, seed=3, checkpoint=store, progress=listening)
    steps = len(whole.loss)
    assert said == [f"refining, resumed after {done} of {steps} steps: {steps - done} steps"]
    assert_same(in_memory(resumed.parameters), whole.parameters)
    for name in ("rate", "membership_rate", "loss"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    np.testing.assert_array_equal(resumed.features[:], whole.features[:])


def test_short_training_keeps_nothing(store: CheckpointStore) -> None:
    refine(subspaces(200)[0], QUICK, checkpoint=store)
    assert not store.path.exists()
    with pytest.raises(UsageError, match="collapsed"):
        refine(subspaces(200)[0], replace(SMALL_PAPER, learning_rate=1e30), checkpoint=store)
    assert not store.path.exists()


# ---- hostile input ------------------------------------------------------------------------


@PRESETS
@pytest.mark.parametrize("n", [2, 3, 11])
def test_a_handful_of_images_is_enough(config: RefineConfig, n: int) -> None:
    refined = refine(subspaces(n)[0], replace(config, epochs=2))
    assert refined.features.shape[0] == n
    np.testing.assert_allclose(np.linalg.norm(refined.features[:], axis=1), 1, atol=1e-5)


def test_width_never_exceeds_the_rank_of_the_features() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 5)) @ rng.normal(size=(5, 30))
    assert refine(features.astype(np.float32), RefineConfig(epochs=1)).features.shape == (100, 5)


def test_nothing_is_learnt_from_near_copies() -> None:
    rows, rng = subspaces(300)[0], np.random.default_rng(5)
    copies = rows[:60] + 0.01 * rng.normal(size=(60, rows.shape[1])).astype(np.float32)
    many = np.concatenate([rows, copies, rows[:7]])
    alone, found = refine(rows, QUICK), refine(many, QUICK)
    assert_same(alone.parameters, found.parameters)
    np.testing.assert_allclose(found.features[:300], alone.features[:], atol=1e-5)
    assert found.features.shape[0] == 367
    assert found.fitted_on == "the 367 images"


def test_features_on_one_line_have_not_collapsed() -> None:
    """Two numbers per image, far from the origin: as directions, the images differ in sign only."""
    rng = np.random.default_rng(0)
    features = (100 + rng.normal(size=(60, 2))).astype(np.float32)
    z = refine(features).features[:]
    centred = features / np.linalg.norm(features, axis=1, keepdims=True)
    side = (centred - centred.mean(axis=0))[:, 0] > 0
    assert (z[side] @ z[side].T > 0).all()
    assert (z[side] @ z[~side].T < 0).all()


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_cannot_be_refined(n: int) -> None:
    with pytest.raises(UsageError, match="at least 2 images"):
        refine(np.ones((n, 4), np.float32))


def test_features_that_are_no_numbers_are_refused() -> None:
    features, _ = subspaces(50)
    features[7, 3] = np.nan
    with pytest.raises(UsageError, match="not numbers"):
        refine(features)


@PRESETS
def test_equal_images_are_refused(config: RefineConfig) -> None:
    with pytest.raises(UsageError, match=r"variance of the 50 images read is 0|collapsed"):
        refine(np.ones((50, 4), np.float32), config)


@pytest.mark.parametrize("learning_rate", [10.0, 1e30])
def test_collapse_is_refused(learning_rate: float) -> None:
    """Large steps switch off every hidden unit, so that all rows are one; larger ones overflow."""
    with pytest.raises(UsageError, match="collapsed"):
        refine(subspaces(200)[0], replace(SMALL_PAPER, learning_rate=learning_rate))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": -1},
        {"batch": 1},
        {"neighbours": 0},
        {"shrinkage": -0.1},
        {"groups": -1},
        {"epsilon_squared": 0.0},
        {"epochs": -1},
        {"preset": "papers"},
    ],
)
def test_impossible_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        refine(subspaces(20)[0], replace(RefineConfig(), **wrong))


# ---- the declaration ----------------------------------------------------------------------


def test_it_is_declared_as_a_stage_that_reads_embeddings() -> None:
    declared = STAGES["refine"]
    assert declared.function is refine
    assert declared.writes is Refined
    assert declared.reads(RefineConfig()) == {"features": Input(Embeddings, "{space}/features")}
    unaffected = [f.name for f in fields(declared.config) if not f.metadata["affects_result"]]
    assert unaffected == ["checkpoint_seconds"]
    assert declared.resumes


def test_appended_images_go_through_the_map_as_it_is() -> None:
    rows, _ = subspaces(n=200)
    before, extend = refine(rows[:150], QUICK), STAGES["refine"].extend
    assert extend
    after = extend(before, {"features": rows}, 150)
    np.testing.assert_array_equal(after.features[0:150], before.features[0:150])
    np.testing.assert_array_equal(after.features[:][150:], apply_map(before.parameters, rows[150:]))

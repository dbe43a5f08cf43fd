"""assign on known clusters, on hostile input, and as a declared stage."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import brief
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import ConcatenatedRows
from clusterpipe.cache.schema import Assignment, Assignments, Embeddings, KEstimate, Refined
from clusterpipe.stages.assign import AssignConfig, Features, assign
from clusterpipe.stages.declaration import STAGES, Input, Read
from clusterpipe.stages.heads import HEADS, load
from clusterpipe.stages.heads.coding_length import CodingLength
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.spectral import Spectral
from clusterpipe.stages.numerics.preparation import prepare

pytestmark = pytest.mark.slow

METHODS = tuple(HEADS)
PAIR = Consensus(candidates=("spherical-kmeans", "spectral"))
# Heads that learn briefly: what good heads find is for tests/stages/heads.
BRIEF = (PAIR, brief.Scp(), brief.Temi(), brief.Turtle())
QUICK = AssignConfig(methods=("spherical-kmeans",), seeds=3, restarts=2, heads=BRIEF)
EVERY = replace(QUICK, methods=METHODS)
FOR_FEW = replace(QUICK, methods=tuple(m for m in METHODS if m != CodingLength.name))
K, SIZE = 5, 40
TRUTH = np.repeat(np.arange(K), SIZE)
EACH_METHOD = pytest.mark.parametrize(
    "method", [pytest.param(method, marks=pytest.mark.slow) for method in METHODS]
)
Found = Mapping[str, Assignment]


def blobs(noise: float = 0.4, *, d: int = 24) -> np.ndarray:
    """Rows around five directions, off the origin, of lengths near 10."""
    rng = np.random.default_rng(0)
    centre = 3 * np.eye(K, d)[TRUTH] + 5
    return np.asarray(centre + noise * rng.normal(size=centre.shape), np.float32)


def grouped(kinds: int, groups: int, noise: float, images: int) -> np.ndarray:
    """So many images of each kind; the kinds of a group share most of their direction."""
    rng = np.random.default_rng(0)
    own, shared = rng.normal(size=(kinds, 48)), rng.normal(size=(groups, 48))
    centre = 0.6 * (0.8 * shared[np.arange(kinds) % groups] + 0.6 * own)
    return np.asarray(
        np.repeat(centre, images, axis=0) + noise * rng.normal(size=(kinds * images, 48)),
        np.float32,
    )


REPEATED = np.repeat(blobs()[::SIZE], 30, axis=0)  # five different rows


def shuffled(noise: float = 1.5) -> np.ndarray:
    """The same in an order of no meaning, as images come."""
    return blobs(noise)[np.random.default_rng(1).permutation(K * SIZE)]


# Each of these fits every head once for all tests that look at one head of it; none changes them.


@pytest.fixture(scope="module")
def known() -> Found:
    return assign(blobs(), K, EVERY).methods


@pytest.fixture(scope="module")
def noisy() -> Found:
    return assign(blobs(noise=2.0), K, EVERY).methods


@pytest.fixture(scope="module")
def single() -> Found:
    return assign(blobs(), 1, EVERY).methods


@pytest.fixture(scope="module")
def of_two() -> Found:
    return assign(blobs()[[0, -1]], 2, FOR_FEW).methods


@pytest.fixture(scope="module")
def of_repeated() -> Found:
    return assign(REPEATED, 8, FOR_FEW).methods


@pytest.fixture(scope="module")
def before_more_came() -> Assignments:
    return assign(shuffled()[:150], K, EVERY)


# ---- the clusters -----------------------------------------------------------------------


@EACH_METHOD
def test_finds_known_clusters(known: Found, method: str) -> None:
    found = known[method]
    assert adjusted_rand_score(TRUTH, found.label) == 1
    assert found.effective_k == K
    assert found.centroid.shape == (K, 24)


def test_the_run_stands_by_the_first_method() -> None:
    backwards = ("spectral", "kmeans", "spherical-kmeans")
    found = assign(blobs(), K, replace(QUICK, methods=backwards))
    assert found.chosen == "spectral"
    assert tuple(found.methods) == backwards


def test_auto_stands_by_the_consensus_of_its_candidates_and_keeps_them_all() -> None:
    rows = blobs(noise=2.0)
    candidates = ("kmeans", "spectral", "coding-length")
    found = assign(rows, K, replace(QUICK, methods=("auto",), heads=(Consensus(candidates),)))
    assert tuple(found.methods) == tuple(found.selection_method) == (*candidates, "consensus")
    assert found.chosen == "consensus"
    assert found.selection_value.shape == (4, len(found.selection_measure))
    assert found.selection_score_per_seed.shape == (4, QUICK.seeds)
    for name, score, each in zip(
        found.selection_method,
        found.selection_score,
        found.selection_score_per_seed,
        strict=True,
    ):
        assert score == each[found.methods[name].chosen_seed]
    named = assign(rows, K, replace(QUICK, methods=candidates))
    assert named.chosen == "kmeans"
    np.testing.assert_array_equal(named.selection_score, found.selection_score[:3])
    assert assign(rows, K, QUICK).selection_score is None


def test_auto_looks_at_the_features_before_they_were_refined_where_they_are_given() -> None:
    every = AssignConfig().candidates
    quick = AssignConfig(methods=("auto",), seeds=2, restarts=1, heads=(brief.Turtle(),))
    both = assign(blobs(), K, quick, embedded=Features(blobs(0.5), "embeddings/clip"))
    assert tuple(both.methods) == (*every, "spectral", "consensus")
    assert both.methods["annealed:embeddings"].space == "embeddings/clip"
    assert adjusted_rand_score(TRUTH, both.methods["consensus"].label) == 1
    alone = assign(Features(blobs(), "refined"), K, quick)
    assert tuple(alone.methods) == ("annealed", "spectral", "consensus")
    assert alone.methods["consensus"].space == "refined"


@pytest.mark.parametrize("images", [4, 8, 15])
@pytest.mark.parametrize(("kinds", "groups", "noise"), [(20, 20, 0.5), (24, 4, 0.35), (30, 6, 0.5)])
def test_few_images_of_many_kinds_fill_the_clusters(
    kinds: int, groups: int, noise: float, images: int
) -> None:
    rows = grouped(kinds, groups, noise, images)
    cheap = Consensus(("spherical-kmeans", "annealed", "kmeans"))
    config = AssignConfig(methods=("auto",), seeds=2, restarts=1, heads=(cheap,))
    for found in assign(rows, kinds, config).methods.values():
        assert found.effective_k >= 0.9 * kinds
        assert found.asked_k == kinds
    coded = replace(config, heads=(Consensus(("coding-length", "kmeans")),))
    with pytest.raises(UsageError, match=r"for which \d+\.0 images per cluster are too few"):
        assign(rows, kinds, coded)


def test_near_copies_count_once_and_have_the_labels_of_what_they_copy() -> None:
    rows, rng = shuffled(noise=2.0), np.random.default_rng(5)
    copies = rows[:40] + 0.02 * rng.normal(size=(40, rows.shape[1])).astype(np.float32)
    config = AssignConfig(seeds=2)
    alone = assign(rows, K, config).methods["annealed"]
    found = assign(np.concatenate([rows, copies, rows[:9]]), K, config).methods["annealed"]
    np.testing.assert_array_equal(found.label[:200], alone.label)
    np.testing.assert_array_equal(
        found.label[200:], np.concatenate([alone.label[:40], alone.label[:9]])
    )
    np.testing.assert_allclose(found.centroid, alone.centroid, atol=1e-6)
    assert found.fitted_on == "the 249 images"


@pytest.mark.parametrize("features", ["refined", "embeddings"])
def test_what_is_recorded_as_refined_was_refined(features: str) -> None:
    config = replace(QUICK, features=features)
    for refined_on, space in (("all 90 images", "refined"), ("", "embeddings")):
        found = assign(Features(blobs(), fitted_on=refined_on), K, config)
        assert found.methods[found.chosen].space == space


def test_auto_finds_small_clusters_beside_one_that_dominates() -> None:
    """The mean lies in the large cluster, whose rows then point anywhere: k-means splits it.

    So `auto` stands by the cut of the graph of neighbours.
    """
    truth = np.repeat(np.arange(3), [160, 25, 15])
    rows = np.eye(3, 8)[truth] + 0.15 * np.random.default_rng(0).normal(size=(200, 8))
    config = AssignConfig(methods=("auto",), seeds=2, restarts=1, heads=(brief.Turtle(),))
    found = assign(rows.astype(np.float32), 3, config)
    assert found.chosen == "spectral"
    assert adjusted_rand_score(truth, found.methods["spectral"].label) > 0.9
    alone = replace(config, heads=(Consensus(rival=""),))
    assert tuple(assign(rows.astype(np.float32), 3, alone).methods) == ("annealed", "consensus")


def test_what_is_read_follows_the_features_that_methods_name() -> None:
    def read(**settings: object) -> Mapping[str, Read]:
        return STAGES["assign"].reads(AssignConfig(**settings))  # type: ignore[arg-type]

    assert "embedded" not in read()
    for settings in ({"methods": ("turtle:both",)}, {"methods": ("auto",)}):
        assert read(**settings)["embedded"] == Input(Embeddings, "{refined_space}/features")
    assert "embedded" not in read(methods=("auto",), features="embeddings")


def test_spherical_clusters_ignore_length() -> None:
    rows = blobs()
    stretched = rows * np.linspace(0.01, 50, len(rows))[:, None]
    first, second = (assign(x, K, QUICK).methods["spherical-kmeans"] for x in (rows, stretched))
    np.testing.assert_array_equal(first.label, second.label)


def test_half_precision_gives_the_same_clusters() -> None:
    found = assign(blobs().astype(np.float16), K, QUICK).methods["spherical-kmeans"]
    assert adjusted_rand_score(TRUTH, found.label) == 1


def test_the_seed_of_least_inertia_gives_the_labels() -> None:
    found = assign(blobs(noise=3.0), 8, QUICK).methods["spherical-kmeans"]
    best = found.chosen_seed
    assert best == found.objective_per_seed.argmin()
    assert found.label_per_seed.shape == (3, len(TRUTH))
    np.testing.assert_array_equal(found.label, found.label_per_seed[best])


def test_equal_seeds_give_equal_results_and_more_seeds_add_to_them() -> None:
    rows = blobs(noise=3.0)
    three, again = (assign(rows, 8, QUICK, seed=2).methods["spherical-kmeans"] for _ in range(2))
    five = assign(rows, 8, replace(QUICK, seeds=5), seed=2).methods["spherical-kmeans"]
    np.testing.assert_array_equal(three.label, again.label)
    np.testing.assert_array_equal(three.probability, again.probability)
    np.testing.assert_array_equal(three.objective_per_seed, five.objective_per_seed[:3])


@EACH_METHOD
def test_one_cluster(single: Found, method: str) -> None:
    found = single[method]
    assert not found.label.any()
    assert (found.probability == 1).all()
    assert found.top_label.shape == (len(TRUTH), 1)


def test_as_many_clusters_as_images() -> None:
    methods = assign(blobs()[::20], 10, FOR_FEW).methods
    assert methods["spherical-kmeans"].effective_k == methods["kmeans"].effective_k == 10
    for found in methods.values():
        assert found.effective_k == len(np.unique(found.label)) <= 10


@pytest.mark.parametrize("method", FOR_FEW.methods)
def test_two_images(of_two: Found, method: str) -> None:
    found = of_two[method]
    if method != "scp":  # which is taught that each is like its neighbour, the other one
        assert found.effective_k == 2
    assert np.isfinite(found.outlier_score).all()


@pytest.mark.parametrize("method", FOR_FEW.methods)
def test_clusters_without_images_are_left_out(of_repeated: Found, method: str) -> None:
    found = of_repeated[method]
    assert found.effective_k == len(found.centroid) == len(found.exemplar) == len(found.cluster)
    assert found.effective_k <= 5
    np.testing.assert_array_equal(np.unique(found.label), np.arange(found.effective_k))
    best = found.label_per_seed[found.chosen_seed]
    np.testing.assert_array_equal(found.label, best)
    soft = load(found).soft(REPEATED)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(soft.argmax(axis=1), found.label)
    np.testing.assert_array_equal(soft.max(axis=1), found.probability)


def test_each_of_several_spaces_counts_alike_however_far_off_the_origin() -> None:
    rng = np.random.default_rng(0)
    near = np.eye(K, 24)[TRUTH] + 0.1 * rng.normal(size=(K * SIZE, 24))
    far = 100 + rng.normal(size=near.shape)
    rows = ConcatenatedRows([far.astype(np.float32), near.astype(np.float32)])
    found = assign(rows, K, QUICK).methods["spherical-kmeans"]
    assert adjusted_rand_score(TRUTH, found.label) == 1
    z = load(found).prepared(rows[:9])[:9]
    np.testing.assert_allclose(np.linalg.norm(z[:, :24], axis=1), np.sqrt(0.5), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(z[:, 24:], axis=1), np.sqrt(0.5), rtol=1e-5)


def test_stability_is_the_mean_ari_of_pairs_of_seeds() -> None:
    found = assign(blobs(noise=3.0), 8, QUICK).methods["spherical-kmeans"]
    pairs = combinations(found.label_per_seed, 2)
    expected = np.mean([adjusted_rand_score(a, b) for a, b in pairs])
    assert found.stability == pytest.approx(expected)
    assert found.stability < 1


def test_centring_is_recorded() -> None:
    centred = assign(blobs(), K, QUICK).methods["spherical-kmeans"]
    plain = assign(blobs(), K, replace(QUICK, center=False)).methods["spherical-kmeans"]
    directions = blobs() / np.linalg.norm(blobs(), axis=1, keepdims=True)
    np.testing.assert_allclose(centred.center, directions.mean(axis=0), atol=1e-6)
    assert not plain.center.any()


# ---- how sure ---------------------------------------------------------------------------


@EACH_METHOD
def test_anyone_can_assign_an_image_from_the_artifact(noisy: Found, method: str) -> None:
    found = noisy[method]
    probability = load(found).soft(blobs(noise=2.0))
    np.testing.assert_array_equal(found.label, probability.argmax(axis=1))
    np.testing.assert_array_equal(found.probability, probability.max(axis=1))


def test_the_likeliest_clusters_come_first() -> None:
    found = assign(blobs(noise=2.0), K, replace(QUICK, top=3)).methods["spherical-kmeans"]
    np.testing.assert_array_equal(found.top_label[:, 0], found.label)
    np.testing.assert_array_equal(found.top_probability[:, 0], found.probability)
    assert (np.diff(found.top_probability, axis=1) <= 0).all()
    assert all(len(set(row)) == 3 for row in found.top_label)
    every = assign(blobs(noise=2.0), K, replace(QUICK, top=99)).methods["spherical-kmeans"]
    np.testing.assert_allclose(every.top_probability.sum(axis=1), 1, rtol=1e-5)


def test_the_less_independent_fits_agree_the_less_sure_is_it() -> None:
    rows = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    found = assign(rows, 6, QUICK).methods["spherical-kmeans"]
    assert 0.2 < found.probability.mean() < 0.95
    sure = assign(blobs(noise=0.1), K, QUICK).methods["spherical-kmeans"]
    assert sure.probability.mean() > 0.98


def test_a_given_temperature_is_used() -> None:
    found = assign(blobs(), K, replace(QUICK, temperature=0.3)).methods["spherical-kmeans"]
    assert found.temperature == 0.3


def test_a_single_seed_is_as_sure_as_several() -> None:
    one, several = (
        assign(blobs(noise=2.0), K, replace(QUICK, seeds=seeds)).methods["spherical-kmeans"]
        for seeds in (1, 3)
    )
    assert one.probability.mean() == pytest.approx(several.probability.mean(), abs=0.05)


def test_exemplars_are_the_members_nearest_the_centre() -> None:
    rows = blobs(noise=1.0)
    found = assign(rows, K, replace(QUICK, exemplars=50)).methods["spherical-kmeans"]
    z = prepare(rows, found.center, unit=True)
    for cluster in range(K):
        members = found.exemplar[cluster][found.exemplar[cluster] >= 0]
        assert set(members) == set(np.flatnonzero(found.label == cluster))
        cosine = z[members] @ found.centroid[cluster]
        assert (np.diff(cosine) <= 1e-6).all()


def test_outliers_score_high() -> None:
    rows = blobs(noise=0.2)
    rows[7] = -rows[7][::-1]
    found = assign(rows, K, QUICK).methods["spherical-kmeans"]
    assert found.outlier_score.argmax() == 7
    assert np.median(found.outlier_score) == pytest.approx(1, abs=0.05)


# ---- which rows it is fitted on -----------------------------------------------------------


def test_fits_on_a_split_and_assigns_everything() -> None:
    rows = blobs()
    split = np.array(["train", "test"], dtype=object)[(np.arange(len(rows)) % 4 == 0).astype(int)]
    config = replace(QUICK, fit_split="train")
    found = assign(rows, K, config, split=split).methods["spherical-kmeans"]
    alone = assign(rows[split == "train"], K, QUICK).methods["spherical-kmeans"]
    np.testing.assert_allclose(found.centroid, alone.centroid)
    np.testing.assert_array_equal(found.label[split == "train"], alone.label)
    assert adjusted_rand_score(TRUTH, found.label) == 1
    assert found.fitted_on == "the 150 images of split 'train'"


def test_says_when_the_features_were_refined_on_other_rows_than_the_fit() -> None:
    def fitted_on(refined_on: str) -> str:
        found = assign(Features(blobs(), "refined", refined_on), K, QUICK)
        return found.methods["spherical-kmeans"].fitted_on

    assert fitted_on("the 200 images") == "the 200 images"
    other = "the 150 images of split 'train'"
    assert fitted_on(other) == f"the 200 images (the features refined on {other})"


def test_fits_on_a_sample_and_assigns_everything() -> None:
    found = assign(blobs(), K, replace(QUICK, sample=60)).methods["spherical-kmeans"]
    assert adjusted_rand_score(TRUTH, found.label) == 1
    assert found.fitted_on == "60 of the 200 images, drawn at random"


# ---- what it refuses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("sperical-kmeans",)}, "did you mean spherical-kmeans"),
        ({"methods": ()}, "at least one"),
        ({"methods": ("auto", "kmeans")}, "'auto' stands alone"),
        ({"methods": ("turtle:clip",)}, "names no features; there are turtle:embeddings and"),
        ({"methods": ("kmeans:both",)}, "take spherical-kmeans:both"),
        ({"methods": ("consensus:both",)}, "consensus has features of its own"),
        ({"methods": ("turtle:both",)}, r"needs refined features .*\.features = refined"),
        ({"methods": ("auto",), "heads": (Consensus(("kmean",)),)}, "candidates: .*mean kmeans"),
        ({"seeds": 0}, "assign.seeds must be at least 1"),
        ({"temperature": -1.0}, "assign.temperature"),
        ({"heads": (Spectral(neighbours=-1),)}, "spectral.neighbours must be at least 0"),
        ({"heads": (CodingLength(components=0),)}, "coding_length.components must be at least 1"),
        ({"fit_split": "trian"}, "did you mean 'train'"),
        ({"k": 4}, "assign.k = 4, but 5 clusters"),
    ],
)
def test_refuses_unusable_settings(settings: dict[str, object], message: str) -> None:
    split = np.array(["train", "test"] * 100, dtype=object)
    with pytest.raises(UsageError, match=message):
        assign(blobs(), K, replace(QUICK, **settings), split=split)


def test_refuses_a_split_where_there_are_none() -> None:
    with pytest.raises(UsageError, match="no splits"):
        assign(blobs(), K, replace(QUICK, fit_split="train"))


def test_refuses_more_clusters_than_images_to_fit_on() -> None:
    with pytest.raises(UsageError, match="200 images cannot fill 201 clusters"):
        assign(blobs(), 201, QUICK)
    with pytest.raises(UsageError, match="4 images cannot be fitted with 5 clusters"):
        assign(blobs(), K, replace(QUICK, sample=4))


def test_refuses_one_image_and_no_k() -> None:
    with pytest.raises(UsageError, match="at least 2 images"):
        assign(blobs()[:1], 1, QUICK)
    with pytest.raises(UsageError, match=r"give assign\.k, or run estimate-k"):
        assign(blobs(), config=QUICK)


def test_refuses_equal_images_unless_one_cluster_is_asked_for() -> None:
    same = np.tile(blobs()[:1], (30, 1))
    with pytest.raises(UsageError, match="same features"):
        assign(same, 2, QUICK)
    for found in assign(same, 1, EVERY).methods.values():
        assert found.effective_k == 1
        assert np.isfinite(found.outlier_score).all()


def test_refuses_features_that_are_not_numbers() -> None:
    rows = blobs()
    rows[150, 3] = np.inf
    with pytest.raises(UsageError, match="not numbers"):
        assign(rows, K, QUICK)


def test_duplicates_fill_what_clusters_they_can(of_repeated: Found) -> None:
    for name, found in of_repeated.items():
        assert found.effective_k == 5 or name == "temi"
        assert found.asked_k == 8
        assert 1 <= found.effective_k <= 5
        assert np.isfinite(found.outlier_score).all()


# ---- declaration ----------------------------------------------------------------------------


def test_reads_follow_the_settings() -> None:
    reads = STAGES["assign"].reads
    assert reads(AssignConfig(features="refined")) == {
        "features": Input(Refined, "features"),
        "refined_on": Input(Refined, "@fitted_on"),
        "k": Input(KEstimate, "k"),
    }
    with pytest.raises(UsageError, match=r"assign\.space = 'clip' names a space of the embeddings"):
        reads(AssignConfig(space="clip"))
    assert reads(AssignConfig(features="embeddings", k=9, fit_split="train")) == {
        "features": Input(Embeddings, "{space}/features"),
        "split": Input(Embeddings, "split", optional=True),
    }


def test_k_may_stand_in_the_settings() -> None:
    found = assign(blobs(), config=replace(QUICK, k=K)).methods["spherical-kmeans"]
    assert len(found.centroid) == K


# ---- images that come later -------------------------------------------------------------


def test_appended_images_are_assigned_in_the_features_that_a_method_names() -> None:
    rows, embedded = blobs(noise=1.5), blobs(noise=0.6, d=9)
    order = np.random.default_rng(1).permutation(K * SIZE)
    given = {"features": rows[order], "embedded": embedded[order]}
    names = ("spherical-kmeans", "spectral:embeddings", "spherical-kmeans:both")
    config = replace(QUICK, methods=("auto",), heads=(Consensus(names, rival=""),))
    before = assign(given["features"][:150], K, config, embedded=given["embedded"][:150])
    extend = STAGES["assign"].extend
    assert extend
    both = ConcatenatedRows([given["embedded"], given["features"]])[:]
    read = dict(zip((*names, "consensus"), (*list(given.values()), both, both), strict=True))
    for name, found in extend(before, given, 150).methods.items():
        expected = load(before.methods[name]).soft(read[name]).argmax(axis=1)
        np.testing.assert_array_equal(found.label[150:], expected[150:])
        np.testing.assert_array_equal(found.label[:150], before.methods[name].label)


@EACH_METHOD
def test_appended_images_are_assigned_by_the_head_and_nothing_else_changes(
    before_more_came: Assignments, method: str
) -> None:
    rows, was = shuffled(), before_more_came.methods[method]
    extend = STAGES["assign"].extend
    assert extend
    after = extend(before_more_came, {"features": rows}, 150).methods[method]
    soft = load(was).soft(rows)
    for name in ("label", "probability", "top_label", "top_probability", "outlier_score"):
        np.testing.assert_array_equal(getattr(after, name)[:150], getattr(was, name))
    np.testing.assert_array_equal(after.label[150:], soft[150:].argmax(axis=1))
    np.testing.assert_allclose(after.probability[150:], soft[150:].max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(after.top_label[:, 0], after.label)
    assert (after.label_per_seed[:, 150:] == -1).all()
    np.testing.assert_array_equal(after.exemplar, was.exemplar)
    z = prepare(rows, was.center, unit=was.normalised)
    distance = np.linalg.norm(z - was.centroid[after.label], axis=1)
    for row in range(150, len(rows)):
        median = np.median(distance[:150][was.label == after.label[row]])
        assert after.outlier_score[row] == pytest.approx(distance[row] / median, rel=1e-3)


# ---------------------------------------------------------------- none of these


def test_outliers_are_in_no_cluster_if_they_are_to_be_rejected() -> None:
    rng = np.random.default_rng(0)
    features = (np.eye(3, 8)[np.arange(60) % 3] + 0.1 * rng.normal(size=(60, 8))).astype(np.float32)
    out = np.zeros(60, np.int8)
    out[[0, 7, 20]] = 1
    plain = assign(features, 3, AssignConfig(seeds=2)).methods["annealed"]
    found = assign(features, 3, AssignConfig(seeds=2, reject=True), outlier=out).methods["annealed"]
    assert np.flatnonzero(found.label < 0).tolist() == [0, 7, 20]
    assert np.flatnonzero((found.label_per_seed < 0).all(axis=0)).tolist() == [0, 7, 20]
    inside = out == 0
    assert found.label[inside].tolist() == plain.label[inside].tolist()
    assert found.probability[~inside].tolist() == [0, 0, 0]
    assert not np.isin([0, 7, 20], found.exemplar).any()
    assert found.top_label.tolist() == plain.top_label.tolist()


def test_what_is_an_outlier_only_curate_says() -> None:
    assert "outlier" not in STAGES["assign"].reads(AssignConfig())
    read = STAGES["assign"].reads(AssignConfig(reject=True))["outlier"]
    assert (read.artifact.name, read.field) == ("curation", "outlier")  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="needs the outliers that curate finds"):
        assign(np.eye(6, 4, dtype=np.float32), 2, AssignConfig(reject=True))

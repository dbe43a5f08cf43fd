"""evaluate against scikit-learn, on partitions of known quality, and what it refuses."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from sklearn import metrics as sk

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import Assignment, Assignments, Metrics
from clusterpipe.stages.evaluate import EvaluateConfig, evaluate

QUICK = EvaluateConfig(sample=120, permutations=3)
K, SIZE, SEEDS = 4, 30, 3
N = K * SIZE
TRUTH = np.repeat(np.arange(K), SIZE)
NAMES = np.array(["ant", "bee", "cow", "dog"], dtype=object)
LABEL_METRICS = ("accuracy", "nmi", "ami", "ari", "purity")


def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray(np.eye(K, 12)[TRUTH] + 0.2 * rng.normal(size=(N, 12)), np.float16)


def noisy(share: float, seed: int = 0) -> np.ndarray:
    """The truth under other names, with a share of rows put anywhere."""
    rng = np.random.default_rng(seed)
    anywhere = rng.random(N) < share
    return np.where(anywhere, rng.integers(0, K, N), (TRUTH + 1) % K).astype(np.int32)


def assignment(*per_seed: np.ndarray, k: int = K) -> Assignment:
    n = len(per_seed[0])
    return Assignment(
        label=per_seed[0],
        probability=np.ones(n),
        top_label=per_seed[0][:, None],
        top_probability=np.ones((n, 1)),
        centroid=np.zeros((k, 12)),
        center=np.zeros(12),
        width=np.array([12]),
        cluster=np.arange(k),
        exemplar=np.full((k, 1), -1),
        outlier_score=np.ones(n),
        label_per_seed=np.stack(per_seed),
        objective_per_seed=np.arange(len(per_seed), dtype=float),
        objective="inertia",
        chosen_seed=0,
        fitted_on="the 120 images",
    )


def assignments(*per_seed: np.ndarray, k: int = K) -> Assignments:
    return Assignments(chosen="a", methods={"a": assignment(*per_seed, k=k)})


def value(found: Metrics, name: str, of: str = "value") -> float:
    return float(getattr(found, of)[..., 0, list(found.metric).index(name)])


# ---- values ---------------------------------------------------------------------------------


def test_a_perfect_partition_scores_one() -> None:
    found = evaluate(assignments(noisy(0)), features(), QUICK, label=TRUTH)
    for name in LABEL_METRICS:
        assert value(found, name) == pytest.approx(1)
        assert value(found, name, "chance") < 0.5
    assert value(found, "effective_k") == K


def test_values_are_those_of_scikit_learn() -> None:
    label = noisy(0.4)
    found = evaluate(assignments(label), features(), QUICK, label=TRUTH)
    rows = features().astype(np.float32)
    expected = {
        "nmi": sk.normalized_mutual_info_score(TRUTH, label),
        "ami": sk.adjusted_mutual_info_score(TRUTH, label),
        "ari": sk.adjusted_rand_score(TRUTH, label),
        "silhouette": sk.silhouette_score(rows, label, metric="cosine"),
        "accuracy": np.mean(label == (TRUTH + 1) % K),
    }
    for name, number in expected.items():
        assert value(found, name) == pytest.approx(number, abs=1e-5)


def test_mean_and_spread_are_over_seeds() -> None:
    seeds = [noisy(share) for share in (0.2, 0.4, 0.6)]
    found = evaluate(assignments(*seeds), features(), QUICK, label=TRUTH)
    ari = [sk.adjusted_rand_score(TRUTH, label) for label in seeds]
    column = list(found.metric).index("ari")
    np.testing.assert_allclose(found.value_per_seed[:, 0, column], ari)
    assert value(found, "ari") == pytest.approx(np.mean(ari))
    assert value(found, "ari", "spread") == pytest.approx(np.std(ari))
    assert value(found, "ari", "chosen_value") == pytest.approx(ari[0])


def test_names_of_clusters_and_order_of_images_do_not_matter() -> None:
    label, order = noisy(0.4), np.random.default_rng(1).permutation(N)
    renamed = np.array([2, 0, 3, 1])[label]
    expected = evaluate(assignments(label), features(), QUICK, label=TRUTH)
    found = evaluate(assignments(renamed[order]), features()[order], QUICK, label=TRUTH[order])
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-4)


def test_the_true_partition_is_coded_shorter_than_chance() -> None:
    found = evaluate(assignments(noisy(0)), features(), QUICK)
    assert value(found, "coding_length") < value(found, "coding_length", "chance") - 1
    assert value(found, "silhouette") > value(found, "silhouette", "chance") + 0.3


def test_chance_is_that_of_random_labels_of_the_same_sizes() -> None:
    label = noisy(0.3)
    found = evaluate(assignments(label), features(), replace(QUICK, permutations=20), label=TRUTH)
    draws = [np.random.default_rng(s).permutation(label) for s in range(100)]
    expected = np.mean([sk.normalized_mutual_info_score(TRUTH, draw) for draw in draws])
    assert value(found, "nmi", "chance") == pytest.approx(expected, abs=0.02)
    assert value(found, "ari", "chance") == pytest.approx(0, abs=0.02)
    assert np.isnan(value(found, "effective_k", "chance"))


def test_confusion_counts_classes_against_clusters() -> None:
    found = evaluate(
        assignments(noisy(0), k=6), features(), QUICK, label=TRUTH, class_name=np.append(NAMES, "x")
    )
    assert found.confusion is not None
    assert found.confusion.shape == (5, 6)
    np.testing.assert_array_equal(found.confusion[range(K), (np.arange(K) + 1) % K], SIZE)
    assert found.confusion.sum() == N


def test_every_method_has_its_row_and_that_which_the_run_stands_by_the_first() -> None:
    both = Assignments(chosen="b", methods={"a": assignment(noisy(0.5)), "b": assignment(noisy(0))})
    found = evaluate(both, features(), QUICK, label=TRUTH)
    assert list(found.method) == ["b", "a"]
    accuracy = found.value[:, list(found.metric).index("accuracy")]
    assert accuracy[0] == 1 > accuracy[1]


# ---- labels, splits and what is left out --------------------------------------------------------


def test_without_labels_only_the_label_free_ones() -> None:
    found = evaluate(assignments(noisy(0.2), noisy(0.3)), features(), QUICK)
    for name in found.metric:
        assert np.isnan(value(found, name)) == (name in LABEL_METRICS)


def test_stability_is_the_mean_ari_of_pairs_of_seeds() -> None:
    seeds = [noisy(0.2, 1), noisy(0.3, 2), noisy(0.4, 3)]
    found = evaluate(assignments(*seeds), features(), QUICK)
    pairs = [sk.adjusted_rand_score(a, b) for a, b in combinations(seeds, 2)]
    assert value(found, "stability") == pytest.approx(np.mean(pairs))
    chosen = np.mean([pairs[0], pairs[1]])
    assert value(found, "stability", of="chosen_value") == pytest.approx(chosen)
    alone = evaluate(assignments(noisy(0.2)), features(), QUICK)
    assert np.isnan(value(alone, "stability"))
    assert found.confusion is None
    assert list(found.count_per_split) == [0]


def test_unlabelled_rows_are_left_out() -> None:
    some = np.where(np.arange(N) % 3 == 0, -1, TRUTH)
    label = noisy(0.4)
    found = evaluate(assignments(label), features(), QUICK, label=some)
    known = some >= 0
    expected = sk.adjusted_rand_score(TRUTH[known], label[known])
    assert value(found, "ari") == pytest.approx(expected)
    assert list(found.count_per_split) == [80]
    assert "80 of them labelled" in found.protocol


def test_splits_are_reported_apart() -> None:
    split = np.array(["train", "test"], dtype=object)[np.arange(N) % 2]
    label = np.where(split == "train", noisy(0), noisy(0.9)).astype(np.int32)
    found = evaluate(assignments(label), features(), QUICK, label=TRUTH, split=split)
    accuracy = found.value_per_split[:, 0, list(found.metric).index("accuracy")]
    assert list(found.split) == ["all", "test", "train"]
    assert accuracy[2] == 1
    assert accuracy[0] == pytest.approx((accuracy[1] + accuracy[2]) / 2, abs=0.05)
    assert list(found.count_per_split) == [120, 60, 60]
    assert "splits: test 60, train 60" in found.protocol


def test_accuracy_is_refused_where_matching_alone_makes_it_large() -> None:
    many = (np.arange(N) % 20).astype(np.int32)
    found = evaluate(assignments(many, k=20), features(), QUICK, label=TRUTH)
    assert np.isnan(value(found, "accuracy"))
    assert np.isfinite(value(found, "purity"))
    assert "no accuracy for all" in found.protocol
    fine = evaluate(assignments(noisy(0)), features(), QUICK, label=TRUTH)
    assert "no accuracy" not in fine.protocol


def test_one_cluster_has_no_silhouette() -> None:
    found = evaluate(assignments(np.zeros(N, np.int32), k=1), features(), QUICK, label=TRUTH)
    assert np.isnan(value(found, "silhouette"))
    assert value(found, "accuracy") == pytest.approx(1 / K)
    assert value(found, "ari") == 0


def test_unassigned_rows_are_errors() -> None:
    label = noisy(0)
    label[:12] = -1
    found = evaluate(assignments(label), features(), QUICK, label=TRUTH)
    assert value(found, "accuracy") == pytest.approx(0.9)
    assert value(found, "effective_k") == K


def test_two_images() -> None:
    found = evaluate(assignments(np.array([0, 1]), k=2), features()[:2], QUICK, label=TRUTH[:2])
    assert value(found, "effective_k") == 2
    assert np.isnan(value(found, "accuracy"))


def test_the_protocol_says_what_was_done() -> None:
    found = evaluate(assignments(*[noisy(0.1)] * SEEDS), features(), QUICK, label=TRUTH)
    for words in ("fitted on the 120 images", "3 independent fits", "without labels"):
        assert words in found.protocol
    assert "student" not in found.protocol
    taught = replace(assignment(noisy(0)), head="self-label", finishes="spectral")
    found = evaluate(Assignments(chosen="a", methods={"a": taught}), features(), QUICK)
    assert "a student of each learnt its labels (self-label)" in found.protocol


# ---- what is measured in ----------------------------------------------------------------------


def test_search_is_measured_in_the_features_there_are() -> None:
    found = evaluate(assignments(noisy(0)), features(), QUICK, refined=features(), label=TRUTH)
    assert list(found.retrieval_space) == ["embeddings", "refined"]
    unlabelled = evaluate(assignments(noisy(0)), features(), QUICK, refined=features())
    assert unlabelled.retrieval_value is None


def test_clusters_can_be_measured_in_refined_features() -> None:
    refined = np.eye(K, dtype=np.float32)[TRUTH]
    config = replace(QUICK, features="refined")
    found = evaluate(assignments(noisy(0)), features(), config, refined=refined)
    assert value(found, "silhouette") == pytest.approx(1)
    assert "in refined" in found.protocol


# ---- refusals -------------------------------------------------------------------------------


def test_refuses_lengths_that_do_not_agree() -> None:
    with pytest.raises(UsageError, match="labels of a are 120"):
        evaluate(assignments(noisy(0)), features()[:-1], QUICK)
    with pytest.raises(UsageError, match="ground truth are 119"):
        evaluate(assignments(noisy(0)), features(), QUICK, label=TRUTH[1:])
    with pytest.raises(UsageError, match="refined features are 119"):
        evaluate(assignments(noisy(0)), features(), QUICK, refined=features()[1:])


def test_refuses_refined_features_that_were_not_given() -> None:
    with pytest.raises(UsageError, match="no refined features"):
        evaluate(assignments(noisy(0)), features(), replace(QUICK, features="refined"))


def test_refuses_methods_of_different_seeds() -> None:
    uneven = Assignments(
        chosen="a", methods={"a": assignment(noisy(0)), "b": assignment(noisy(0), noisy(1))}
    )
    with pytest.raises(UsageError, match="same number of seeds"):
        evaluate(uneven, features(), QUICK)


def test_refuses_an_unusable_sample() -> None:
    with pytest.raises(UsageError, match="sample"):
        evaluate(assignments(noisy(0)), features(), replace(QUICK, sample=1))


def test_images_appended_later_are_left_out() -> None:
    seeds = [noisy(0.2, seed) for seed in range(SEEDS)]
    known = evaluate(assignments(*seeds), features(), label=TRUTH, config=QUICK)
    later = np.full(10, -1, np.int32)
    whole = replace(
        assignment(*(np.concatenate([seed, later]) for seed in seeds)),
        label=np.concatenate([seeds[0], later + 2]),
    )
    found = evaluate(
        Assignments(chosen="a", methods={"a": whole}),
        np.concatenate([features(), features()[:10]]),
        label=np.concatenate([TRUTH, TRUTH[:10]]),
        config=QUICK,
    )
    np.testing.assert_array_equal(found.value, known.value)
    np.testing.assert_array_equal(found.confusion, known.confusion)
    assert found.count_per_split[0] == N
    assert f"reported on all {N} images" in found.protocol
    assert "10 appended later are left out" in found.protocol

"""Scores of labellings without ground truth, against brute force and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import cohen_kappa_score

from clusterpipe.stages.numerics.neighbours import neighbours
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.selection import (
    FOLDS,
    RIDGE,
    about_least,
    collapsed,
    neighbour_agreement,
    probe_agreement,
    selection,
    smallest_share,
)

TRUTH = np.repeat(np.arange(4), [60, 40, 30, 20])


def rows(noise: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(0)
    return unit_rows(np.eye(4, 10)[TRUTH] + noise * rng.normal(size=(150, 10)))


def shuffled(share: float) -> np.ndarray:
    """The truth, with a share of rows dealt out anew."""
    rng = np.random.default_rng(1)
    moved = np.flatnonzero(rng.random(len(TRUTH)) < share)
    label = TRUTH.copy()
    label[moved] = label[rng.permutation(moved)]
    return label


def test_neighbour_agreement_is_the_share_of_edges_over_chance() -> None:
    label, near = shuffled(0.3), neighbours(rows(), 5).index
    same = np.mean([label[i] == label[j] for i in range(150) for j in near[i]])
    chance = sum(np.mean(label == c) ** 2 for c in range(4))
    assert neighbour_agreement(label, near) == pytest.approx((same - chance) / (1 - chance))


def test_probe_agreement_is_that_of_ridge_regression_fold_by_fold() -> None:
    x, label = rows(), shuffled(0.2)
    fold = np.random.default_rng(7).permutation(150) % FOLDS
    with_one = np.hstack([x, np.ones((150, 1))])
    alpha = RIDGE * np.square(with_one).sum() / 11
    found = np.empty(150, int)
    for held in range(FOLDS):
        out = fold == held
        probe = Ridge(alpha, fit_intercept=False).fit(with_one[~out], np.eye(4)[label[~out]])
        found[out] = probe.predict(with_one[out]).argmax(axis=1)
    chance = np.square(np.bincount(label) / 150).sum()
    expected = (np.mean(found == label) - chance) / (1 - chance)
    assert probe_agreement(x, [label], seed=7)[0] == pytest.approx(expected)
    assert expected == pytest.approx(cohen_kappa_score(found, label), abs=0.03)


def test_labels_of_other_labellings_do_not_matter() -> None:
    both = probe_agreement(rows(), [TRUTH, shuffled(0.9)])
    np.testing.assert_allclose(both[1], probe_agreement(rows(), [shuffled(0.9)])[0])


def test_better_labels_score_better_and_collapse_and_chance_score_nothing() -> None:
    collapsed = np.zeros_like(TRUTH)
    labels = [TRUTH, shuffled(0.2), shuffled(0.5), shuffled(1.0), collapsed]
    found = selection([rows(), rows(0.8)], labels)
    for column in (found.score, found.value[:, 1]):
        assert (np.diff(column[:4]) < 0).all()
        assert abs(column[3]) < 0.15
        assert column[4] == 0
    assert found.measure[0] == "probe_agreement"
    np.testing.assert_array_equal(found.value[:, 0], found.score)


def test_names_of_clusters_do_not_matter() -> None:
    renamed = np.array([7, 2, 9, 0])[shuffled(0.4)]
    one, other = (selection([rows()], [label]).value for label in (shuffled(0.4), renamed))
    np.testing.assert_allclose(one, other)


def test_smallest_share() -> None:
    assert smallest_share(TRUTH, 4) == pytest.approx(20 / 37.5)
    assert smallest_share(TRUTH, 5) == 0
    assert smallest_share(np.arange(6) % 3, 3) == 1


def test_about_the_least_is_within_one_standard_error_of_it() -> None:
    error = np.array([0.1, 0.129, 0.131, 0.5])  # the deviation of a share 0.1 of 100 rows is 0.03
    assert about_least(error, 100).tolist() == [True, True, False, False]
    assert about_least(error, 10_000).tolist() == [True, False, False, False]
    assert about_least(np.array([0.009, 0.0, 0.011]), 100).tolist() == [True, True, False]


def test_labellings_that_fill_few_clusters_are_collapsed() -> None:
    assert collapsed([196, 8, 177, 176], 196).tolist() == [False, True, False, True]
    assert collapsed([180, 176, 162], 196).tolist() == [False, True, True]
    assert collapsed([4, 4, 3], 8).tolist() == [False, False, True]  # if there are 4 distinct rows


def test_what_is_known_of_a_labelling_tells_how_many_clusters_it_fills() -> None:
    assert selection([rows()], [TRUTH, TRUTH // 2]).filled.tolist() == [4, 2]

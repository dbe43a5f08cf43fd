"""Hits against counts by hand, and chance against dealing captions out many times."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterpipe.stages.numerics.name_metrics import (
    Score,
    companions,
    found_by_name,
    hits,
    plain_name,
    right_words,
    similarity,
)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Aerosol_cans (old)", "aerosol can"),
        ("aerosol can", "aerosol can"),
        ("T-Shirt", "t shirt"),
        ("grand_piano", "grand piano"),
        ("brass", "brass"),
        ("gas", "gas"),
        ("bus", "bus"),
        ("(whole)", "(whole)"),
        ("", ""),
    ],
)
def test_names_are_compared_without_their_dress(name: str, plain: str) -> None:
    assert plain_name(name) == plain


@given(st.text())
def test_a_plain_name_stays_plain(name: str) -> None:
    once = plain_name(name)
    if once.count("(") == 0 and not once.endswith("s"):
        assert plain_name(once) == once


def test_companions_share_a_synset() -> None:
    found = companions([["car", "Autos", "machine"], ["machine", "engine"], ["bus"]])
    assert found["auto"] == {"car", "auto", "machine"}
    assert found["machine"] == {"car", "auto", "machine", "engine"}
    assert found["bus"] == {"bus"}


def test_right_words_are_those_that_bear_the_class_s_name() -> None:
    words = [{"car", "auto"}, {"bus"}, {"auto", "lorry"}]
    found = [right.tolist() for right in right_words(["auto", "bus", "train"], words)]
    assert found == [[0, 2], [1], []]


RIGHT = (np.array([3, 4]), np.array([], np.int64), np.array([7]))


def test_hits_are_counted_over_clusters_whose_class_has_a_word() -> None:
    phrase = np.array([[4, 0], [7, 3], [9, 9], [-1, 7], [1, 1]])
    truth = np.array([0, 0, 1, 2, -1])
    assert hits(phrase, truth, RIGHT, 1).value == pytest.approx(1 / 3)
    assert hits(phrase, truth, RIGHT, 2).value == pytest.approx(1)


def test_chance_is_the_mean_over_all_ways_to_deal() -> None:
    rng = np.random.default_rng(0)
    phrase, truth = rng.integers(0, 9, (5, 3)), np.array([0, 2, 0, 2, 2])
    features = rng.normal(size=(9, 4))
    ways = list(permutations(range(5)))
    dealt = [hits(phrase[list(way)], truth, RIGHT, 2).value for way in ways]
    assert hits(phrase, truth, RIGHT, 2).chance == pytest.approx(np.mean(dealt))
    alike = [similarity(phrase[list(way), 0], truth, RIGHT, features).value for way in ways]
    found = similarity(phrase[:, 0], truth, RIGHT, features)
    assert found.chance == pytest.approx(np.mean(alike))


def test_similarity_is_that_to_the_nearest_right_word() -> None:
    angle = np.radians([0, 30, 90])
    features = np.zeros((6, 2))
    features[3:] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = similarity(np.array([5, 5, -1]), np.array([0, 1, 0]), RIGHT, features)
    assert found == Score(pytest.approx(0.5), pytest.approx(0.5))


def test_clusters_are_found_by_name_when_they_come_first() -> None:
    assert found_by_name(np.array([1, 2, 0, 1])) == Score(0.5, 0.25)


def test_nothing_to_count_is_not_a_number() -> None:
    none: NDArray[np.int64] = np.full(2, -1)
    for score in (
        hits(none[:, None], none, RIGHT, 1),
        similarity(none, none, RIGHT, np.zeros((8, 2))),
        found_by_name(none[:0]),
    ):
        assert np.isnan(score.value)
        assert np.isnan(score.chance)

"""Captions measured: coverage, synonyms, and what is said about it."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from clusterpipe.cache.schema import Assignment, Assignments, Captions, Naming
from clusterpipe.stages.evaluate import EvaluateConfig, evaluate
from clusterpipe.stages.name_evaluation import METRICS, caption_scores

WORDS = ("cat", "motorcar", "dune", "sea lions", "harp")
CLASSES = np.array(["Cats", "car", "sea_lion", "yurt"], dtype=object)
CONFUSION = np.array([[9, 0, 0, 0], [1, 8, 0, 0], [0, 0, 7, 2], [0, 0, 1, 9]])


def captions(
    phrase: Sequence[Sequence[int]],
    *,
    synonyms: tuple[str, ...] = (),
    feature: np.ndarray | None = None,
    leaks: bool = False,
) -> Captions:
    word = np.array(phrase)
    text = np.append(np.array(WORDS, dtype=object), "unsure")[word]
    k = len(word)
    naming = Naming(
        text=text,
        phrase=word,
        score=np.zeros(word.shape),
        margin=np.zeros(k),
        fit=np.zeros(word.shape),
        rank=np.arange(k),
        vocabulary="words.txt",
    )
    return Captions(
        chosen="vote",
        methods={"vote": naming},
        word=np.array(WORDS, dtype=object),
        synonyms=np.array([json.dumps(synonyms)] * 5, dtype=object),
        definition=np.array([""] * 5, dtype=object),
        feature=feature,
        leaks=leaks,
    )


def measured(found: dict[str, np.ndarray]) -> dict[str, float]:
    return dict(zip(found["caption_metric"], found["caption_value"][0], strict=True))


def test_hits_by_name_and_by_wordnet_s_synonyms() -> None:
    """Cat is right, a motorcar is a car, the sea lion is only second; no word names the yurt."""
    given = captions([[0, 2], [1, 2], [2, 3], [4, 2]])
    found = caption_scores(given, CONFUSION, CLASSES)
    values = measured(found)
    assert values["hit@1"] == pytest.approx(1 / 2)
    assert values["hit@5"] == pytest.approx(1)
    assert values["synonym hit@1"] == pytest.approx(2 / 3)
    assert values["synonym hit@5"] == pytest.approx(1)
    assert "2 of 4 classes, 3 with synonyms" in found["caption_protocol"]
    assert "words.txt" in found["caption_protocol"]
    assert np.isnan(values["text similarity"])
    assert values["found by name"] == pytest.approx(1 / 4)
    assert values["unsure"] == 0


def test_unsure_is_a_miss_and_is_counted() -> None:
    values = measured(
        caption_scores(captions([[-1, 0], [1, 2], [3, 2], [-1, 4]]), CONFUSION, CLASSES)
    )
    assert values["hit@1"] == pytest.approx(1 / 2)
    assert values["hit@5"] == pytest.approx(1)
    assert values["unsure"] == pytest.approx(1 / 2)


def test_synonyms_of_the_vocabulary_count_instead() -> None:
    """WordNet's other senses are not needed, and a car is then no motorcar."""
    values = measured(caption_scores(captions([[4], [4], [4], [4]]), CONFUSION, CLASSES))
    assert values["synonym hit@1"] == 0
    own = captions([[4], [4], [4], [4]], synonyms=("Yurts",))
    assert measured(caption_scores(own, CONFUSION, CLASSES))["synonym hit@1"] == pytest.approx(
        1 / 3
    )


def test_words_with_features_are_compared_in_their_space() -> None:
    feature = np.eye(5, dtype=np.float16) * 2
    values = measured(
        caption_scores(captions([[0], [1], [2], [4]], feature=feature), CONFUSION, CLASSES)
    )
    assert values["text similarity"] == pytest.approx(2 / 3)


def test_without_class_names_only_what_needs_none_is_measured() -> None:
    found = caption_scores(captions([[0], [1], [-1]]), None, None)
    values = measured(found)
    assert {name for name, v in values.items() if not np.isnan(v)} == {"found by name", "unsure"}
    assert "classes" not in found["caption_protocol"]


def test_a_vocabulary_that_leaks_is_said_to() -> None:
    found = caption_scores(captions([[0], [1], [2], [4]], leaks=True), CONFUSION, CLASSES)
    assert "flattered" in found["caption_protocol"]


def test_evaluate_measures_captions_of_the_chosen_clusters() -> None:
    truth = np.repeat(np.arange(3), 20)
    assignment = Assignment(
        label=truth,
        probability=np.ones(60),
        top_label=truth[:, None],
        top_probability=np.ones((60, 1)),
        centroid=np.eye(4, 8)[:4],
        center=np.zeros(8),
        width=np.array([8]),
        cluster=np.arange(4),
        exemplar=np.zeros((4, 1), int),
        outlier_score=np.ones(60),
        label_per_seed=truth[None],
        objective_per_seed=np.zeros(1),
        chosen_seed=0,
    )
    given = Assignments(chosen="a", methods={"a": assignment})
    rows = np.eye(3, 8)[truth] + 0.1 * np.random.default_rng(0).normal(size=(60, 8))
    config = EvaluateConfig(permutations=1)
    plain = evaluate(given, rows, config, label=truth, class_name=CLASSES)
    assert plain.caption_value is None
    found = evaluate(
        given,
        rows,
        config,
        captions=captions([[0], [1], [4]]),
        label=truth,
        class_name=CLASSES,
    )
    assert tuple(found.caption_metric) == METRICS
    assert found.caption_value[0, 0] == pytest.approx(1 / 2)
    np.testing.assert_array_equal(found.chosen_value, plain.chosen_value)

"""Finishing: a student for every fit of any method, on record, with the same clusters."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import silent
from clusterpipe.cache.schema import Assignment
from clusterpipe.stages.assign import AssignConfig, Features, assign
from clusterpipe.stages.declaration import STAGES
from clusterpipe.stages.heads import FINISHING, Training, load
from clusterpipe.stages.heads.consensus import ConsensusClusters
from clusterpipe.stages.heads.self_label import SelfLabel, StudentClusters

SIZES = [90, 60, 50, 40]
TRUTH = np.repeat(np.arange(4), SIZES)
PLAIN = AssignConfig(methods=("spherical-kmeans",), seeds=1, restarts=10)
FINISHED = replace(PLAIN, finish="self-label")


def rows(noise: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray(3 * np.eye(4, 12)[TRUTH] + noise * rng.normal(size=(240, 12)), np.float32)


def labelled(config: AssignConfig, name: str, data: np.ndarray | None = None) -> Assignment:
    data = rows() if data is None else data
    return assign(data, 4, replace(config, methods=(name,))).methods[name]


@pytest.mark.parametrize("name", ["kmeans", "spectral"])
def test_the_student_has_the_clusters_of_what_it_finishes_whatever_their_sizes(name: str) -> None:
    before, after = labelled(PLAIN, name), labelled(FINISHED, name)
    assert (before.head, before.finishes) == (name, "")
    assert (after.head, after.finishes) == ("self-label", name)
    assert adjusted_rand_score(TRUTH, after.label) == 1
    np.testing.assert_array_equal(after.label, before.label)
    np.testing.assert_array_equal(after.cluster, before.cluster)
    assert isinstance(load(after).model, StudentClusters)


def test_every_seed_is_finished_and_the_choice_stays() -> None:
    two = (replace(config, seeds=2) for config in (PLAIN, FINISHED))
    before, after = (labelled(config, "spherical-kmeans", rows(2.0)) for config in two)
    np.testing.assert_array_equal(after.objective_per_seed, before.objective_per_seed)
    assert after.objective == before.objective == "inertia"
    assert after.label_per_seed.shape == before.label_per_seed.shape == (2, 240)
    best = after.label_per_seed[after.chosen_seed]
    np.testing.assert_array_equal(after.label, best)
    assert 0.5 < adjusted_rand_score(before.label, after.label) < 1
    shared = (before.label == after.label).mean()
    assert shared > 0.8  # numbered alike, not only grouped alike


def test_members_of_a_consensus_are_not_students_but_the_consensus_is_one() -> None:
    methods = ("consensus", "spherical-kmeans")
    found = assign(rows(), 4, replace(FINISHED, methods=methods)).methods
    assert {one.finishes for one in found.values()} == set(methods)
    plain = assign(rows(), 4, replace(PLAIN, methods=methods)).methods["consensus"]
    members = load(plain).model
    assert isinstance(members, ConsensusClusters)
    assert adjusted_rand_score(TRUTH, found["consensus"].label) == 1


def test_clusters_without_images_are_left_out() -> None:
    few = np.repeat(rows()[::60], 30, axis=0)
    found = assign(few, 8, FINISHED).methods["spherical-kmeans"]
    assert found.effective_k == len(found.centroid) <= 4
    soft = load(found).soft(few)
    np.testing.assert_array_equal(soft.argmax(axis=1), found.label)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("change", [SelfLabel(distortion="neighbours"), SelfLabel(rounds=2)])
def test_neighbours_and_more_rounds_find_the_same_plain_clusters(change: SelfLabel) -> None:
    found = labelled(replace(FINISHED, heads=(change,)), "spherical-kmeans")
    assert adjusted_rand_score(TRUTH, found.label) == 1


def test_views_are_what_the_student_sees() -> None:
    config = replace(FINISHED, features="embeddings", heads=(SelfLabel(distortion="views"),))
    assert "views" in STAGES["assign"].reads(config)
    turned = rows()[:, ::-1]
    seen = Features(rows(), views=np.stack([turned, turned], axis=1))
    found = assign(seen, 4, config)
    taught = load(found.methods["spherical-kmeans"]).soft(turned).argmax(axis=1)
    assert adjusted_rand_score(TRUTH, taught) == 1
    with pytest.raises(UsageError, match=r"needs at least 2 augmented views.*embed.views=4"):
        assign(rows(), 4, config)
    with pytest.raises(UsageError, match=r"self_label\.distortion = 'views' learns from"):
        STAGES["assign"].reads(replace(config, features="refined"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0.0}, r"assign.self_label.share must be above 0"),
        ({"share": 1.1}, "at most 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"distortion": "fog"}, "one of noise, neighbours, views, not 'fog'"),
    ],
)
def test_refuses_what_it_cannot_use(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        labelled(replace(FINISHED, heads=(SelfLabel(**change),)), "spherical-kmeans")
    with pytest.raises(UsageError, match="did you mean self-label"):
        labelled(replace(FINISHED, finish="self-lable"), "spherical-kmeans")


def test_alone_it_has_nothing_to_learn() -> None:
    with pytest.raises(UsageError, match="finishes the labels of a head"):
        SelfLabel().fit(Training.of(rows()), 4, [0], silent)
    assert set(FINISHING) == {"self-label"}

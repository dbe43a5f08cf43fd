"""Consensus: who votes, what they agree on, in which features, what is stored."""

from itertools import combinations
from pathlib import Path

import numpy as np
from records import provenance
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache import artifact
from clusterpipe.cache.progress import silent
from clusterpipe.cache.rows import ConcatenatedRows
from clusterpipe.cache.schema import Assignment, Assignments
from clusterpipe.stages.assign import AssignConfig, Features, assign
from clusterpipe.stages.heads import Common, Head, Member, Training, load
from clusterpipe.stages.heads.consensus import Consensus, ConsensusClusters
from clusterpipe.stages.heads.kmeans import SphericalKMeans
from clusterpipe.stages.numerics.metrics import shared_labels

K = 4
TRUTH = np.arange(240) % K
SPACES = ("spherical-kmeans", "spherical-kmeans:embeddings", "spherical-kmeans:both")


def rows(noise: float = 1.2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(3 * np.eye(K, 12)[TRUTH] + noise * rng.normal(size=(240, 12)), np.float32)


def found_by(*members: str, seeds: int = 3) -> Assignments:
    config = AssignConfig(methods=("consensus", *members), seeds=seeds, restarts=1)
    return assign(rows(), K, config, embedded=Features(rows(seed=1)[:, :7], "embeddings/clip"))


def agreed(*members: str, seeds: int = 3) -> Assignment:
    return found_by(*members, seeds=seeds).methods["consensus"]


def model(found: Assignment) -> ConsensusClusters:
    return load(found).model  # type: ignore[no-any-return]


def labelled(member: Member) -> np.ndarray:
    """The labels (n,) that a member gives."""
    return np.asarray(member.head.soft(member.read(everything())).argmax(axis=1))


def everything() -> np.ndarray:
    """The features that a consensus sees where there are two."""
    return ConcatenatedRows([rows(seed=1)[:, :7], rows()])[:]


def test_all_fits_are_heard_the_best_first() -> None:
    found = found_by("spherical-kmeans", "spectral")
    score = dict(zip(found.selection_method, found.selection_score_per_seed, strict=True))
    fits = [(name, seed) for name in ("spherical-kmeans", "spectral") for seed in range(3)]
    best = sorted(fits, key=lambda fit: -score[fit[0]][fit[1]])
    agreed = found.methods["consensus"]
    assert [(member.method, member.seed) for member in model(agreed).members] == best
    assert agreed.chosen_seed == 0
    assert model(agreed).weight.all()


def test_each_seed_but_the_first_leaves_out_its_own_fits() -> None:
    common = Common(restarts=1)
    fits = [SphericalKMeans().fit(Training.of(rows(), common), K, [s], silent) for s in range(3)]
    members = tuple(
        Member("spherical-kmeans", seed, Head(fit.model, np.zeros(12), False, (12,), np.arange(K)))
        for seed, fit in enumerate(fits)
    )
    training = Training(rows(), (12,), members=members)
    agreed = Consensus().fit(training, K, [7, 8, 9], silent)
    heard = [model.weight.astype(bool).astype(int).tolist() for model in agreed.models]
    assert heard == [[1, 1, 1], [1, 0, 1], [1, 1, 0]]
    np.testing.assert_allclose(agreed.objective, [0, 1 / 3, 1 / 3])


def test_the_more_members_agree_the_surer_it_is() -> None:
    found = agreed("spherical-kmeans", "spectral", "coding-length")
    voters = zip(model(found).match, model(found).members, strict=True)
    labels = np.array([match[labelled(member)] for match, member in voters])
    shared = (labels == found.label).mean(axis=0)
    levels = np.unique(shared.round(3))
    assert len(levels) > 2
    means = [found.probability[shared.round(3) == level].mean() for level in levels]
    assert (np.diff(means) > 0).all()


def test_where_votes_are_equal_the_better_fits_decide() -> None:
    found = agreed("spherical-kmeans", "spherical-kmeans:embeddings", seeds=1)
    voters = zip(model(found).match, model(found).members, strict=True)
    better, worse = (match[labelled(member)] for match, member in voters)
    assert (better != worse).any()
    np.testing.assert_array_equal(found.label, better)


def test_it_agrees_with_members_more_than_they_with_one_another() -> None:
    found = agreed("spherical-kmeans", "coding-length", "spectral:both")
    labels = [labelled(member) for member in model(found).members]
    among = np.mean([adjusted_rand_score(a, b) for a, b in combinations(labels, 2)])
    assert among < np.mean([adjusted_rand_score(found.label, one) for one in labels]) < 1


def test_members_read_the_features_that_they_were_fitted_on() -> None:
    found = found_by(*SPACES)
    spaces = {name: method.space for name, method in found.methods.items()}
    assert spaces["spherical-kmeans"] == "refined"
    assert spaces["spherical-kmeans:embeddings"] == "embeddings/clip"
    assert spaces["spherical-kmeans:both"] == spaces["consensus"] == "embeddings and refined"
    assert found.methods["spherical-kmeans:both"].width.tolist() == [7, 12]
    part = {
        "spherical-kmeans": rows(),
        "spherical-kmeans:embeddings": rows(seed=1)[:, :7],
        "spherical-kmeans:both": everything(),
    }
    members = model(found.methods["consensus"]).members
    assert len({member.method for member in members}) > 1
    for member in members:
        np.testing.assert_array_equal(member.read(everything()).shape, part[member.method].shape)
        alone = found.methods[member.method].label_per_seed[member.seed]
        assert shared_labels(alone, labelled(member)) == 1


def test_what_members_share_is_stored_once_and_all_comes_back(tmp_path: Path) -> None:
    found = agreed("spectral", "spectral:embeddings", seeds=4)
    members = model(found).members
    kinds = {member.method for member in members}
    assert sum(name.endswith("=landmark") for name in found.parameters) == len(kinds)
    record = Assignments(chosen="it", methods={"it": found})
    artifact.write(tmp_path / "it.h5", record, provenance(schema=Assignments.schema))
    stored = artifact.read(tmp_path / "it.h5", Assignments).methods["it"]
    again = model(stored).members
    for one, other in zip(members, again, strict=True):
        assert (one.method, one.seed, one.start) == (other.method, other.seed, other.start)
    np.testing.assert_array_equal(load(stored).soft(everything()), load(found).soft(everything()))


def test_alone_it_asks_the_candidates() -> None:
    alone = Consensus(candidates=("kmeans", "spherical-kmeans:both"))
    config = AssignConfig(methods=(alone,), seeds=2)
    found = assign(rows(), K, config)
    assert list(found.methods) == ["consensus"]
    assert {m.method for m in model(found.methods["consensus"]).members} == {"kmeans"}
    assert adjusted_rand_score(TRUTH, found.methods["consensus"].label) > 0.7

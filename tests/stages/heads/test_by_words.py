"""Heads that read words: what they find, what they store, and what they refuse."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from records import provenance
from scipy.special import softmax

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import Assignment, Assignments
from clusterpipe.stages.assign import AssignConfig, Features, WordedFeatures, assign
from clusterpipe.stages.backbones import open_backbone, parse
from clusterpipe.stages.heads import BY_WORDS, load
from clusterpipe.stages.heads.text_aided import TextAided
from clusterpipe.stages.heads.zero_shot import ZeroShot
from clusterpipe.stages.numerics.metrics import agreement
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.words.vocabulary import imagenet

K, D, N = 4, 24, 160
TRUTH = np.arange(N) % K
NAMES = ["ant", "bear", "cello", "dune"]
GIVEN = {"zero-shot": ZeroShot("names.npz"), "tac": TextAided("words.npz")}
QUICK = AssignConfig(seeds=2, restarts=2, heads=GIVEN.values())
EACH = pytest.mark.parametrize("name", BY_WORDS)


def meanings() -> np.ndarray:
    return np.asarray(np.eye(K, D) + 0.3, np.float32)


def images(noise: float = 0.15, seed: int = 0) -> np.ndarray:
    """Rows near what they show, of lengths that mean nothing."""
    rng = np.random.default_rng(seed)
    rows = meanings()[TRUTH] + noise * rng.normal(size=(N, D))
    return np.asarray(rows * rng.uniform(1, 9, size=(N, 1)), np.float32)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """names.npz names what the images show; words.npz holds that and much else."""
    others = 0.3 + 0.3 * np.random.default_rng(1).normal(size=(40, D))
    words = [*NAMES, *(f"word {i}" for i in range(40))]
    np.savez(tmp_path / "names.npz", features=meanings(), names=NAMES)
    np.savez(tmp_path / "words.npz", features=np.vstack([meanings(), others]), names=words)
    monkeypatch.chdir(tmp_path)


@cache
def trained(name: str) -> Assignment:
    return assign(images(), K, replace(QUICK, methods=(name,))).methods[name]


@EACH
def test_finds_what_the_words_tell_apart_and_labels_new_images_alike(name: str) -> None:
    found = trained(name)
    assert agreement(TRUTH, found.label).accuracy == 1
    head, new = load(found), images(seed=3)
    label = head.soft(new).argmax(axis=1)
    assert agreement(np.tile(TRUTH, 2), np.append(found.label, label)).accuracy == 1
    soft = head.soft(images())
    np.testing.assert_array_equal(found.label, soft.argmax(axis=1))
    np.testing.assert_array_equal(found.probability, soft.max(axis=1))
    np.testing.assert_array_equal(soft[7].argmax(), head.soft(images()[7:8]).argmax())


@EACH
def test_what_comes_back_from_disk_assigns_the_same(name: str, tmp_path: Path) -> None:
    record = Assignments(chosen=name, methods={name: trained(name)})
    artifact.write(tmp_path / "it.h5", record, provenance(schema=Assignments.schema))
    stored = artifact.read(tmp_path / "it.h5", Assignments).methods[name]
    (tmp_path / "words.npz").unlink()
    rows = images(seed=3)
    np.testing.assert_array_equal(load(stored).soft(rows), load(trained(name)).soft(rows))
    assert (stored.name is None) == (name != "zero-shot")


def test_words_turn_clusters_from_what_they_do_not_speak_of() -> None:
    """Brightness, say, in which the images differ more than in what they show."""
    rows = unit_rows(images())
    rows[:, -1] += np.where(np.arange(N) // K % 2, 0.9, -0.9)
    config = replace(QUICK, methods=("spherical-kmeans", TextAided("names.npz")))
    plain, aided = assign(rows, K, config).methods.values()
    assert agreement(TRUTH, plain.label).accuracy < 0.7
    assert agreement(TRUTH, aided.label).accuracy == 1


# ---- zero-shot ----------------------------------------------------------------------------


def test_zero_shot_is_the_softmax_of_cosines_whatever_k_is() -> None:
    rows = images(noise=0.5)
    config = replace(QUICK, methods=("zero-shot",))
    found = assign(rows, config=config).methods["zero-shot"]
    cosine = unit_rows(rows) @ unit_rows(meanings()).T
    np.testing.assert_array_equal(found.label, cosine.argmax(axis=1))
    expected = softmax(cosine / 0.01, axis=1).max(axis=1)
    np.testing.assert_allclose(found.probability, expected, rtol=1e-3)
    assert found.name is not None
    assert found.name.tolist() == NAMES
    assert found.fitted_on == "no image: each goes to the likeliest of the 4 words of names.npz"
    beside = assign(rows, 7, replace(QUICK, methods=("spherical-kmeans", "zero-shot")))
    np.testing.assert_array_equal(beside.methods["zero-shot"].label, found.label)
    assert len(beside.methods["spherical-kmeans"].centroid) == 7


def test_a_name_without_images_is_left_out() -> None:
    found = assign(images()[TRUTH != 1], config=replace(QUICK, methods=("zero-shot",)))
    clusters = found.methods["zero-shot"]
    assert clusters.name is not None
    assert clusters.name.tolist() == ["ant", "cello", "dune"]
    np.testing.assert_array_equal(clusters.cluster, [0, 2, 3])
    assert clusters.effective_k == 3


def test_a_student_of_the_names_keeps_each_name_with_its_images() -> None:
    found = assign(images(), K, replace(QUICK, methods=("zero-shot",), finish="self-label"))
    taught = found.methods["zero-shot"]
    assert (taught.head, taught.finishes) == ("self-label", "zero-shot")
    assert taught.name is not None
    assert [taught.name[label] for label in taught.label] == [NAMES[i] for i in TRUTH]


def test_class_names_of_the_source_are_said_to_leak() -> None:
    config = replace(QUICK, methods=(TextAided("classes"),))
    rows = np.random.default_rng(0).normal(size=(N, 1280)).astype(np.float32)
    worded = WordedFeatures(
        Features(rows, "embeddings/packaged"),
        "packaged:efficientnet-lite0",
        words="closed",
        classes=np.array(["tabby", "espresso", "zzz"], dtype=object),
    )
    found = assign(None, K, config, worded=worded).methods["tac"]
    assert found.space == "embeddings/packaged"
    assert found.fitted_on == (
        "the 160 images and the 2 of the 3 words of classes that packaged:efficientnet-lite0 "
        "knows, the class names of the source, which leak the answer"
    )


def test_a_closed_vocabulary_is_scored_as_its_classifier_does(tmp_path: Path) -> None:
    backbone = "packaged:efficientnet-lite0"
    (tmp_path / "names.txt").write_text("tabby\nespresso\nno such word\nmoped\n")
    rows = np.abs(np.random.default_rng(0).normal(size=(50, 1280))).astype(np.float32)
    config = replace(QUICK, methods=(ZeroShot("names.txt"),))
    worded = WordedFeatures(backbone=backbone, words="closed")
    found = assign(rows, config=config, worded=worded).methods["zero-shot"]
    place = [imagenet("imagenet-1k").word.index(name) for name in ("tabby", "espresso", "moped")]
    opened = open_backbone(parse(backbone), device="cpu")
    expected = opened.word_probabilities(rows)[:, place]
    expected = expected[:, found.cluster] / expected[:, found.cluster].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(load(found).soft(rows), expected, rtol=1e-2, atol=1e-5)
    assert "the 3 of the 4 words of names.txt that packaged" in found.fitted_on


# ---- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": (ZeroShot(""),)}, "give a list in assign.zero_shot.class_names"),
        ({"methods": (ZeroShot("imagenet-1k"),)}, "zero_shot.class_names: no words can be scored"),
        ({"methods": (ZeroShot("narrow.npz"),)}, "24 wide, those of .* 5: .* assign.word_space"),
        ({"prompt": ("no place",)}, "assign.prompt 'no place' needs one {}"),
        ({"methods": (TextAided(""),)}, "assign.tac.vocabulary: no words can be scored"),
        ({"methods": (TextAided("words.nzp"),)}, "assign.tac.vocabulary: no words"),
    ],
)
def test_refuses_what_has_no_words(settings: dict[str, object], message: str) -> None:
    np.savez("narrow.npz", features=np.eye(2, 5), names=["a", "b"])
    config = replace(QUICK, **{"methods": ("zero-shot",), **settings})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        assign(images(), K, config)

"""Names for clusters from text features alone, through the real program."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from program import Command

WORDS = ["ant", "bear", "cello", *(f"word {i}" for i in range(197))]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Two spaces of 150 images in three groups; text features of one model beside them."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(200, 24))
    label = np.repeat(np.arange(3), 50)
    images = text[label] + 0.4 * rng.normal(size=(150, 24))
    np.savez(
        tmp_path / "features.npz",
        features_dino=np.eye(3, 10)[label] + 0.1 * rng.normal(size=(150, 10)),
        features_clip=images,
        labels=label,
        class_names=["Ants", "cello", "yurt"],
    )
    np.savez(tmp_path / "words.npz", features=text, names=WORDS)
    return tmp_path


SETTINGS = ("--set", "assign.k=3", "--set", "caption.vocabulary=words.npz")


def test_text_features_name_and_measure(given: Path, clusterpipe: Command) -> None:
    done = clusterpipe(
        "run-all", "features.npz", *SETTINGS, "--set", "caption.space=clip", "--json"
    )
    assert done.code == 0, done.err
    found = done.json()
    captions = {cluster["true_class"]: cluster["caption"] for cluster in found["clusters"]}
    assert captions == {"Ants": "ant", "cello": "bear", "yurt": "cello"}
    assert "distinctive, of the clusters of annealed" in found["captioned"]
    assert "by the features of clip and the 200 words of" in found["captioned"]
    values = {(row["method"], row["metric"]): row["value"] for row in found["captions"]}
    assert values["distinctive", "hit@1"] == pytest.approx(1 / 2)
    assert values["distinctive", "found by name"] == 1
    assert "names 2 of 3 classes" in found["caption_protocol"]
    again = clusterpipe("run-all", "features.npz")
    assert [again.action(stage) for stage in ("caption", "evaluate")] == ["fresh", "fresh"]
    np.savez(given / "words.npz", features=np.eye(24), names=WORDS[:24])
    assert clusterpipe("run-all", "features.npz").action("caption") == "ran"


def test_words_of_another_width_name_the_setting(given: Path, clusterpipe: Command) -> None:
    done = clusterpipe("run-all", "features.npz", *SETTINGS)
    assert done.code == 2
    assert "caption.space" in done.err


def test_features_without_words_skip_captions_and_say_what_would_help(
    given: Path, clusterpipe: Command
) -> None:
    done = clusterpipe("run-all", "features.npz", "--set", "assign.k=3", "--json")
    assert done.code == 0, done.err
    skipped = [e for e in done.json()["stages"] if e["action"] == "skipped"]
    reasons = {event["stage"]: event["reasons"][0] for event in skipped}
    assert "caption.vocabulary" in reasons["caption"]
    assert done.json()["captions"] == []
    with h5py.File(given / "runs/features/metrics.h5") as file:
        assert "captions" not in file


def test_names_and_words_cluster_beside_refined_features_of_another_space(
    given: Path, clusterpipe: Command
) -> None:
    text = np.load(given / "words.npz")["features"]
    np.savez(given / "names.npz", features=text[[2, 0, 1]], names=["cello", "ant", "bear"])
    done = clusterpipe(
        "run-all",
        "features.npz",
        *SETTINGS,
        *("--set", "refine.space=dino", "--set", "caption.space=clip"),
        *("--set", 'assign.methods=["zero-shot", "tac", "annealed"]'),
        *(
            "--set",
            "assign.zero_shot.class_names=names.npz",
            "--set",
            "assign.tac.vocabulary=words.npz",
        ),
        *("--set", "assign.word_space=clip", "--json"),
    )
    assert done.code == 0, done.err
    found = done.json()
    assert "fitted on no image: each goes to the likeliest of the 3 words" in found["protocol"]
    captions = {cluster["true_class"]: cluster["caption"] for cluster in found["clusters"]}
    assert captions == {"Ants": "ant", "cello": "bear", "yurt": "cello"}
    assert "names that zero-shot was given" in found["captioned"]
    assert (found["k"], found["k_estimated"]) == (3, None)
    accuracy = {r["method"]: r["chosen"] for r in found["metrics"] if r["metric"] == "accuracy"}
    assert accuracy == {"zero-shot": 1, "tac": 1, "annealed": 1}
    with h5py.File(given / "runs/features/assignments.h5") as file:
        spaces = {name: file[name].attrs["space"] for name in accuracy}
        assert file["zero-shot/name"].asstr()[:].tolist() == ["cello", "ant", "bear"]
        label = file["zero-shot/label"][:]
    assert spaces == {
        "zero-shot": "embeddings/clip",
        "tac": "embeddings/clip",
        "annealed": "refined",
    }
    np.savez(
        given / "new.npz", features_clip=np.load(given / "features.npz")["features_clip"][::10]
    )
    told = clusterpipe("predict", "new.npz", "--json")
    assert told.code == 0, told.err
    assert told.json()["cluster"] == label[::10].tolist()
    np.savez(given / "names.npz", features=text[:2], names=["ant", "bear"])
    assert "names.npz changed" in clusterpipe("status").out

"""`clusterpipe search`: by file, id and row, in both spaces, as brute force does; its errors."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from faults import edited
from PIL import Image
from program import Command

from clusterpipe.cache.schema import Embeddings, Refined
from clusterpipe.stages.backbones import open_backbone, parse


def stored(home: Path, kind: type = Embeddings, place: str = "packaged/features") -> np.ndarray:
    """The rows of a run at unit length."""
    with h5py.File(home / f"runs/photos/{kind.name}.h5") as file:  # type: ignore[attr-defined]
        rows = file[place][:].astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def ids(home: Path) -> list[str]:
    with h5py.File(home / "runs/photos/embeddings.h5") as file:
        return list(file["id"].asstr())


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A picture of the run in other bytes, so that only its looks can tell what it is."""
    with Image.open(finished / "photos/kind1/004.png") as image:
        image.save(tmp_path / "copy.bmp")
    return tmp_path / "copy.bmp"


def test_an_image_of_the_run_finds_what_brute_force_finds(
    finished: Path, clusterpipe: Command
) -> None:
    names, rows = ids(finished), stored(finished)
    done = clusterpipe(
        "search", "--image", "kind1/004.png", "--no-sheet", "--json", "--quiet", cwd=finished
    )
    document = done.json()
    assert (done.code, done.err, document["schema_version"]) == (0, "", 1)
    (answer,) = document["queries"]
    cosine = rows @ rows[names.index("kind1/004.png")]
    expected = np.argsort(-cosine, kind="stable")[:20]
    assert [hit["rank"] for hit in answer["hits"]] == list(range(1, 21))
    assert [hit["row"] for hit in answer["hits"]] == expected.tolist()
    np.testing.assert_allclose([h["score"] for h in answer["hits"]], cosine[expected], atol=1e-5)
    first = answer["hits"][0]
    assert (first["is_query"], first["id"]) == (True, "kind1/004.png")
    assert first["path"] == "kind1/004.png"
    assert first["caption"]
    assert answer["sheet"] is None


def test_file_id_and_row_are_one_query(finished: Path, clusterpipe: Command) -> None:
    row = str(ids(finished).index("kind1/004.png"))
    asked = ("photos/kind1/004.png", "kind1/004.png", row)
    images = [word for query in asked for word in ("--image", query)]
    done = clusterpipe("search", *images, "--top", "3", "--no-sheet", "--json", cwd=finished)
    answers = done.json()["queries"]
    assert [answer["query"] for answer in answers] == list(asked)
    assert [answer["hits"] for answer in answers] == [answers[0]["hits"]] * 3
    assert {answer["row"] for answer in answers} == {int(row)}


@pytest.mark.parametrize(
    ("features", "kind", "place"),
    [("embeddings", Embeddings, "packaged/features"), ("refined", Refined, "features")],
)
def test_a_file_goes_through_the_backbone_and_the_map(
    features: str, kind: type, place: str, home: Path, copied: Path, clusterpipe: Command
) -> None:
    done = clusterpipe(
        "search", "--image", copied, "--features", features, "--top", "60", "--json", cwd=home
    )
    (answer,) = done.json()["queries"]
    names, rows = ids(home), stored(home, kind, place)
    cosine = rows @ rows[names.index("kind1/004.png")]
    assert answer["row"] is None
    assert answer["hits"][0]["id"] == "kind1/004.png"
    assert sorted(hit["row"] for hit in answer["hits"]) == list(range(60))
    for hit in answer["hits"]:
        assert hit["score"] == pytest.approx(cosine[hit["row"]], abs=0.01)
    with Image.open(home / answer["sheet"]) as sheet:
        assert sheet.height > 61 / 8 * 100


def test_what_a_person_sees(home: Path, clusterpipe: Command) -> None:
    done = clusterpipe(
        "search", "-i", "kind0/001.png", "--top", "4", "--sheet", "found.png", cwd=home
    )
    lines = done.out.splitlines()
    assert lines[1].split() == ["rank", "score", "image", "cluster", "caption"]
    assert lines[2].split()[:5] == ["1", "1.000", "kind0/001.png", "the", "query"]
    assert len(lines) == 7
    assert lines[-1].split() == ["contact", "sheet", "found.png"]
    others = clusterpipe(
        "search", "-i", "kind0/001.png", "--top", "4", "--exclude-self", "--no-sheet", cwd=home
    )
    assert len(others.out.splitlines()) == 6
    assert "kind0/001.png" not in others.out.splitlines()[2]
    assert "the query" not in others.out


def test_a_run_outlives_its_images_and_its_weights(
    home: Path, copied: Path, clusterpipe: Command
) -> None:
    with edited(home / "runs/photos/embeddings.h5") as file:
        file["packaged"].attrs["backbone"] = "open_clip:ViT-B-32@openai"
    (home / "photos").rename(home / "gone")
    known = clusterpipe("search", "--image", "gone/kind0/001.png", "--json", cwd=home)
    assert known.json()["queries"][0]["hits"][0]["id"] == "kind0/001.png"
    assert known.json()["queries"][0]["sheet"] is None
    new = clusterpipe("search", "--image", copied, cwd=home)
    assert new.code == 6
    assert "clusterpipe models fetch 'packaged=open_clip:ViT-B-32@openai'" in new.err


def test_a_backbone_that_is_another_one_now_is_refused(
    home: Path, copied: Path, clusterpipe: Command
) -> None:
    with edited(home / "runs/photos/embeddings.h5") as file:
        file["packaged"].attrs["weights"] = "those before"
    done = clusterpipe("search", "--image", copied, cwd=home)
    assert done.code == 2
    assert "other weights or preprocessing" in done.err


def test_refined_features_must_be_there_and_current(home: Path, clusterpipe: Command) -> None:
    (home / "photos/kind0/000.png").unlink()
    assert clusterpipe("embed", "--run-dir", "runs/photos", cwd=home).code == 0
    stale = clusterpipe("search", "-i", "0", "--features", "refined", cwd=home)
    (home / "runs/photos/refined.h5").unlink()
    missing = clusterpipe("search", "-i", "0", "--features", "refined", cwd=home)
    for done in (stale, missing):
        assert done.code == 4
        assert "run `clusterpipe refine --run-dir runs/photos`" in done.err
    unclustered = clusterpipe("search", "-i", "0", "--no-sheet", cwd=home)
    assert unclustered.code == 0
    assert unclustered.out.splitlines()[1].split() == ["rank", "score", "image"]


def test_given_features_are_searched_by_row_only(
    tmp_path: Path, copied: Path, clusterpipe: Command
) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", features=rows)
    assert clusterpipe("embed", "rows.npz").code == 0
    done = clusterpipe("search", "--image", "7", "--top", "5", "--json")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.argsort(-rows @ rows[7])[:5].tolist()
    assert [hit["row"] for hit in done.json()["queries"][0]["hits"]] == expected
    refused = clusterpipe("search", "--image", copied)
    assert refused.code == 2
    assert "were given" in refused.err


def test_a_text_is_one_of_the_words_of_the_packaged_backbone(
    home: Path, clusterpipe: Command
) -> None:
    done = clusterpipe("search", "--text", "Sea_Lions", "--top", "5", "--json", cwd=home)
    (answer,) = done.json()["queries"]
    backbone = open_backbone(parse("packaged:efficientnet-lite0"), device="cpu")
    direction = backbone.word_directions()[backbone.vocabulary().index("sea lion")]
    cosine = stored(home) @ direction / np.linalg.norm(direction)
    assert (answer["by"], answer["read_as"], answer["row"]) == ("text", "sea lion", None)
    assert [hit["row"] for hit in answer["hits"]] == np.argsort(-cosine)[:5].tolist()
    assert not any(hit["is_query"] for hit in answer["hits"])
    with Image.open(home / answer["sheet"]) as sheet:
        assert sheet.height < 2 * 120


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-t", "jellyfish", "-i", "0"], 2, "not both"),
        (["-t", "red bicycle"], 2, "bicycle-built-for-two"),
        (["-i", "kind0/001.pn"], 2, "did you mean kind0/001.png"),
        (["-i", "photos"], 2, "is a folder"),
        (["-i", "60"], 2, "(0 to 59)"),
        (["-i", "runs/photos/pipeline.toml"], 2, "is no image"),
        (["-i", "0", "--space", "clip"], 2, "has packaged"),
        (["-i", "0", "--features", "raw"], 2, "embeddings, refined"),
        (["-i", "0", "--features", "refined", "--space", "packaged"], 2, "one space only"),
        (["-i", "0", "--top", "0"], 2, "at least 1"),
        (["-i", "0", "-i", "1", "--sheet", "a.png"], 2, "one query"),
        (["-i", "0", "--sheet", "photos/kind0/000.png"], 2, "was not drawn by clusterpipe"),
        (["-i", "0", "--run-dir", "nowhere"], 4, "clusterpipe run-all"),
        ([], 2, "--image or --text"),
    ],
)
def test_errors_name_the_remedy(
    arguments: list[str], code: int, message: str, finished: Path, clusterpipe: Command
) -> None:
    done = clusterpipe("search", *arguments, cwd=finished)
    assert done.code == code, done.err
    assert message in done.err
    assert "Traceback" not in done.err

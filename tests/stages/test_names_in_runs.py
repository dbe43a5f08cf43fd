"""Captioning within a run: which space describes, and what is kept. In this process, where the
tiny open_clip model is known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_backbone
from program import paint

from clusterpipe.cache import artifact
from clusterpipe.cache.rows import normalise
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignments, Captions, Embeddings, Metrics, WordFeatures
from clusterpipe.pipeline import Config, run_all
from clusterpipe.pipeline.engine.config import override
from clusterpipe.pipeline.engine.execute import run_stage
from clusterpipe.pipeline.results.search import SearchOptions, search
from clusterpipe.stages.backbones import open_backbone, parse
from clusterpipe.stages.name_evaluation import METRICS
from clusterpipe.stages.numerics.preparation import unit_rows

pytestmark = pytest.mark.slow


def clip_of(weights: Path) -> str:
    return f"b32=open_clip:tiny-clip@{weights}"


@pytest.fixture
def config(described_clip: Path, tmp_path: Path) -> Config:
    """Pictures in a space without words, which is the first, and one with a text tower."""
    paint(tmp_path / "photos", per_kind=8)
    dino = f"dino={tiny_backbone.save(tmp_path / 'weights/vit.pth')}"
    backbones = json.dumps([dino, clip_of(described_clip)])
    (tmp_path / "words.txt").write_text("ant\nbear\ncello\n")
    return override(
        Config(),
        [
            f"source.path='{tmp_path / 'photos'}'",
            f"embed.backbones={backbones}",
            "assign.k=3",
            "assign.features=embeddings",
            f"caption.vocabulary='{tmp_path / 'words.txt'}'",
        ],
    )


def test_the_space_with_a_text_tower_describes_by_itself(config: Config, tmp_path: Path) -> None:
    run_all(config, run_dir=tmp_path / "run")
    found = artifact.read(tmp_path / "run/captions.h5", Captions)
    naming = found.methods[found.chosen]
    assert (naming.space, naming.assignment) == ("b32", "annealed")
    assert naming.clustered == "embeddings"
    assert found.word.tolist() == ["ant", "bear", "cello"]


def test_captioning_again_encodes_no_word_again(config: Config, tmp_path: Path) -> None:
    counted: list[str] = []

    class Counting:
        def __call__(self, what: str, *, total: int | None, unit: str) -> "Counting":
            counted.append(what)
            return self

        def __enter__(self) -> object:
            return lambda done: None

        def __exit__(self, *error: object) -> None:
            return None

    run_all(config, run_dir=tmp_path / "run", progress=Counting())
    assert counted.count("encoding words") == 1
    (kept,) = (tmp_path / "run/words").glob("*.h5")
    changed = override(config, ["assign.k=2"])
    result = run_all(changed, run_dir=tmp_path / "run", progress=Counting())
    assert {e.stage for e in result.events if e.action == "ran"} >= {"assign", "caption"}
    assert counted.count("encoding words") == 1
    run_all(override(config, ["caption.prompt=art of the {}"]), run_dir=tmp_path / "run")
    assert len(list(kept.parent.glob("*.h5"))) == 2


def test_text_and_the_classes_names_go_through_the_text_tower(
    config: Config, described_clip: Path, tmp_path: Path
) -> None:
    """Any text is found as brute force finds it; captions are compared with what no word names."""
    config = override(config, ["source.labels_from_folders=true"])
    run_all(config, run_dir=tmp_path / "run")
    run, options = RunDirectory(tmp_path / "run"), SearchOptions(top=5, drawn=False)
    (answer,) = search(run, config, options=options, texts=["red bicycle"])
    tower = open_backbone(parse(clip_of(described_clip)), device="cpu")
    assert answer.read_as == '"a photo of a red bicycle"'
    assert answer.features == "embeddings/b32"
    index = artifact.read(run.artifact(Embeddings), Embeddings)
    images = normalise(index.spaces["b32"].features[:])
    cosine = images @ normalise(tower.encode_texts(["a photo of a red bicycle"]))[0]
    assert [hit.row for hit in answer.hits] == np.argsort(-cosine)[:5].tolist()

    metrics = artifact.read(run.artifact(Metrics), Metrics)
    captions = artifact.read(run.artifact(Captions), Captions)
    assert "text similarity: 3 classes, by the text tower" in metrics.caption_protocol
    said, true = (
        normalise(tower.encode_texts([f"a photo of a {name}" for name in names]))
        for names in (captions.word, index.class_name)
    )
    vote = captions.methods["vote"]
    truth = metrics.confusion.argmax(axis=0)
    expected = (said[vote.phrase[:, 0]] * true[truth]).sum(axis=1).mean()
    place = list(metrics.caption_method).index("vote"), METRICS.index("text similarity")
    assert metrics.caption_value[place] == pytest.approx(expected, abs=1e-3)

    described_clip.rename(described_clip.with_suffix(".gone"))
    shutil.rmtree(tmp_path / "run/words")
    run_stage("evaluate", config, run.folder, force=True)
    protocol = artifact.read(run.artifact(Metrics), Metrics).caption_protocol
    assert "other classes could not be compared" in protocol
    assert str(described_clip) in protocol


def test_zero_shot_reads_names_in_the_space_that_has_a_text_tower(
    config: Config, tmp_path: Path
) -> None:
    by_name = override(
        config,
        [
            'assign.methods=["zero-shot", "annealed"]',
            f"assign.zero_shot.class_names='{tmp_path / 'words.txt'}'",
        ],
    )
    run_all(by_name, run_dir=tmp_path / "run", until="caption")
    found = artifact.read(tmp_path / "run/assignments.h5", Assignments).methods
    spaces = {name: clusters.space for name, clusters in found.items()}
    assert spaces == {"zero-shot": "embeddings/b32", "annealed": "embeddings"}
    (kept,) = (tmp_path / "run/words").glob("*.h5")  # captions found the same words there
    words = artifact.read(kept, WordFeatures)
    images = artifact.read(tmp_path / "run/embeddings.h5", Embeddings).spaces["b32"].features[:]
    label = (unit_rows(images) @ words.features.T).argmax(axis=1)
    names, zero_shot = np.array(["ant", "bear", "cello"]), found["zero-shot"]
    assert zero_shot.name is not None
    np.testing.assert_array_equal(zero_shot.name[zero_shot.label], names[label])

"""Captioning within a run: which space describes, and what is kept. In this process, where the
tiny open_clip model is known."""

import json
from pathlib import Path

import pytest
import tiny_backbone
from program import paint

from clusterpipe.cache import artifact
from clusterpipe.cache.schema import Captions
from clusterpipe.pipeline import Config, run_all
from clusterpipe.pipeline.config import override


@pytest.fixture
def config(described_clip: Path, tmp_path: Path) -> Config:
    """Pictures in a space without words, which is the first, and one with a text tower."""
    paint(tmp_path / "photos", per_kind=8)
    dino = f"dino={tiny_backbone.save(tmp_path / 'weights/vit.pth')}"
    backbones = json.dumps([dino, f"b32=open_clip:tiny-clip@{described_clip}"])
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
    assert (naming.space, naming.assignment) == ("b32", "spherical-kmeans")
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

"""Texts among given text features: which space and word they mean, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline import Config, run_all
from clusterpipe.pipeline.engine.config import override
from clusterpipe.pipeline.results.search import Answer, SearchOptions, search

WORDS = ["ant", "brown_bear", "bow_(weapon)", "bow_(knot)", "car_(automobile)"]
TEXT = np.random.default_rng(0).normal(size=(5, 12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("given")


@pytest.fixture(scope="module")
def config(folder: Path) -> Config:
    """A run on two spaces that were given; ten rows of the second lie around each word."""
    rng = np.random.default_rng(1)
    np.savez(
        folder / "features.npz",
        features_dino=rng.normal(size=(50, 8)),
        features_clip=np.repeat(TEXT, 10, axis=0) + 0.1 * rng.normal(size=(50, 12)),
    )
    np.savez(folder / "words.npz", features=TEXT, names=WORDS)
    settings = [f"source.path='{folder / 'features.npz'}'", "caption.space=clip"]
    vocabulary = f"caption.vocabulary='{folder / 'words.npz'}'"
    config = override(Config(), [*settings, vocabulary])
    run_all(config, run_dir=folder / "run", until="embed")
    return config


def found(config: Config, folder: Path, *texts: str, **options: object) -> Sequence[Answer]:
    chosen = SearchOptions(**{"top": 10, "drawn": False, **options})
    return search(RunDirectory(folder / "run"), config, options=chosen, texts=texts)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("ant", 0),
        ("Ants", 0),
        ("brown bear", 1),
        ("bow_(knot)", 3),
        ("car", 4),
        ("auto", 4),
        ("motorcar", 4),
    ],
)
def test_a_word_is_meant_by_its_name_or_a_synonym(
    config: Config, folder: Path, text: str, word: int
) -> None:
    (answer,) = found(config, folder, text)
    assert (answer.query, answer.read_as, answer.by) == (text, WORDS[word], "text")
    assert answer.features == "embeddings/clip"
    assert sorted(hit.row for hit in answer.hits) == list(range(10 * word, 10 * word + 10))
    assert all(hit.score > 0.9 for hit in answer.hits)


def test_a_noun_means_all_its_kinds(config: Config, folder: Path) -> None:
    (answer,) = found(config, folder, "bear")
    assert answer.read_as == "brown_bear"
    names = folder / "kinds.npz"
    np.savez(names, features=TEXT, names=["ant", "brown bear", "polar bear", "bearing", "car"])
    kinds = override(config, [f"caption.vocabulary='{names}'"])
    (answer,) = found(kinds, folder, "Bears", top=20)
    assert answer.read_as == "brown bear, polar bear"
    assert sorted(hit.row for hit in answer.hits) == list(range(10, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bow", r"bow_\(weapon\), bow_\(knot\); name one"),
        ("red car", r"the nearest words: car_\(automobile\)"),
        ("bear cub", "the nearest words: brown_bear"),
        ("zither", "the nearest words: none"),
        (" ", "--text is empty"),
    ],
)
def test_another_text_is_answered_with_the_nearest_words(
    config: Config, folder: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        found(config, folder, text)


def test_what_cannot_be_compared_names_the_setting(config: Config, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"8 wide, those of the words.*12.*--space"):
        found(config, folder, "ant", space="dino")
    with pytest.raises(UsageError, match=r"embed\.backbones.*caption\.vocabulary"):
        found(override(config, ["caption.vocabulary=''"]), folder, "ant")
    with pytest.raises(UsageError, match="no text tower"):
        found(config, folder, "ant", features="refined")
    with pytest.raises(UsageError, match="one space"):
        found(config, folder, "ant", space="concatenate")

"""Words through a text tower: ensembles, and what is kept on disk."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.backbones import open_backbone, parse
from clusterpipe.stages.words import word_features as module
from clusterpipe.stages.words.vocabulary import Vocabulary, plain
from clusterpipe.stages.words.word_features import (
    Tower,
    check_prompts,
    encode,
    templates,
    word_features,
)

WORDS = plain(("ant", "brown_bear", "cello"))
PROMPTS = ("a photo of a {}", "art of the {}.")


@pytest.fixture
def tower(described_clip: Path) -> Tower:
    backbone = f"open_clip:tiny-clip@{described_clip}"
    opened = open_backbone(parse(backbone), device="cpu")
    return Tower(backbone, opened.weights_digest, device="cpu")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many words each call of `encode` was given."""
    calls: list[int] = []
    original: Callable[..., NDArray[np.float32]] = module.encode

    def counting(words: Sequence[str], *rest: object) -> NDArray[np.float32]:
        calls.append(len(words))
        return original(words, *rest)

    monkeypatch.setattr(module, "encode", counting)
    return calls


def test_an_ensemble_is_the_mean_of_unit_features(tower: Tower) -> None:
    found = word_features(WORDS, PROMPTS, tower)
    for row, word in zip(found, ("ant", "brown bear", "cello"), strict=True):
        texts = [prompt.replace("{}", word) for prompt in PROMPTS]
        parts = tower.opened.encode_texts(texts).astype(np.float64)
        mean = (parts / np.linalg.norm(parts, axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)


def test_batches_do_not_matter(tower: Tower) -> None:
    whole = encode(WORDS.word, PROMPTS, tower.opened)
    parts = encode(WORDS.word, PROMPTS, tower.opened, at_once=2)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_named_ensembles_are_clip_s() -> None:
    assert len(templates(["simple"])) == 7
    assert len(templates(["openai"])) == 80
    assert "itap of a {}." in templates(["simple", "itap of a {}."])
    assert len(templates(["simple", "itap of a {}."])) == 7
    assert all(prompt.count("{}") == 1 for prompt in templates(["openai"]))


def test_words_are_encoded_once_and_read_back_the_same(
    tower: Tower, tmp_path: Path, encoded: list[int]
) -> None:
    store = WordStore(tmp_path / "words")
    first = word_features(WORDS, PROMPTS, tower, store)
    fresh = Tower(tower.backbone, tower.weights)
    again = word_features(WORDS, PROMPTS, fresh, store)
    assert encoded == [3]
    np.testing.assert_array_equal(again, first)
    assert "opened" not in vars(fresh)


@pytest.mark.parametrize("what", ["words", "prompts", "weights"])
def test_other_words_prompts_or_weights_are_encoded_anew(
    tower: Tower, tmp_path: Path, encoded: list[int], what: str
) -> None:
    store = WordStore(tmp_path)
    word_features(WORDS, PROMPTS, replace(tower), store)
    if what == "words":
        word_features(plain(("ant", "bear")), PROMPTS, tower, store)
    elif what == "prompts":
        word_features(WORDS, PROMPTS[:1], tower, store)
    else:
        with pytest.raises(UsageError, match="have changed since"):
            word_features(WORDS, PROMPTS, replace(tower, weights="another"), store)
        return
    assert len(encoded) == 2
    assert len(list(tmp_path.glob("*.h5"))) == 2


def test_a_damaged_file_counts_as_lost(tower: Tower, tmp_path: Path, encoded: list[int]) -> None:
    store = WordStore(tmp_path)
    first = word_features(WORDS, PROMPTS, tower, store)
    file = next(tmp_path.glob("*.h5"))
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(word_features(WORDS, PROMPTS, tower, store), first)
    assert encoded == [3, 3]


def test_given_features_need_no_tower() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    given = Vocabulary(WORDS.word, WORDS.synonyms, WORDS.definition, rows)
    found = word_features(given, PROMPTS, Tower(""))
    np.testing.assert_allclose(found, rows / np.linalg.norm(rows, axis=1)[:, None], rtol=1e-5)


def test_a_backbone_without_texts_is_refused_with_a_remedy() -> None:
    with pytest.raises(UsageError, match="ViT-L-14@openai"):
        word_features(WORDS, PROMPTS, Tower("packaged:efficientnet-lite0", device="cpu"))


@pytest.mark.parametrize("prompts", [(), ("no place",), ("{} and {}",), ("opanai",)])
def test_unusable_prompts_are_refused(prompts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"caption\.prompt"):
        check_prompts(prompts)

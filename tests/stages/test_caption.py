"""The caption stage: known words are found again, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import Assignments, Embeddings, Naming
from clusterpipe.stages.backbones import open_backbone, parse
from clusterpipe.stages.caption import UNSURE, CaptionConfig, caption
from clusterpipe.stages.declaration import STAGES, FileInput, Input

pytestmark = pytest.mark.slow

WORDS = ("ant", "bear", "cello", "dune", "easel", "ferry", "gull", "harp")
PACKAGED = "packaged=packaged:efficientnet-lite0"


@pytest.fixture
def config(tmp_path: Path) -> CaptionConfig:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(WORDS))
    return CaptionConfig(vocabulary=str(file), methods=("vote",))


@pytest.fixture
def clip(described_clip: Path) -> str:
    return f"clip=open_clip:tiny-clip@{described_clip}"


def photographs_of(
    clip: str, word: NDArray[np.integer], prompt: str = "a photo of a {}"
) -> NDArray[np.float16]:
    """Features near those of each word's prompt, of random length, stored as the cache does."""
    rng = np.random.default_rng(0)
    tower = open_backbone(parse(clip), device="cpu")
    texts = tower.encode_texts([prompt.replace("{}", w) for w in WORDS])[word]
    noise = 0.02 * np.linalg.norm(texts, axis=1, keepdims=True) * rng.standard_normal(texts.shape)
    return ((texts + noise) * rng.uniform(0.5, 2, (len(word), 1))).astype(np.float16)


def naming(result: object) -> Naming:
    return result.methods[result.chosen]  # type: ignore[attr-defined]


def test_known_words_are_found_again(clip: str, config: CaptionConfig) -> None:
    word = np.repeat(np.arange(8), 10)
    cluster = np.array([3, 5, 0, 1, 7, 6, 2, 4])[word]
    named = naming(caption(photographs_of(clip, word), cluster, clip, config))
    expected = dict(zip(cluster.tolist(), np.array(WORDS)[word], strict=True))
    assert dict(enumerate(named.text[:, 0])) == expected
    assert named.text.shape == named.score.shape == (8, 5)
    assert (np.diff(named.score, axis=1) <= 0).all()
    assert (named.score >= 0).all()
    assert (named.score.sum(axis=1) <= 1 + 1e-6).all()
    np.testing.assert_allclose(named.margin, named.score[:, 0] - named.score[:, 1], atol=1e-6)


def test_the_tally_is_that_of_a_count_by_hand(clip: str, config: CaptionConfig) -> None:
    """Word by word and image by image, in float64."""
    features = np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32)
    label = np.random.default_rng(2).integers(-1, 3, 40)
    config = replace(config, votes=2, temperature=0.2, phrases=8)
    named = naming(caption(features, label, clip, config))
    texts = (
        open_backbone(parse(clip), device="cpu")
        .encode_texts([f"a photo of a {w}" for w in WORDS])
        .astype(np.float64)
    )
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    for cluster in range(3):
        tally = dict.fromkeys(WORDS, 0.0)
        for row in features[label == cluster].astype(np.float64):
            weight = np.exp(texts @ row / np.linalg.norm(row) / 0.2)
            for word in np.argsort(-weight)[:2]:
                tally[WORDS[word]] += weight[word] / weight.sum()
        ranked = sorted(WORDS, key=lambda w: -tally[w])
        share = [tally[w] / sum(tally.values()) for w in ranked]
        kept = [w if tally[w] > 0 else "" for w in ranked]
        assert named.text[cluster].tolist() == kept
        np.testing.assert_allclose(named.score[cluster], share, atol=1e-4)


def test_renaming_clusters_renames_their_captions(clip: str, config: CaptionConfig) -> None:
    features = photographs_of(clip, np.arange(60) % 8)
    label = np.random.default_rng(3).integers(0, 6, 60)
    swap = np.array([4, 2, 5, 1, 0, 3])
    plain = naming(caption(features, label, clip, config))
    renamed = naming(caption(features, swap[label], clip, config))
    np.testing.assert_array_equal(renamed.text[swap], plain.text)
    np.testing.assert_array_equal(renamed.score[swap], plain.score)


def test_blocks_do_not_matter(clip: str, config: CaptionConfig) -> None:
    features = photographs_of(clip, np.arange(50) % 8)
    label = np.arange(50) % 4 - 1
    whole = naming(caption(features, label, clip, config))
    parts = naming(caption(features, label, clip, config, at_once=7 * len(WORDS)))
    np.testing.assert_array_equal(parts.text, whole.text)
    np.testing.assert_allclose(parts.score, whole.score, atol=1e-5)


def test_outliers_do_not_vote_and_empty_clusters_get_nothing(
    clip: str, config: CaptionConfig
) -> None:
    word = np.array([0, 1, 1, 1])
    named = naming(caption(photographs_of(clip, word), np.array([2, -1, -1, -1]), clip, config))
    assert named.text[2, 0] == WORDS[0]
    assert (named.text[:2] == "").all()
    assert (named.score[:2] == 0).all()
    nobody = naming(caption(photographs_of(clip, word), np.full(4, -1), clip, config))
    assert nobody.text.shape == (0, 5)


def test_the_prompt_is_what_is_compared(clip: str, config: CaptionConfig) -> None:
    features = photographs_of(clip, np.arange(8), prompt="a painting of {}")
    named = naming(
        caption(features, np.arange(8), clip, replace(config, prompt=("a painting of {}",)))
    )
    assert tuple(named.text[:, 0]) == WORDS


def test_what_voted_is_written_down(clip: str, config: CaptionConfig) -> None:
    features = photographs_of(clip, np.arange(8))
    named = naming(
        caption(
            features,
            np.arange(8),
            clip,
            config,
            space="b32",
            assignment="spherical",
            clustered="refined",
        )
    )
    assert (named.space, named.assignment, named.clustered) == ("b32", "spherical", "refined")
    assert named.vocabulary == config.vocabulary
    other = Path(config.vocabulary)
    other.write_text("\n".join(reversed(WORDS)))
    again = naming(caption(features, np.arange(8), clip, config))
    assert again.vocabulary_digest != named.vocabulary_digest
    np.testing.assert_array_equal(again.text[:, 0], named.text[:, 0])


def test_without_a_vocabulary_imagenet_stands(clip: str) -> None:
    config = CaptionConfig(prompt=("{}",), methods=("vote",))
    tower = open_backbone(parse(clip), device="cpu")
    features = tower.encode_texts(["espresso", "tabby", "tench"])
    named = naming(caption(features, np.arange(3), clip, config))
    assert named.text[:, 0].tolist() == ["espresso", "tabby", "tench"]
    assert named.vocabulary == "imagenet-1k"


def test_progress_counts_every_word_and_image(clip: str, config: CaptionConfig) -> None:
    done: dict[str, list[int | None]] = {}

    @contextmanager
    def counting(what: str, *, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        done[unit] = [total]
        yield done[unit].append

    caption(photographs_of(clip, np.arange(8)), np.arange(8), clip, config, progress=counting)
    assert {unit: (total, sum(parts)) for unit, (total, *parts) in done.items()} == {
        "words": (8, 8),
        "images": (8, 8),
    }


# ---------------------------------------------------------------- a closed vocabulary


def test_a_closed_backbone_votes_with_its_own_classes() -> None:
    backbone = open_backbone(parse(PACKAGED), device="cpu")
    features = np.abs(np.random.default_rng(0).standard_normal((12, 1280))).astype(np.float32)
    probability = backbone.word_probabilities(features)
    label = np.arange(12) % 2
    named = naming(caption(features, label, PACKAGED, CaptionConfig(votes=1000)))
    for cluster in range(2):
        mean = probability[label == cluster].mean(axis=0)
        best = np.argsort(-mean)[:5]
        assert named.text[cluster].tolist() == [backbone.vocabulary()[w] for w in best]
        np.testing.assert_allclose(named.score[cluster], mean[best], rtol=1e-4)
    same = CaptionConfig(votes=1000, vocabulary="imagenet-1k")
    np.testing.assert_array_equal(naming(caption(features, label, PACKAGED, same)).text, named.text)


def test_a_closed_backbone_refuses_other_words(config: CaptionConfig) -> None:
    with pytest.raises(UsageError, match="open_clip:ViT-L-14@openai"):
        caption(np.zeros((2, 1280)), np.zeros(2, int), PACKAGED, config)


# ---------------------------------------------------------------- refusals and declaration


@pytest.mark.parametrize(
    ("backbone", "words"), [("", ""), ("dino=timm:vit_small_patch14_dinov2.lvd142m", "none")]
)
def test_features_without_words_are_refused_with_a_remedy(backbone: str, words: str) -> None:
    with pytest.raises(UsageError, match="open_clip:ViT-L-14@openai"):
        caption(np.zeros((2, 4)), np.zeros(2, int), backbone, words=words)


def test_a_backbone_that_turns_out_to_know_no_words_is_refused(tmp_path: Path) -> None:
    import timm
    import torch

    file = tmp_path / "w.pth"
    model = timm.create_model("test_vit", pretrained=False)
    torch.save(model.state_dict(), file)
    with pytest.raises(UsageError, match="open_clip"):
        caption(np.zeros((2, 64)), np.zeros(2, int), f"timm:test_vit@{file}")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"prompt": ("a photo",)}, "prompt"),
        ({"prompt": ()}, "prompt"),
        ({"methods": ("votes",)}, "did you mean vote"),
        ({"doubt": 0.0}, "doubt"),
        ({"votes": 0}, "votes"),
        ({"phrases": -1}, "phrases"),
        ({"temperature": 0.0}, "temperature"),
        ({"vocabulary": "imagenet-2k"}, "Did you mean imagenet-"),
    ],
)
def test_wrong_settings_are_usage_errors(
    clip: str, setting: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        caption(np.zeros((2, 16)), np.zeros(2, int), clip, CaptionConfig(**setting))  # type: ignore[arg-type]


def test_features_of_another_width_or_length_are_refused(clip: str, config: CaptionConfig) -> None:
    with pytest.raises(UsageError, match="4 wide"):
        caption(np.zeros((2, 4)), np.zeros(2, int), clip, config)
    with pytest.raises(UsageError, match="3 labels"):
        caption(np.zeros((2, 16)), np.zeros(3, int), clip, config)


def test_the_declaration_reads_a_vocabulary_file_by_content(config: CaptionConfig) -> None:
    reads = STAGES["caption"].reads
    assert reads(CaptionConfig())["features"] == Input(Embeddings, "{words}/features")
    assert reads(CaptionConfig())["label"] == Input(Assignments, "{chosen}/label")
    assert not any(
        isinstance(i, FileInput) for i in reads(CaptionConfig(vocabulary="imagenet-21k")).values()
    )
    assert reads(config)["vocabulary_file"] == FileInput(config.vocabulary)
    with pytest.raises(UsageError, match="one space"):
        reads(CaptionConfig(space="concatenate"))


def test_the_module_imports_no_science() -> None:
    code = (
        "import sys, clusterpipe.stages.caption;"
        "print(*{'torch', 'timm', 'open_clip', 'scipy', 'sklearn', 'faiss'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


# ---------------------------------------------------------------- distinctive names


def test_distinctive_captions_differ_and_the_run_stands_by_them(tmp_path: Path) -> None:
    """All images share word 0; each cluster has another one besides."""
    np.savez(tmp_path / "w.npz", features=np.eye(8), names=WORDS)
    label = np.repeat(np.arange(4), 10)
    rng = np.random.default_rng(0)
    images = 1.5 * np.eye(8)[0] + np.eye(8)[label + 1] + 0.05 * rng.normal(size=(40, 8))
    config = CaptionConfig(vocabulary=str(tmp_path / "w.npz"), doubt=1.0)
    result = caption(images, label, config=replace(config, temperature=0.1))
    assert result.chosen == "distinctive"
    assert set(result.methods["vote"].text[:, 0]) == {WORDS[0]}
    assert tuple(result.methods["distinctive"].text[:, 0]) == WORDS[1:5]
    assert result.methods["distinctive"].rank.tolist() == [1, 1, 1, 1]


def test_unsure_is_a_caption_and_its_guesses_follow(clip: str, config: CaptionConfig) -> None:
    rows = photographs_of(clip, np.arange(8))
    config = replace(config, methods=("distinctive",), sharing="allowed")
    doubtful = naming(caption(rows, np.arange(8), clip, replace(config, doubt=1e-9)))
    sure = naming(caption(rows, np.arange(8), clip, replace(config, doubt=1.0)))
    assert (doubtful.text[:, 0] == UNSURE).all()
    assert (doubtful.phrase[:, 0] == -1).all()
    np.testing.assert_array_equal(doubtful.text[:, 1:], sure.text[:, :-1])
    assert (doubtful.score[:, 0] == 0).all()
    assert (doubtful.rank == 0).all()


def test_phrases_point_into_the_vocabulary(clip: str) -> None:
    tower = open_backbone(parse(clip), device="cpu")
    rows = tower.encode_texts(["a photo of a tench", "a photo of a great white shark"])
    result = caption(rows, np.arange(2), clip, CaptionConfig(methods=("vote",)))
    named = naming(result)
    np.testing.assert_array_equal(result.word[named.phrase], named.text)
    shark = named.phrase[1, 0]
    assert "man-eater" in json.loads(result.synonyms[shark])
    assert result.definition[shark].startswith("large aggressive shark")
    assert not result.leaks


# ---------------------------------------------------------------- words without a tower


def test_text_features_name_clusters_without_a_backbone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = rng.normal(size=(300, 24)).astype(np.float32)
    np.savez(tmp_path / "w.npz", features=words, names=[f"word {i}" for i in range(300)])
    wanted = np.array([5, 80, 211])
    images = words[np.repeat(wanted, 12)] + 0.3 * rng.normal(size=(36, 24))
    given = CaptionConfig(vocabulary=str(tmp_path / "w.npz"))
    result = caption(images, np.repeat(np.arange(3), 12), config=given)
    assert result.chosen == "distinctive"
    for named in result.methods.values():
        assert named.text[:, 0].tolist() == [f"word {i}" for i in wanted]
    with pytest.raises(UsageError, match=r"5 wide.*24.*caption\.space"):
        caption(np.ones((2, 5)), np.arange(2), config=given)


def test_class_names_are_used_only_when_asked_and_the_artifact_says_so(clip: str) -> None:
    names = np.array(WORDS, dtype=object)
    features = photographs_of(clip, np.arange(8))
    asked = CaptionConfig(vocabulary="classes", methods=("vote",))
    assert "class_name" in STAGES["caption"].reads(asked)
    assert "class_name" not in STAGES["caption"].reads(CaptionConfig())
    result = caption(features, np.arange(8), clip, asked, class_name=names)
    assert tuple(naming(result).text[:, 0]) == WORDS
    assert result.leaks


def test_words_are_encoded_once_per_folder(
    clip: str, config: CaptionConfig, tmp_path: Path
) -> None:
    features = photographs_of(clip, np.arange(8))
    weights = open_backbone(parse(clip), device="cpu").weights_digest
    known = {"weights": weights, "words": "open", "folder": tmp_path / "kept"}
    first = caption(features, np.arange(8), clip, config, **known)  # type: ignore[arg-type]
    Path(clip.partition("@")[2]).unlink()  # the tower cannot be opened any more
    again = caption(features, np.arange(8) % 4, clip, config, **known)  # type: ignore[arg-type]
    assert first.word.tolist() == again.word.tolist()
    with pytest.raises(UsageError, match="no file"):
        caption(features, np.arange(8), clip, replace(config, prompt=("{}",)), **known)  # type: ignore[arg-type]

"""open_clip backbones, with a tiny random model of the real library."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip import pretrained as published
from PIL import Image

from clusterpipe.cache.errors import DamagedArtifact, UsageError, WeightsMissing
from clusterpipe.stages.backbones import Backbone, open_backbone, parse
from clusterpipe.stages.backbones.weights import sha256


def opened(weights: Path) -> Backbone:
    return open_backbone(parse(f"open_clip:tiny-clip@{weights}"), device="cpu")


def test_features_are_open_clips_own(
    described_clip: Path, pictures: list[Image.Image], no_network: None
) -> None:
    settings = json.loads(described_clip.with_suffix(".json").read_text())
    model, _, transform = open_clip.create_model_and_transforms(
        "tiny-clip",
        pretrained=str(described_clip),
        image_mean=settings["mean"],
        image_std=settings["std"],
        image_interpolation=settings["interpolation"],
        image_resize_mode=settings["resize_mode"],
    )
    backbone = opened(described_clip)
    tensors = torch.stack([transform(picture) for picture in pictures])
    batch = np.stack([backbone.prepare(picture) for picture in pictures])
    np.testing.assert_array_equal(batch, tensors.numpy())
    with torch.no_grad():
        expected = model.eval().encode_image(tensors).numpy()
    features = backbone.encode_images(batch)
    assert features.shape == (3, backbone.width) == (3, 16)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(backbone.encode_images(batch[2:]), features[2:], atol=1e-5)
    assert backbone.input_shape == batch.shape[1:]


def test_texts_are_encoded_as_open_clip_does(described_clip: Path, no_network: None) -> None:
    backbone = opened(described_clip)
    model = open_clip.create_model("tiny-clip", pretrained=str(described_clip)).eval()
    texts = ["a photo of a cat", "tench", "a photo of a crane (lifts and moves heavy objects)"]
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("tiny-clip")(texts)).numpy()
    features = backbone.encode_texts(texts)
    assert features.shape == (3, 16)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(backbone.encode_texts(texts[1:2]), features[1:2], atol=1e-5)


def test_it_says_what_it_is(described_clip: Path) -> None:
    backbone = opened(described_clip)
    settings = json.loads(described_clip.with_suffix(".json").read_text())
    assert backbone.words == "open"
    assert backbone.weights_digest == sha256(described_clip)
    assert backbone.preprocessing.items() >= settings.items()
    assert backbone.preprocessing["size"] in (32, [32, 32])
    assert backbone.preprocessing == json.loads(json.dumps(backbone.preprocessing))
    with pytest.raises(UsageError):
        backbone.vocabulary()


def test_a_local_file_without_settings_asks_for_them(tiny_clip: Path) -> None:
    with pytest.raises(UsageError, match='"resize_mode": "shortest"') as caught:
        opened(tiny_clip)
    shown = str(caught.value)
    assert str(tiny_clip.with_suffix(".json")) in shown
    tiny_clip.with_suffix(".json").write_text(shown[shown.index("{") :].replace("224", "32"))
    assert opened(tiny_clip).width == 16


def test_a_local_file_takes_what_all_known_weights_agree_on(
    tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = published._slpcfg(hf_hub="someone/tiny/")
    monkeypatch.setitem(published._PRETRAINED, "tiny-clip", {"a": tag, "b": dict(tag)})
    backbone = opened(tiny_clip)
    assert backbone.preprocessing["resize_mode"] == "squash"
    assert backbone.preprocessing["mean"] == list(tag["mean"])
    other = published._slpcfg(hf_hub="someone/tiny/", quick_gelu=True)
    monkeypatch.setitem(published._PRETRAINED, "tiny-clip", {"a": tag, "b": other})
    with pytest.raises(UsageError, match="quick_gelu"):
        opened(tiny_clip)


def test_the_activation_follows_the_settings(described_clip: Path) -> None:
    """quick_gelu differs from gelu, and the features with it."""
    batch = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    gelu = opened(described_clip).encode_images(batch)
    file = described_clip.with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quick_gelu": True}))
    quick = opened(described_clip)
    assert quick.preprocessing["quick_gelu"] is True
    model = open_clip.create_model(
        "tiny-clip", pretrained=str(described_clip), force_quick_gelu=True
    ).eval()
    with torch.no_grad():
        expected = model.encode_image(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(quick.encode_images(batch), expected, atol=1e-5)
    assert np.abs(gelu - expected).max() > 1e-3


def test_a_tag_is_read_from_the_cache_with_its_settings_and_activation(
    tiny_clip: Path, hub: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = published._mccfg(hf_hub="someone/tiny/", quick_gelu=True)
    monkeypatch.setitem(published._PRETRAINED, "tiny-clip", {"mine": tag})
    snapshot = hub / "models--someone--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "open_clip_pytorch_model.bin").write_bytes(tiny_clip.read_bytes())
    backbone = open_backbone(parse("open_clip:tiny-clip@mine"), device="cpu")
    assert backbone.preprocessing["quick_gelu"] is True
    assert backbone.preprocessing["mean"] == list(tag["mean"])
    assert backbone.preprocessing["interpolation"] == tag["interpolation"]
    assert backbone.weights_digest == sha256(tiny_clip)


def test_missing_weights_name_size_and_command(
    hub: Path, no_network: None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WeightsMissing, match=r"about 1\.7 GB") as caught:
        open_backbone(parse("clip=open_clip:ViT-L-14@openai"), device="cpu")
    assert "models fetch 'clip=open_clip:ViT-L-14@openai'" in str(caught.value)
    assert "random" not in caplog.text


def test_an_unknown_model_or_tag_names_what_there_is() -> None:
    with pytest.raises(UsageError, match="ViT-L-14"):
        open_backbone(parse("open_clip:ViT-L14@openai"))
    with pytest.raises(UsageError, match="one of openai, "):
        open_backbone(parse("open_clip:ViT-L-14@openia"))
    with pytest.raises(UsageError, match="needs its weights named: put one of openai"):
        open_backbone(parse("open_clip:ViT-L-14"))


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is installed")
def test_a_text_tower_from_another_library_says_so(hub: Path) -> None:
    with pytest.raises(UsageError, match="pip install transformers"):
        open_backbone(parse("open_clip:roberta-ViT-B-32@laion2b_s12b_b32k"))


@pytest.mark.parametrize("content", ["cut", "another model", "not weights"])
def test_a_file_that_does_not_fit_is_refused(described_clip: Path, content: str) -> None:
    if content == "cut":
        described_clip.write_bytes(described_clip.read_bytes()[:3000])
    elif content == "another model":
        torch.save({"visual.proj": torch.zeros(3, 3)}, described_clip)
    else:
        described_clip.write_text("hello")
    with pytest.raises(DamagedArtifact, match=r"tiny\.pt does not hold the weights of tiny-clip"):
        opened(described_clip)

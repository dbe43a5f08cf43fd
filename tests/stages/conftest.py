"""A tiny random model of the real open_clip; its libraries are imported where it is used."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}
TINY_SETTINGS = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "quick_gelu": False,
}


@pytest.fixture
def tiny_clip(tmp_path: Path) -> Iterator[Path]:
    """Weights of the model "tiny-clip", as a state dict on disk, without settings beside them."""
    import open_clip
    import torch

    config = tmp_path / "tiny-clip.json"
    config.write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    weights = tmp_path / "weights" / "tiny.pt"
    weights.parent.mkdir()
    torch.save(open_clip.CLIP(**TINY_CLIP).state_dict(), weights)
    yield weights
    open_clip.factory._MODEL_CONFIG_PATHS.remove(config)
    open_clip.factory._MODEL_CONFIGS.pop("tiny-clip")


@pytest.fixture
def described_clip(tiny_clip: Path) -> Path:
    """The same with its settings beside it."""
    tiny_clip.with_suffix(".json").write_text(json.dumps(TINY_SETTINGS))
    return tiny_clip

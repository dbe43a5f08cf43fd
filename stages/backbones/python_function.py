"""python:MODULE.FUNCTION: a function of the user's own, from pictures to features.

def encode(pictures):  # a list of RGB PIL images, all of encode.size x encode.size pixels
    return model(processor(pictures))  # (b, d): an array, a tensor or lists

encode.size = 336  # 224 unless said
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.backbones.functions import Encode, code_digest, function_of, keep
from clusterpipe.stages.backbones.network import resolve_device
from clusterpipe.stages.backbones.protocol import BackboneSpec
from clusterpipe.stages.backbones.wordless import Wordless

_SIZE = 224  # pixels
_SHADOW = 16  # projections of features, by which one function is told from another


@dataclass(kw_only=True, eq=False, repr=False)
class PythonFunction(Wordless):
    """A function from RGB pictures, scaled by the shorter side and cut square, to features."""

    spec: BackboneSpec
    function: Encode
    size: int
    weights_digest: str
    device: str
    width: int = field(init=False)
    precision: ClassVar[str] = "fp32"

    def __post_init__(self) -> None:
        self.width = self.encode_images(np.zeros((1, *self.input_shape), np.float32)).shape[1]

    @classmethod
    def open(cls, spec: BackboneSpec, *, device: str) -> "PythonFunction":
        """The function that was given, or else is imported; the working directory counts, too.

        Raises UsageError when there is no such function, or it does not give features.
        """
        function = function_of(spec)
        size = getattr(function, "size", _SIZE)
        return cls(
            spec=spec,
            function=function,
            size=size,
            weights_digest=code_digest(function),
            device=resolve_device(device),
        )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        return {"size": self.size, "crop_mode": "center", "interpolation": "bicubic"}

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """(3, h, w) pixels, 0..255, of an upright RGB image. Safe to call from several threads."""
        square = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(square, np.float32).transpose(2, 0, 1)

    def encode_images(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(b, d) features of (b, 3, h, w) prepared images, as the function gives them.

        Raises UsageError for what is no row of finite numbers for each picture.
        """
        pixels = batch.transpose(0, 2, 3, 1).astype(np.uint8)
        found = self.function([Image.fromarray(picture) for picture in pixels])
        features = _as_array(found)
        if features is None or features.ndim != 2 or len(features) != len(batch):
            said = type(found).__name__ if features is None else f"shape {features.shape}"
            raise UsageError(
                f"{self.spec.definition} gave {said} for {len(batch)} pictures, not an array "
                f"({len(batch)}, d) of numbers"
            )
        if not np.isfinite(features).all():
            raise UsageError(f"{self.spec.definition} gives features that are not finite")
        return features


def given(function: Encode) -> str:
    """The definition of a backbone that is this function, for as long as the process lives.

    Its digest is that of the source, and of what it makes of one picture, since the same source may
    hold another model; the latter is rounded, so that another machine finds the same. Raises
    UsageError when the function does not give features.
    """
    name = re.sub(r"\W+", "_", getattr(function, "__qualname__", type(function).__qualname__))
    module = getattr(function, "__module__", type(function).__module__)
    spec = BackboneSpec("python", "python", f"{module}.{name.strip('_')}")
    size = getattr(function, "size", _SIZE)
    encoder = PythonFunction(
        spec=spec, function=function, size=size, weights_digest="", device="cpu"
    )
    rng = np.random.default_rng(0)
    picture = rng.integers(256, size=(1, 3, 8, 8)).repeat(-(-size // 8), 2).repeat(-(-size // 8), 3)
    features = encoder.encode_images(picture[:, :, :size, :size].astype(np.float32))[0]
    shadow = rng.normal(size=(_SHADOW, len(features))) @ features
    rounded = (shadow / (np.linalg.norm(features) or 1)).round(1) + 0.0  # no negative zero
    seen = hashlib.sha256(code_digest(function).encode() + rounded.tobytes()).hexdigest()[:12]
    definition = str(replace(spec, weights=seen)).partition("=")[2]
    keep(definition, function)
    return definition


def _as_array(found: Any) -> NDArray[np.float32] | None:
    """An array, a tensor of any device, or lists, as float32; None for anything else."""
    tensor = found.detach().float().cpu() if hasattr(found, "detach") else found
    try:
        return np.asarray(tensor, np.float32)
    except (TypeError, ValueError):
        return None

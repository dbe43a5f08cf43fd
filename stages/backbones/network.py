"""Base of the families: a torch model on a device, run without gradients."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.backbones.protocol import BackboneSpec
from clusterpipe.stages.backbones.wordless import Wordless

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    KeyError,
    AttributeError,
    TypeError,
    ValueError,
    UnpicklingError,
    SafetensorError,
)
"""What the libraries raise for a weights file that is damaged or holds something else."""


@dataclass(kw_only=True, eq=False, repr=False)
class Network(Wordless, ABC):
    """A frozen torch model with its preprocessing; the families say how it is called.

    `transform` is the library's own, from an upright RGB image to a (3, h, w) tensor. Weights
    stay float32; `precision` is that of the arithmetic (autocast). Channels-last memory, which
    is faster for convolutions on a CPU.
    """

    spec: BackboneSpec
    model: Any
    transform: Callable[[Image.Image], torch.Tensor]
    width: int
    input_shape: tuple[int, int, int]
    preprocessing: Mapping[str, Any]
    weights_digest: str
    device: str
    precision: str

    def __post_init__(self) -> None:
        self.device = resolve_device(self.device)
        self.precision = resolve_precision(self.precision, self.device)
        self.model.eval().requires_grad_(False)
        self.model.to(device=self.device, memory_format=torch.channels_last)

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """(3, h, w) pixels of an upright RGB image. Safe to call from several threads."""
        return np.asarray(self.transform(image).numpy(), np.float32)

    def encode_images(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(b, d) features of (b, 3, h, w) prepared images, not normalised.

        Raises UsageError when half precision overflows.
        """
        pixels = torch.tensor(batch, dtype=torch.float32, device=self.device)
        with torch.inference_mode(), self._arithmetic():
            features = self._forward(pixels.contiguous(memory_format=torch.channels_last))
        return self._finite(features)

    @abstractmethod
    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features (b, d) of pixels (b, 3, h, w)."""

    def _arithmetic(self) -> AbstractContextManager[Any]:
        kind = torch.device(self.device).type
        return torch.autocast(kind, _DTYPES[self.precision], enabled=self.precision != "fp32")

    def _finite(self, features: torch.Tensor) -> NDArray[np.float32]:
        if self.precision != "fp32" and not bool(features.isfinite().all()):
            raise UsageError(
                f"{self.spec.definition} overflows in {self.precision}: "
                "set embed.precision=bf16 or embed.precision=fp32"
            )
        return features.float().cpu().numpy()


def resolve_device(device: str) -> str:
    """auto becomes cuda, mps or cpu, whichever is there first.

    Raises UsageError for a device that is unknown or absent.
    """
    if device == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if _present(kind))
    kind, _, index = device.partition(":")
    known = kind in {"cpu", "cuda", "mps"} and (not index or (kind == "cuda" and index.isdigit()))
    if not known:
        raise UsageError(f"device {device!r} is not one of auto, cpu, cuda, cuda:0, mps")
    if not _present(kind) or (index and int(index) >= torch.cuda.device_count()):
        raise UsageError(f"device {device!r} is not available to this torch; auto takes what is")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """auto becomes fp16 on CUDA and fp32 elsewhere: half precision is slower on most CPUs.

    fp16 rather than bf16, since its 11 significant bits keep features eight times closer to
    float32; overflow, its danger, is checked. Raises UsageError for an unknown precision.
    """
    if precision == "auto":
        return "fp16" if device.startswith("cuda") else "fp32"
    if precision not in _DTYPES:
        raise UsageError(f"precision {precision!r} is not one of auto, {', '.join(_DTYPES)}")
    return precision


def parameter_count(build: Callable[[], torch.nn.Module]) -> int:
    """Number of parameters of the model that `build` makes; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def _present(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or torch.backends.mps.is_available()

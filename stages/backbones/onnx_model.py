"""onnx:FILE: a model from anywhere, exported to ONNX, which knows no words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import create_transform

from clusterpipe.cache.errors import DamagedArtifact, UsageError
from clusterpipe.stages.backbones.network import resolve_device
from clusterpipe.stages.backbones.protocol import BackboneSpec
from clusterpipe.stages.backbones.timm_model import FORM
from clusterpipe.stages.backbones.weights import local_settings, sha256
from clusterpipe.stages.backbones.wordless import Wordless

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_POOLED = ("image_embeds", "embeddings", "pooler_output")  # outputs of exporters in use


@dataclass(kw_only=True, eq=False, repr=False)
class Onnx(Wordless):
    """A graph with one input (b, 3, h, w) of normalised pixels, run by onnxruntime.

    Features are its output (b, d): the only one, or the one that is called image_embeds, embeddings
    or pooler_output. `at_once` is the number of images that the graph was exported for, 0 for any.
    The preprocessing stands in a JSON file beside it. Weights in a file of their own are not read.
    """

    spec: BackboneSpec
    session: Any
    output: str
    at_once: int
    transform: Callable[[Image.Image], torch.Tensor]
    width: int
    input_shape: tuple[int, int, int]
    preprocessing: Mapping[str, Any]
    weights_digest: str
    device: str
    precision: str = "fp32"

    @classmethod
    def open(cls, spec: BackboneSpec, *, device: str, precision: str) -> "Onnx":
        """Loads the file. Raises UsageError without onnxruntime, for a graph of another form, or
        unstated preprocessing; DamagedArtifact for a file that is no graph."""
        if find_spec("onnxruntime") is None:
            raise UsageError(f"{spec.definition} needs a package: pip install onnxruntime")
        file, device = Path(spec.weights).expanduser(), _device(device)
        if precision not in ("auto", "fp32"):
            raise UsageError(
                f"{spec.definition} computes as it was exported: set embed.precision=auto"
            )
        settings = _settings(file, spec)
        session = _session(file, device)
        shape = tuple(settings["input_size"])
        _check_input(session, shape, spec)
        output = _output(session, spec)
        first = session.get_inputs()[0].shape[0]
        at_once = first if isinstance(first, int) else 0
        blank = np.zeros((at_once or 1, *shape), np.float32)
        data: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()
        }
        return cls(
            spec=spec,
            session=session,
            output=output,
            at_once=at_once,
            transform=create_transform(**data, is_training=False),
            width=session.run([output], _named(session, blank))[0].shape[-1],
            input_shape=shape,
            preprocessing=settings,
            weights_digest=sha256(file),
            device=device,
        )

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """(3, h, w) pixels of an upright RGB image. Safe to call from several threads."""
        return np.asarray(self.transform(image).numpy(), np.float32)

    def encode_images(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(b, d) features of (b, 3, h, w) prepared images, not normalised.

        Raises UsageError for features that are not finite.
        """
        size = self.at_once or len(batch)
        starts = range(0, len(batch), size)
        features = np.concatenate([self._run(batch[start : start + size]) for start in starts])
        if not np.isfinite(features).all():
            raise UsageError(f"{self.spec.definition} gives features that are not finite")
        return features

    def _run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        padded = np.zeros((self.at_once or len(pixels), *self.input_shape), np.float32)
        padded[: len(pixels)] = pixels
        found = self.session.run([self.output], _named(self.session, padded))[0]
        return np.asarray(found[: len(pixels)], np.float32)


def _device(device: str) -> str:
    """cpu or cuda, as onnxruntime has it. Raises UsageError."""
    import onnxruntime

    there = onnxruntime.get_available_providers()
    if device == "auto":
        return "cuda" if _PROVIDERS["cuda"] in there and torch.cuda.is_available() else "cpu"
    kind = resolve_device(device).partition(":")[0]
    if _PROVIDERS.get(kind) not in there:
        raise UsageError(f"this onnxruntime has no {device!r}: auto takes what is there")
    return device


def _session(file: Path, device: str) -> Any:
    """The graph from its bytes, so that it can name no other file."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    kinds = (kind for kind in vars(raised).values() if isinstance(kind, type))
    damage = tuple(kind for kind in kinds if issubclass(kind, Exception))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=[_PROVIDERS[device.partition(":")[0]]]
        )
    except damage as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedArtifact(f"{file} is no ONNX graph that can be run: {reason}") from error


def _settings(file: Path, spec: BackboneSpec) -> dict[str, Any]:
    beside = local_settings(spec)
    if beside is None:
        raise UsageError(
            f"which preprocessing does {file} expect? {FORM.show(file.with_suffix('.json'))}"
        )
    return FORM.read(beside)


def _check_input(session: Any, shape: Sequence[int], spec: BackboneSpec) -> None:
    inputs = session.get_inputs()
    wanted = inputs[0].shape[1:] if len(inputs) == 1 and len(inputs[0].shape) == 4 else None
    if wanted is None or inputs[0].type not in ("tensor(float)", "tensor(float16)"):
        said = ", ".join(f"{one.name} {one.shape} {one.type}" for one in inputs)
        raise UsageError(f"{spec.definition} takes {said}, not one array (b, 3, h, w) of floats")
    if any(isinstance(w, int) and w != s for w, s in zip(wanted, shape, strict=True)):
        raise UsageError(
            f"{spec.definition} takes {wanted}, but its settings say input_size {list(shape)}"
        )


def _output(session: Any, spec: BackboneSpec) -> str:
    """The name of the pooled features. Raises UsageError where it is not clear."""
    outputs = session.get_outputs()
    flat = [one.name for one in outputs if len(one.shape) == 2]
    named = [name for name in _POOLED if name in flat]
    if len(flat) != 1 and not named:
        said = ", ".join(f"{one.name} {one.shape}" for one in outputs)
        raise UsageError(
            f"{spec.definition} gives {said}: export one output (b, d), or call it {_POOLED[0]}"
        )
    return (named or flat)[0]


def _named(session: Any, pixels: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    only = session.get_inputs()[0]
    return {only.name: pixels.astype(np.float16) if "float16" in only.type else pixels}

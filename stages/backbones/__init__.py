"""Frozen backbones behind one protocol: images to features, and words where the family has them.

A backbone is written `name=family:model@weights`: `clip=open_clip:ViT-L-14@openai`,
`dino=timm:vit_small_patch14_dinov2.lvd142m`, `timm:resnet18.a1_in1k@weights.safetensors`,
`packaged:efficientnet-lite0`. This module imports no torch; the families are imported when a
backbone is opened.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import Embeddings
from clusterpipe.stages.backbones import weights as _weights

if TYPE_CHECKING:
    from PIL import Image

Words: TypeAlias = Literal["open", "closed", "none"]

EXAMPLES: Mapping[str, str] = {
    "open_clip": "clip=open_clip:ViT-L-14@openai",
    "timm": "dino=timm:vit_small_patch14_dinov2.lvd142m",
    "packaged": "packaged=packaged:efficientnet-lite0",
}
_DEFAULT_NAMES = {"open_clip": "clip", "timm": "timm", "packaged": "packaged"}
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_FILE_ENDINGS = {".safetensors", ".pt", ".pth", ".bin", ".npz", ".ckpt"}


@dataclass(frozen=True)
class BackboneSpec:
    """What the user asked for: the space's `name`, and where its features come from.

    `weights` is a pretrained tag, the path of a local file, or "" for the model's default.
    """

    name: str
    family: str
    model: str
    weights: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.definition}"

    @property
    def definition(self) -> str:
        """The backbone without the name of its space: `family:model@weights`."""
        return f"{self.family}:{self.model}" + (f"@{self.weights}" if self.weights else "")


class Backbone(Protocol):
    """A frozen encoder. Rows never depend on the other images of their batch.

    `preprocessing` is JSON-able and holds all that fixes the features besides the weights: size,
    crop, interpolation, mean, std, ... `weights_digest` is the SHA-256 of the weights file.
    `words` says which texts it can score: "open" for any, "closed" for its own `vocabulary()`,
    "none". The methods for words raise UsageError, which names a remedy, where there are none.
    """

    @property
    def spec(self) -> BackboneSpec: ...

    @property
    def width(self) -> int: ...

    @property
    def input_shape(self) -> tuple[int, int, int]: ...

    @property
    def weights_digest(self) -> str: ...

    @property
    def preprocessing(self) -> Mapping[str, Any]: ...

    @property
    def words(self) -> Words: ...

    @property
    def device(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def prepare(self, image: "Image.Image") -> NDArray[np.float32]:
        """(3, h, w) pixels of an upright RGB image. Safe to call from several threads."""
        ...

    def encode_images(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(b, d) features of (b, 3, h, w) prepared images, not normalised."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(t, d) features of texts, not normalised. Only where `words` is "open"."""
        ...

    def vocabulary(self) -> tuple[str, ...]:
        """The v words it knows, each once. Only where `words` is "closed"."""
        ...

    def word_probabilities(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(b, v) probabilities of its words for (b, d) raw features; rows sum to 1.

        Only where `words` is "closed".
        """
        ...

    def word_directions(self) -> NDArray[np.float32]:
        """(v, d), of any length: features grow along a row where its word fits better than others.

        Only where `words` is "closed".
        """
        ...


def parse(text: str) -> BackboneSpec:
    """The backbone written as `name=family:model@weights`; name and weights may be left out.

    Raises UsageError with the nearest valid family or an example.
    """
    head, equals, rest = text.strip().partition("=")
    name, definition = (head, rest) if equals and ":" not in head else ("", text.strip())
    family, colon, model = definition.partition(":")
    if not colon or family not in EXAMPLES:
        raise UsageError(f"backbone {text!r}: {_unknown_family(family)}")
    model, _, weights = model.partition("@")
    _check_model(text, family, model, weights)
    return BackboneSpec(_space_name(text, name or _DEFAULT_NAMES[family]), family, model, weights)


def local_weights(spec: BackboneSpec) -> Path | None:
    """The file that holds the weights, if the backbone names one or brings its own; else None.

    Weights named by a tag live in the Hugging Face cache and give None, cached or not.
    """
    if spec.family == "packaged":
        return _weights.packaged_file()
    path = Path(spec.weights).expanduser()
    return path if spec.weights and path.is_file() else None


def local_settings(spec: BackboneSpec) -> Path | None:
    """The JSON file beside local weights that states their preprocessing, if there is one."""
    file = local_weights(spec)
    if file is None or spec.family == "packaged":
        return None
    return _weights.settings_file(file, spec.family)


def open_backbone(
    spec: BackboneSpec, *, device: str = "auto", precision: str = "auto", download: bool = False
) -> Backbone:
    """Loads the backbone onto `device` (auto, cpu, cuda, cuda:N, mps).

    `precision` is auto, fp32, bf16 or fp16; auto is fp16 on CUDA (autocast, float32 weights) and
    fp32 elsewhere. Nothing is fetched unless `download`.

    Raises UsageError for an unknown model, tag, device or unstated preprocessing, WeightsMissing
    when weights are not on disk, DamagedArtifact when the file does not fit the model.
    """
    _check_file(spec)
    if spec.family == "open_clip":
        from clusterpipe.stages.backbones.open_clip_model import OpenClip

        return OpenClip.open(spec, device=device, precision=precision, download=download)
    if spec.family == "timm":
        from clusterpipe.stages.backbones.timm_model import Timm

        return Timm.open(spec, device=device, precision=precision, download=download)
    from clusterpipe.stages.backbones.packaged import EfficientNetLite0

    return EfficientNetLite0.open(spec, device=device, precision=precision)


def _unknown_family(family: str) -> str:
    near = get_close_matches(family, EXAMPLES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(EXAMPLES)}."
    example = EXAMPLES[near[0] if near else "open_clip"]
    return f"{family!r} is no backbone family{hint} An example: {example}"


def _check_model(text: str, family: str, model: str, weights: str) -> None:
    if not model:
        raise UsageError(f"backbone {text!r} names no model. An example: {EXAMPLES[family]}")
    if family == "packaged" and (model != "efficientnet-lite0" or weights):
        raise UsageError(f"backbone {text!r}: the packaged one is {EXAMPLES[family]}")


def _space_name(text: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"backbone {text!r}: a space is named by lower-case letters, digits, '-' and '_', "
            "beginning with a letter, as in clip=open_clip:ViT-L-14@openai"
        )
    if name in _reserved():
        raise UsageError(
            f"backbone {text!r}: the name {name!r} is reserved in embeddings.h5; take another, "
            "such as clip or dino"
        )
    return name


def _reserved() -> set[str]:
    """Names at the root of `embeddings.h5`, and the words that stand for several spaces."""
    declared = [field for field in fields(Embeddings) if "hdf5" in field.metadata]
    paths = [getattr(field.metadata["hdf5"], "path", "") or field.name for field in declared]
    return {path.split("/")[0] for path in paths} | {"concatenate", "embeddings", "refined"}


def _check_file(spec: BackboneSpec) -> None:
    looks_like_file = "/" in spec.weights or Path(spec.weights).suffix in _FILE_ENDINGS
    if looks_like_file and local_weights(spec) is None:
        raise UsageError(f"backbone {spec}: there is no file {spec.weights}")

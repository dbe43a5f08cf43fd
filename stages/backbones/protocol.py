"""Backbones: the spec that a user writes, and the protocol that every family keeps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_DINOV3 = re.compile(r"vit_.*_dinov3")
POOLS = ("class", "average", "class+average")

Words: TypeAlias = Literal["open", "closed", "none"]

EXAMPLES: Mapping[str, str] = {
    "open_clip": "clip=open_clip:ViT-L-14@openai",
    "timm": "dino=timm:vit_small_patch14_dinov2.lvd142m",
    "packaged": "packaged=packaged:efficientnet-lite0",
    "onnx": "mine=onnx:model.onnx",
    "python": "mine=python:my_module.encode",
}


@dataclass(frozen=True)
class BackboneSpec:
    """Backbone as the user wrote it: the space's `name`, and where its features come from.

    `weights` is a pretrained tag, the path of a local file, or "" for the model's default; of a
    family whose files hold the model as well, `model` is "". `size`
    is the pixels of the square input, 0 for the model's own; `pool` says which tokens of a vision
    transformer become the features: class, average, class+average, or "" for what its authors
    evaluate.
    """

    name: str
    family: str
    model: str
    weights: str = ""
    size: int = 0
    pool: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.definition}"

    @property
    def definition(self) -> str:
        """The backbone without the name of its space: `family:model@weights?options`."""
        where = "@".join(filter(None, (self.model, self.weights)))
        return f"{self.family}:{where}{self.options}"

    @property
    def options(self) -> str:
        """Options after the model, such as `?size=224&pool=class`; "" if there are none."""
        asked = {"size": self.size, "pool": self.pool}
        pairs = "&".join(f"{key}={value}" for key, value in asked.items() if value)
        return f"?{pairs}" if pairs else ""


def authors_pool(spec: BackboneSpec) -> str:
    """The pooling that a model's authors evaluate where the library's differs, else "".

    timm averages the patch tokens of DINOv3's transformers; their authors take the class token.
    """
    return "class" if spec.family == "timm" and _DINOV3.match(spec.model) else ""


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

"""Backbones worth knowing, with what one wants to know before fetching them.

Any other model of open_clip and timm can be named as well. Figures are those of the libraries; a
test holds them equal. Nothing here imports torch or opens a socket.
"""

import csv
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import get_type_hints

from clusterpipe.stages.backbones import BackboneSpec, Words, local_weights, parse
from clusterpipe.stages.backbones.weights import HubFile

_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TIMM = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Model:
    """A backbone: `parameters` of the whole model, `width` d, `pixels` of its square input.

    `gmacs` are the thousand million multiplications that an image takes. `licence` is that of the
    weights, "not stated" where their makers do not say; `licence_source` is where it stands.
    """

    definition: str
    parameters: int
    width: int
    pixels: int
    gmacs: float
    words: Words
    licence: str
    licence_source: str
    trained_on: str
    repository: str = ""

    @cached_property
    def spec(self) -> BackboneSpec:
        return parse(self.definition)

    @property
    def bytes(self) -> int:
        """Size of the weights as float32."""
        return 4 * self.parameters

    def on_disk(self) -> Path | None:
        """The weights' file, if it is here; asks no server."""
        if not self.repository:
            return local_weights(self.spec)
        names = _OPEN_CLIP if self.spec.family == "open_clip" else _TIMM
        return HubFile(self.repository, names).cached()


def _models() -> tuple[Model, ...]:
    text = (files(__package__) / "catalogue.csv").read_text(encoding="utf-8")
    kinds = {name: kind for name, kind in get_type_hints(Model).items() if kind in (int, float)}
    rows = csv.DictReader(text.splitlines())
    return tuple(
        Model(**{name: kinds.get(name, str)(value) for name, value in row.items()}) for row in rows
    )


MODELS: tuple[Model, ...] = _models()

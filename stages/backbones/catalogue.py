"""Backbones worth knowing, with what one wants to know before fetching them.

Any other model of open_clip and timm can be named as well. Figures are those of the libraries; a
test holds them equal. Nothing here imports torch or opens a socket.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from clusterpipe.stages.backbones import BackboneSpec, Words, local_weights, parse
from clusterpipe.stages.backbones.weights import HubFile

_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_UNSTATED = "OpenAI licensed the code (MIT), not the weights: openai/CLIP issues 203 and 241"
_LAION = "the maintainers, open_clip issues 177 and 503"
_METADATA = "timm's metadata"
_TIMM = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Model:
    """A backbone: `parameters` of the whole model, `width` d, `pixels` of its square input.

    `licence` is that of the weights, "not stated" where their makers do not say; `licence_source`
    is where it stands.
    """

    definition: str
    parameters: int
    width: int
    pixels: int
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


MODELS: tuple[Model, ...] = (
    Model(
        "packaged=packaged:efficientnet-lite0",
        4_652_008,
        1280,
        224,
        "closed",
        "Apache-2.0",
        "the package's LICENSE",
        "ImageNet-1k, supervised",
    ),
    Model(
        "clip=open_clip:ViT-B-32@openai",
        151_277_313,
        512,
        224,
        "open",
        "not stated",
        _UNSTATED,
        "400M image-text pairs (OpenAI)",
        "timm/vit_base_patch32_clip_224.openai",
    ),
    Model(
        "clip=open_clip:ViT-B-16@openai",
        149_620_737,
        512,
        224,
        "open",
        "not stated",
        _UNSTATED,
        "400M image-text pairs (OpenAI)",
        "timm/vit_base_patch16_clip_224.openai",
    ),
    Model(
        "clip=open_clip:ViT-L-14@openai",
        427_616_513,
        768,
        224,
        "open",
        "not stated",
        _UNSTATED,
        "400M image-text pairs (OpenAI)",
        "timm/vit_large_patch14_clip_224.openai",
    ),
    Model(
        "clip=open_clip:ViT-B-32@laion2b_s34b_b79k",
        151_277_313,
        512,
        224,
        "open",
        "MIT",
        _LAION,
        "LAION-2B",
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    ),
    Model(
        "clip=open_clip:ViT-L-14@datacomp_xl_s13b_b90k",
        427_616_513,
        768,
        224,
        "open",
        "MIT",
        "its model card",
        "DataComp-1B",
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
    ),
    Model(
        "clip=open_clip:ViT-H-14@laion2b_s32b_b79k",
        986_109_441,
        1024,
        224,
        "open",
        "MIT",
        _LAION,
        "LAION-2B",
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    ),
    Model(
        "dino=timm:vit_small_patch14_dinov2.lvd142m",
        22_056_192,
        384,
        518,
        "none",
        "Apache-2.0",
        _METADATA,
        "LVD-142M, self-supervised",
        "timm/vit_small_patch14_dinov2.lvd142m",
    ),
    Model(
        "dino=timm:vit_base_patch14_dinov2.lvd142m",
        86_579_712,
        768,
        518,
        "none",
        "Apache-2.0",
        _METADATA,
        "LVD-142M, self-supervised",
        "timm/vit_base_patch14_dinov2.lvd142m",
    ),
    Model(
        "dino=timm:vit_large_patch14_dinov2.lvd142m",
        304_367_616,
        1024,
        518,
        "none",
        "Apache-2.0",
        _METADATA,
        "LVD-142M, self-supervised",
        "timm/vit_large_patch14_dinov2.lvd142m",
    ),
    Model(
        "dino=timm:vit_base_patch16_dinov3.lvd1689m",
        85_641_216,
        768,
        256,
        "none",
        "DINOv3 licence",
        _METADATA,
        "LVD-1689M, self-supervised",
        "timm/vit_base_patch16_dinov3.lvd1689m",
    ),
)

"""Presets: pairs of a space that clusters and a space that names, by one word."""

from collections.abc import Iterable, Mapping

PRESETS: Mapping[str, tuple[str, str]] = {
    "fast": (
        "dino=timm:vit_small_patch14_dinov2.lvd142m?size=224",
        "clip=open_clip:ViT-B-32@datacomp_xl_s13b_b90k",
    ),
    "balanced": (
        "dino=timm:vit_base_patch14_dinov2.lvd142m?size=224",
        "clip=open_clip:ViT-L-14@datacomp_xl_s13b_b90k",
    ),
    "best": (
        "dino=timm:vit_large_patch14_dinov2.lvd142m?size=224",
        "clip=open_clip:PE-Core-L-14-336@meta",
    ),
}
"""By name: the first space is clustered, the second finds words for the clusters.

All are free to use for any purpose (Apache-2.0, MIT) and need no further library. That DINOv2
clusters and CLIP names follows the published figures of SCP's variants; here it is not measured,
for want of both kinds of features of the same images.
"""


def expanded(backbones: Iterable[str]) -> tuple[str, ...]:
    """The backbones, with the two of a preset in place of its name."""
    return tuple(one for text in backbones for one in PRESETS.get(text.strip(), (text,)))

"""Frozen backbones behind one protocol: images to features, and words where the family has them.

A backbone is written `name=family:model@weights?options`, such as
`clip=open_clip:ViT-L-14@openai`, `timm:resnet18.a1_in1k@weights.safetensors`,
`dino=timm:vit_small_patch14_dinov2.lvd142m?size=224&pool=class+average`, `onnx:model.onnx`,
`python:my_module.encode` or `packaged:efficientnet-lite0`; a preset (`presets`) stands for two.
This module imports no torch; the families are imported when a backbone is opened.
"""

import re
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.schema import Embeddings
from clusterpipe.stages.backbones.presets import PRESETS
from clusterpipe.stages.backbones.protocol import (
    EXAMPLES,
    POOLS,
    Backbone,
    BackboneSpec,
    Words,
    authors_pool,
)
from clusterpipe.stages.backbones.weights import local_settings, local_weights

__all__ = [
    "EXAMPLES",
    "Backbone",
    "BackboneSpec",
    "Words",
    "authors_pool",
    "local_settings",
    "local_weights",
    "open_backbone",
    "parse",
]

_DEFAULT_NAMES = {"open_clip": "clip"}  # other spaces are called like their family
_FUNCTION = re.compile(r"\w+(\.\w+)+")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_OPTIONS = re.compile(r"\?((?:[a-z]+=[^&=/?]*)(?:&[a-z]+=[^&=/?]*)*)$")
_FILE_ENDINGS = {".safetensors", ".pt", ".pth", ".bin", ".npz", ".ckpt", ".onnx"}


def parse(text: str) -> BackboneSpec:
    """The backbone written as `name=family:model@weights?options`; only the model must be there.

    Raises UsageError with the nearest valid family or an example.
    """
    asked = _OPTIONS.search(text.strip())
    plain = text.strip()[: asked.start()] if asked else text.strip()
    head, equals, rest = plain.partition("=")
    name, definition = (head, rest) if equals and ":" not in head else ("", plain)
    family, colon, model = definition.partition(":")
    if not colon or family not in EXAMPLES:
        raise UsageError(f"backbone {text!r}: {_unknown_family(family)}")
    model, _, weights = model.partition("@") if family != "onnx" else ("", "", model)
    _check_model(text, family, model, weights)
    space = _space_name(text, name or _DEFAULT_NAMES.get(family, family))
    options = _options(text, family, asked[1]) if asked else {}
    return BackboneSpec(space, family, model, weights, **options)


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
    if spec.family == "onnx":
        from clusterpipe.stages.backbones.onnx_model import Onnx

        return Onnx.open(spec, device=device, precision=precision)
    if spec.family == "python":
        from clusterpipe.stages.backbones.python_function import PythonFunction

        return PythonFunction.open(spec, device=device)
    from clusterpipe.stages.backbones.packaged import EfficientNetLite0

    return EfficientNetLite0.open(spec, device=device, precision=precision)


def _unknown_family(family: str) -> str:
    near = get_close_matches(family, EXAMPLES, n=1)
    known = f"; known: {', '.join(EXAMPLES)}, and the presets {', '.join(PRESETS)}."
    hint = f"; did you mean {near[0]!r}?" if near else known
    example = EXAMPLES[near[0] if near else "open_clip"]
    return f"{family!r} is no backbone family{hint} An example: {example}"


def _check_model(text: str, family: str, model: str, weights: str) -> None:
    if not (model or weights):
        raise UsageError(f"backbone {text!r} names no model. An example: {EXAMPLES[family]}")
    if family == "packaged" and (model != "efficientnet-lite0" or weights):
        raise UsageError(f"backbone {text!r}: the packaged one is {EXAMPLES[family]}")
    if family == "python" and not _FUNCTION.fullmatch(model):
        raise UsageError(f"backbone {text!r} names no function. An example: {EXAMPLES[family]}")


def _options(text: str, family: str, asked: str) -> dict[str, Any]:
    """The `size` and `pool` asked for. Raises UsageError for other names, values and families."""
    pairs = dict(pair.split("=") for pair in asked.split("&"))
    if family != "timm" or not pairs.keys() <= {"size", "pool"}:
        raise UsageError(
            f"backbone {text!r}: after '?' a timm model takes size=PIXELS and pool="
            f"{'|'.join(POOLS)}, other families nothing. An example: {EXAMPLES['timm']}?size=224"
        )
    pool, size = pairs.get("pool", ""), pairs.get("size", "0")
    if "pool" in pairs and pool not in POOLS:
        raise UsageError(f"backbone {text!r}: pool is one of {', '.join(POOLS)}, not {pool!r}")
    if not size.isdecimal() or ("size" in pairs and not int(size)):
        raise UsageError(f"backbone {text!r}: size is a number of pixels such as 224, not {size!r}")
    return {"size": int(size), "pool": pool}


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
    looks_like_file = (
        spec.family == "onnx" or "/" in spec.weights or Path(spec.weights).suffix in _FILE_ENDINGS
    )
    if looks_like_file and local_weights(spec) is None:
        raise UsageError(f"backbone {spec}: there is no file {spec.weights}")

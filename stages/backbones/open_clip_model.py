"""open_clip:<model>@<tag or local file>: CLIP and its kin, which score any words."""

import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2

from clusterpipe.cache.errors import UsageError, WeightsMissing
from clusterpipe.stages.backbones.network import UNREADABLE, Network, parameter_count
from clusterpipe.stages.backbones.protocol import BackboneSpec, Words
from clusterpipe.stages.backbones.weights import (
    HubFile,
    SettingsForm,
    agreed,
    does_not_fit,
    local_settings,
    local_weights,
    require,
    sha256,
)

_FORM = SettingsForm(
    example={
        "size": 224,
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "quick_gelu": False,
    },
    optional=("size",),
    choices={
        "interpolation": ("bicubic", "bilinear"),
        "resize_mode": ("shortest", "longest", "squash"),
    },
)
_DEFAULT_FILE = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(kw_only=True, eq=False, repr=False)
class OpenClip(Network):
    """An open_clip model: d-wide features of images and texts in one space.

    `preprocessing` also states `quick_gelu`, the activation the weights were trained with:
    open_clip only warns when a tag needs it and the architecture lacks it (ViT-L-14 with openai),
    and features come out different.
    """

    words: ClassVar[Words] = "open"

    download: bool

    @classmethod
    def open(cls, spec: BackboneSpec, *, device: str, precision: str, download: bool) -> "OpenClip":
        """Loads the weights from a local file or the Hugging Face cache."""
        architecture = _architecture(spec)
        local = local_weights(spec)
        settings = dict(_local_settings(spec, local) if local else _tag_settings(spec))
        file = local or _published(spec, download)
        model = _load(spec, file, settings)
        preprocess = PreprocessCfg(**model.visual.preprocess_cfg)
        return cls(
            spec=spec,
            model=model,
            transform=image_transform_v2(preprocess, is_train=False),
            width=architecture["embed_dim"],
            input_shape=preprocess.input_size,
            preprocessing=_stated(preprocess, settings["quick_gelu"]),
            weights_digest=sha256(file),
            device=device,
            precision=precision,
            download=download,
        )

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(t, d) features of texts, not normalised."""
        tokens = self._tokenizer(list(texts)).to(self.device)
        with torch.inference_mode(), self._arithmetic():
            features = self.model.encode_text(tokens)
        return self._finite(features)

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.encode_image(pixels)
        return features

    @cached_property
    def _tokenizer(self) -> Any:
        """open_clip's own, which it carries, or one of Hugging Face, which needs transformers."""
        if "hf_tokenizer_name" not in open_clip.get_model_config(self.spec.model)["text_cfg"]:
            return open_clip.get_tokenizer(self.spec.model)
        _need_transformers(self.spec)
        try:
            return open_clip.get_tokenizer(self.spec.model, local_files_only=not self.download)
        except OSError as error:
            raise WeightsMissing(
                f"the tokenizer of {self.spec.definition} is not on disk; allow the download"
            ) from error


def _architecture(spec: BackboneSpec) -> dict[str, Any]:
    """open_clip's configuration of the model. Raises UsageError with the nearest models."""
    known = open_clip.list_models()
    if spec.model not in known:
        near = get_close_matches(spec.model, known, n=3, cutoff=0.5)
        raise UsageError(
            f"open_clip has no model {spec.model!r}; the nearest: {', '.join(near) or 'none'}"
        )
    architecture: dict[str, Any] = open_clip.get_model_config(spec.model)
    if "hf_model_name" in architecture["text_cfg"]:
        _need_transformers(spec)
    return architecture


def _need_transformers(spec: BackboneSpec) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(
            f"the texts of {spec.definition} need the library transformers: "
            "python -m pip install transformers, or take an open_clip model without it, "
            "such as ViT-L-14@openai"
        )


# ---------------------------------------------------------------- weights and their settings


def _tag(spec: BackboneSpec) -> dict[str, Any]:
    """Settings that open_clip publishes under the tag. Raises UsageError with the model's tags."""
    found: dict[str, Any] = get_pretrained_cfg(spec.model, spec.weights)
    if not found:
        tags = open_clip.list_pretrained_tags_by_model(spec.model)
        asked = f"has no weights {spec.weights!r}" if spec.weights else "needs its weights named"
        choice = f"one of {', '.join(tags)}, or a file" if tags else "a local file"
        raise UsageError(f"open_clip:{spec.model} {asked}: put {choice} after '@'")
    return found


def _published(spec: BackboneSpec, download: bool) -> Path:
    repository, _, name = _tag(spec)["hf_hub"].rpartition("/")
    names = (f"{Path(name).stem}.safetensors", name) if name else _DEFAULT_FILE
    if name == "pytorch_model.bin":
        names = ("model.safetensors", *names)
    return require(
        HubFile(repository, names),
        spec,
        parameters=lambda: parameter_count(lambda: _untrained(spec.model)),
        download=download,
    )


def _untrained(model: str) -> torch.nn.Module:
    with _unremarked(), torch.device("meta"):
        built: torch.nn.Module = open_clip.create_model(model, load_weights=False, device="meta")
    return built


@contextmanager
def _unremarked() -> Iterator[None]:
    """Without open_clip's warning that the weights are random, which here is the purpose."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _tag_settings(spec: BackboneSpec) -> Mapping[str, Any]:
    return _settings(spec.model, _tag(spec))


def _settings(model: str, tag: Mapping[str, Any]) -> dict[str, Any]:
    """A tag's preprocessing and activation; a tag that is silent means the architecture's."""
    named = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    built_in = open_clip.get_model_config(model).get("quick_gelu", False)
    return {**named, "quick_gelu": tag.get("quick_gelu", built_in)}


def _local_settings(spec: BackboneSpec, file: Path) -> Mapping[str, Any]:
    """The preprocessing of a local file: stated beside it, or the same for all known weights.

    open_clip itself silently takes its defaults (its issue 1068).
    """
    stated = local_settings(spec)
    if stated:
        return _FORM.read(stated)
    tags = open_clip.list_pretrained_tags_by_model(spec.model)
    known = agreed([_settings(spec.model, get_pretrained_cfg(spec.model, tag)) for tag in tags])
    if known is None:
        raise UsageError(
            f"which preprocessing do the weights in {file} expect? {spec.model} has been trained "
            f"with several. {_FORM.show(file.with_suffix('.json'))}"
        )
    return known


def _load(spec: BackboneSpec, file: Path, settings: Mapping[str, Any]) -> open_clip.CLIP:
    try:
        return open_clip.create_model(
            spec.model,
            pretrained=str(file),
            force_preprocess_cfg=dict(settings),
            quick_gelu=settings["quick_gelu"],
        )
    except UNREADABLE as error:
        raise does_not_fit(file, spec, error) from error


def _stated(preprocess: PreprocessCfg, quick_gelu: bool) -> dict[str, Any]:
    fields = {**vars(preprocess), "quick_gelu": quick_gelu}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in fields.items()}

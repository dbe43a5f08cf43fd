"""Writes and reads artifacts: dataclasses of `cache.schema` to plain HDF5 and back, checked.

Every dataset carries `dims`, `unit`, `doc` and `content_id`; the root carries the format, the
schema and the provenance. Large matrices come back as `StoredRows`, read by slices.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import gate, seal, storage
from clusterpipe.cache import provenance as origin
from clusterpipe.cache.errors import DamagedArtifact
from clusterpipe.cache.gate import opened, remedy
from clusterpipe.cache.rows import Rows, blocks
from clusterpipe.cache.schema import FORMAT, TEXT, Artifact, Attribute, Dataset, Groups, Members

A = TypeVar("A", bound=Artifact)

ABSENT = "absent"
_KINDS = {"int": "iu", "float": "f", "str": "O"}
_TEXT = h5py.string_dtype()
# The oldest file format whose metadata carry checksums (HDF5 1.10, 2016).
_LIBVER = ("v110", "v110")
_NODE_BYTES, _RUN_BYTES, _TEXT_BYTES = 4096, 512, 48


@dataclass(frozen=True)
class StoredRows:
    """A matrix in an HDF5 file, read by row slices; the file is open only while it is read."""

    path: Path
    dataset: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        with opened(self.path) as file, explained(self.path):
            node = file[self.dataset]
            if node.is_virtual:
                check_sources(node, self.path, rows)
            return np.asarray(node[rows])


@dataclass(frozen=True)
class VirtualRows:
    """A matrix made of runs of rows in other files, written as an HDF5 virtual dataset.

    `runs` are (file, dataset, start, stop) in order; `digest` is the content id that the rows
    have wherever they are stored.
    """

    runs: tuple[tuple[Path, str, int, int], ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    digest: str

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        position = 0
        for path, dataset, first, last in self.runs:
            low, high = max(start, position), min(stop, position + last - first)
            if low < high:
                with opened(path) as file, explained(path):
                    offset = first - position
                    out[low - start : high - start] = file[dataset][low + offset : high + offset]
            position += last - first
        return out


@dataclass(frozen=True)
class Header:
    """The root attributes of an artifact: its identity, content id and provenance."""

    artifact: str
    identity: origin.Identity
    key: str
    content_id: str
    attributes: Mapping[str, Any]


# ---------------------------------------------------------------- writing


def write(path: Path, artifact: Artifact, provenance: origin.Provenance) -> str:
    """Writes `artifact` to `path` whole or not at all; returns its content id.

    Raises StorageError when the disk refuses and DamagedArtifact when the record does not fit
    its own schema, in both cases leaving what was there.
    """
    with storage.replacing(path) as temporary, _refusals():
        storage.reserve(temporary, _room(artifact))
        with h5py.File(temporary, "w", libver=_LIBVER, userblock_size=seal.BLOCK) as file:
            contents = dict(_write_record(file, artifact))
            _build(file, type(artifact), path, load=False)
            content_id = origin.digest(origin.canonical(contents).encode())
            file.attrs["format"] = FORMAT
            file.attrs["artifact"] = artifact.name
            file.attrs["content_id"] = content_id
            file.attrs.update(provenance.attributes())
        seal.stamp(temporary, content_id)
    gate.trust(path)
    return content_id


@contextmanager
def _refusals() -> Iterator[None]:
    """HDF5 tells of a full disk by a RuntimeError as well, with the error's number in its text."""
    try:
        yield
    except RuntimeError as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _room(record: Any) -> int:
    """Bytes that a file of `record` takes at the most: the data, and what HDF5 adds."""
    total = seal.BLOCK
    for field in fields(record):
        spec, value = field.metadata["hdf5"], getattr(record, field.name)
        if isinstance(spec, Groups):
            sizes = [_room(member) for member in value.values()]
        elif isinstance(spec, Members):
            sizes = [array.nbytes for array in value.values()]
        else:
            sizes = [] if value is None else [_bytes(value)]
        total += sum(sizes) + _NODE_BYTES * (1 + len(sizes))
    return total


def _bytes(value: Any) -> int:
    if isinstance(value, VirtualRows):
        return sum(_RUN_BYTES + len(os.fsencode(path)) for path, *_ in value.runs)
    like = value if hasattr(value, "dtype") else np.asarray(value)
    if like.dtype.kind in "OUT":
        return sum(_TEXT_BYTES + 2 * len(str(text).encode()) for text in np.ravel(like))
    return math.prod(like.shape) * int(like.dtype.itemsize)


def _write_record(group: h5py.Group, record: Any) -> Iterator[tuple[str, str]]:
    for field in fields(record):
        spec, value = field.metadata["hdf5"], getattr(record, field.name)
        if isinstance(spec, Groups):
            for name, member in value.items():
                yield from _write_record(group.create_group(name), member)
        elif isinstance(spec, Members):
            parent = group.create_group(field.name)
            for name, array in value.items():
                shape = " ".join(f"{name}{axis}" for axis in range(np.ndim(array)))
                yield _write_dataset(parent, name, Dataset(shape, "float", spec.doc), array)
        elif isinstance(spec, Attribute):
            group.attrs[field.name] = value
            yield f"{group.name}@{field.name}", origin.canonical(value)
        elif value is not None:
            written = _write_dataset(group, spec.path or field.name, spec, value)
            if not spec.address:
                yield written


def _write_dataset(group: h5py.Group, name: str, spec: Dataset, value: Any) -> tuple[str, str]:
    if isinstance(value, VirtualRows):
        node, content_id = _write_virtual(group, name, value), value.digest
    elif spec.kind == "str":
        node, content_id = _write_text(group, name, value)
    elif isinstance(value, np.ndarray) or np.isscalar(value):
        array = np.asarray(value)
        node, content_id = group.create_dataset(name, data=array), content_digest([array], array)
    else:
        node, content_id = _write_rows(group, name, value)
    node.attrs.update(dims=spec.dims, unit=spec.unit, doc=spec.doc, content_id=content_id)
    return node.name, content_id


def _write_rows(group: h5py.Group, name: str, rows: Rows) -> tuple[h5py.Dataset, str]:
    node = group.create_dataset(name, rows.shape, rows.dtype)

    def written() -> Iterator[NDArray[Any]]:
        start = 0
        for block in blocks(rows):
            node[start : start + len(block)] = block
            start += len(block)
            yield block

    return node, content_digest(written(), rows)


def _write_text(group: h5py.Group, name: str, value: Any) -> tuple[h5py.Dataset, str]:
    array = np.asarray(value, dtype=object)
    node = group.create_dataset(name, array.shape, _TEXT)
    if array.size:
        node[...] = array
    return node, text_digest(array)


def _write_virtual(group: h5py.Group, name: str, rows: VirtualRows) -> h5py.Dataset:
    folder = Path(group.file.filename).parent
    layout = h5py.VirtualLayout(rows.shape, rows.dtype)
    position = 0
    for path, dataset, first, last in rows.runs:
        with opened(path) as file:
            size = file[dataset].shape
        source = h5py.VirtualSource(
            path.relative_to(folder).as_posix(), dataset, size, dtype=rows.dtype
        )
        layout[position : position + last - first] = source[first:last]
        position += last - first
    return group.create_virtual_dataset(name, layout, fillvalue=np.nan)


def content_digest(parts: Any, like: Any) -> str:
    """Content id of an array given as consecutive parts: its dtype, shape and bytes."""
    state = blake2b(f"{like.dtype.str}{tuple(like.shape)}".encode(), digest_size=16)
    for part in parts:
        state.update(np.ascontiguousarray(part).tobytes())
    return state.hexdigest()


def text_digest(array: NDArray[np.object_]) -> str:
    """Content id of an array of strings."""
    return origin.digest(origin.canonical([list(array.shape), array.ravel().tolist()]).encode())


# ---------------------------------------------------------------- reading


def read(path: Path, artifact: type[A], *, compact: bool = False) -> A:
    """Reads and checks a whole artifact; n x d matrices stay on disk behind `StoredRows`.

    `compact` gives strings in NumPy's own type, at a fraction of the memory of Python's.

    Raises MissingArtifact, naming the command that makes it, or DamagedArtifact, naming what is
    wrong: not HDF5, foreign, another schema, a missing or misshapen dataset, a lost shard.
    """
    header(path, artifact)
    with opened(path, artifact) as file:
        record: A = _build(file, artifact, path, compact=compact)
    return record


def check(path: Path, artifact: type[Artifact]) -> None:
    """Checks an artifact against its schema without loading its data. Raises like `read`."""
    header(path, artifact)
    with opened(path, artifact) as file:
        _build(file, artifact, path, load=False)


def read_value(path: Path, artifact: type[Artifact], place: str) -> Any:
    """One dataset ("clip/features"), attribute ("clip@words") or, for "", everything.

    A missing dataset gives None. Raises like `read`.
    """
    if not place:
        return read(path, artifact)
    header(path, artifact)
    with opened(path, artifact) as file, explained(path):
        if "@" in place:
            return _attribute(file, place, None)
        if place not in file:
            return None
        node = file[place]
        _check_stored(node, path)
        return _load(node, path, lazy=node.ndim >= 2 and place.endswith(("features", "views")))


def content_id(path: Path, artifact: type[Artifact], place: str) -> str:
    """Content id of what `read_value` would give; "absent" for what is not there."""
    return content_ids(path, artifact, [place])[place]


def content_ids(path: Path, artifact: type[Artifact], places: Iterable[str]) -> dict[str, str]:
    """Content ids of several places of one file, which is opened once. Raises like `read`."""
    with opened(path, artifact) as file, explained(path):
        return {place: _content_id(file, path, artifact, place) for place in places}


def _content_id(file: h5py.File, path: Path, artifact: type[Artifact], place: str) -> str:
    if not place:
        return _header(file, path, artifact).content_id
    if "@" in place:
        return origin.canonical(_attribute(file, place, ABSENT))
    return str(file[place].attrs["content_id"]) if place in file else ABSENT


def header(path: Path, artifact: type[Artifact] | None = None) -> Header:
    """The root attributes, without touching the data. Raises like `read`."""
    with opened(path, artifact) as file:
        return _header(file, path, artifact)


def _header(file: h5py.File, path: Path, artifact: type[Artifact] | None) -> Header:
    with explained(path):
        found = {name: plain(value) for name, value in file.attrs.items()}
    if str(found.get("format")) != FORMAT:
        raise DamagedArtifact(f"{path} is not a clusterpipe artifact; move it away")
    if artifact and found.get("artifact") != artifact.name:
        raise DamagedArtifact(f"{path} holds {found.get('artifact')}, not {artifact.name}")
    if artifact and found.get("schema") != artifact.schema:
        raise DamagedArtifact(
            f"{path} has schema {found.get('schema')}, this version reads {artifact.schema}: "
            f"{remedy(path, artifact)}"
        )
    try:
        return Header(
            str(found["artifact"]),
            origin.stored_identity(found),
            str(found["key"]),
            str(found["content_id"]),
            found,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedArtifact(f"{path} is incomplete ({error}): it was not stamped") from error


def names(path: Path, artifact: type[Artifact]) -> list[str]:
    """The group names of an artifact that has one group per name."""
    declared = [f.metadata["hdf5"] for f in fields(artifact)]
    own = {spec.path.split("/")[0] for spec in declared if isinstance(spec, Dataset)}
    with opened(path, artifact) as file, explained(path):
        return [name for name in file if isinstance(file[name], h5py.Group) and name not in own]


def _build(
    group: h5py.Group, record: type[Any], path: Path, *, load: bool = True, compact: bool = False
) -> Any:
    """The record stored in `group`, checked; with `load` off, checked only."""
    with explained(path):
        return _Builder(path, load, compact).record(group, record, {})


@dataclass(frozen=True)
class _Builder:
    path: Path
    load: bool
    compact: bool

    def record(self, group: h5py.Group, record: type[Any], sizes: dict[str, int]) -> Any:
        return record(**{f.name: self._field(group, f, sizes) for f in fields(record)})

    def _field(self, group: h5py.Group, field: Field[Any], sizes: dict[str, int]) -> Any:
        spec = field.metadata["hdf5"]
        if isinstance(spec, Groups):
            return {
                name: self.record(group[name], spec.of, dict(sizes))
                for name in group
                if holds(spec.of, group[name])
            }
        if isinstance(spec, Members):
            parent = group[field.name]
            return {name: self._array(parent[name]) for name in parent} if self.load else {}
        if isinstance(spec, Attribute):
            return plain(group.attrs[field.name])
        return self._dataset(
            group, spec.path or field.name, spec, sizes, lazy=field.type in (Rows, Rows | None)
        )

    def _array(self, node: Any) -> Any:
        _check_stored(node, self.path)
        return node[...]

    def _dataset(
        self, group: h5py.Group, place: str, spec: Dataset, sizes: dict[str, int], *, lazy: bool
    ) -> Any:
        if place not in group:
            if spec.optional:
                return None
            raise DamagedArtifact(f"{self.path} lacks {group.name.rstrip('/')}/{place}")
        node = group[place]
        _check_stored(node, self.path)
        _check(node, spec, self.path, sizes)
        return _load(node, self.path, lazy=lazy, compact=self.compact) if self.load else None


def holds(record: type[Any], node: Any) -> bool:
    """True if `node` is a group with something of `record` in it."""
    return isinstance(node, h5py.Group) and any(
        f.name in node or f.name in node.attrs for f in fields(record)
    )


def _check_stored(node: Any, path: Path) -> None:
    """Checks that a node is a dataset, and that what it points to is there."""
    if not isinstance(node, h5py.Dataset):
        raise DamagedArtifact(f"{path} {node.name} is not a dataset")
    if node.is_virtual:
        check_sources(node, path)


def _check(node: h5py.Dataset, spec: Dataset, path: Path, sizes: dict[str, int]) -> None:
    if node.dtype.kind not in _KINDS[spec.kind]:
        raise DamagedArtifact(f"{path} {node.name} holds {node.dtype}, expected {spec.kind}")
    symbols = spec.dims.split()
    if len(symbols) != node.ndim:
        raise DamagedArtifact(f"{path} {node.name} has shape {node.shape}, expected ({spec.dims})")
    for symbol, size in zip(symbols, node.shape, strict=True):
        expected = int(symbol) if symbol.isdigit() else sizes.setdefault(symbol, size)
        if size != expected:
            raise DamagedArtifact(
                f"{path} {node.name} has {size} along {symbol}, other datasets have {expected}"
            )


def _load(node: h5py.Dataset, path: Path, *, lazy: bool, compact: bool = False) -> Any:
    if lazy:
        return StoredRows(path, node.name, node.shape, node.dtype)
    if node.dtype.kind == "O" and compact and node.ndim:
        return node.astype(TEXT)[()]
    if node.dtype.kind == "O":
        value = node.asstr()[()]
        return value if isinstance(value, str) else np.asarray(value, dtype=object)
    value = node[()]
    return value.item() if node.ndim == 0 else value


def check_sources(node: h5py.Dataset, path: Path, rows: slice = slice(None)) -> None:
    """Verifies the shards that `rows` of a virtual dataset are in; HDF5 reads NaN for a lost one.

    Raises DamagedArtifact, naming the shard.
    """
    folder = Path(node.file.filename).resolve().parent
    embed = f"run `clusterpipe embed --run-dir {path.parent}` again, only lost images are embedded"
    expected = dict(zip(node.parent["shard"].asstr(), node.parent["shard_id"].asstr(), strict=True))
    start, stop, _ = rows.indices(node.shape[0])
    for source in _sources(node, start, stop):
        shard = folder / source
        if not shard.exists():
            raise DamagedArtifact(f"{shard} is missing, {path} points to it: {embed}")
        try:
            found = gate.content_id(shard)
        except DamagedArtifact as error:
            raise DamagedArtifact(f"{shard} is damaged: {embed}") from error
        if found != expected.get(source):
            raise DamagedArtifact(f"{shard} is not the one {path} was built from: {embed}")


def _sources(node: h5py.Dataset, start: int, stop: int) -> list[str]:
    """The files that rows start..stop of a virtual dataset are in."""
    found = set[str]()
    for source in node.virtual_sources():
        first, last = source.vspace.get_select_bounds()
        if first[0] < stop and last[0] >= start:
            found.add(source.file_name)
    return sorted(found)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Names the file when HDF5 finds it damaged half-way through."""
    try:
        yield
    except (KeyError, RuntimeError, UnicodeError) as error:
        raise DamagedArtifact(f"{path} is damaged: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedArtifact(f"{path} is damaged: {error}") from error


def _attribute(file: h5py.File, place: str, default: Any) -> Any:
    group, name = place.split("@")
    if group and group not in file:
        return default
    return plain(file[group or "/"].attrs.get(name, default))


def plain(value: Any) -> Any:
    """An attribute's value as Python's own type."""
    if isinstance(value, np.generic):
        return value.item()
    return value

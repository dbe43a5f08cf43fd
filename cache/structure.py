"""Places of the data of an HDF5 file: nothing outside its folder, nothing that is not there.

HDF5 reads zeros for what was never written and for sources that are missing, follows links and
external storage into any file of the user, and a virtual dataset into itself for ever.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py

_LINKS = 16  # soft links in a row; more are taken for a circle


class Unsound(Exception):
    """A reason, for people, not to read a dataset."""


def dataset(
    file: h5py.File, name: str, folder: Path, chain: frozenset[tuple[str, str]] = frozenset()
) -> h5py.Dataset | None:
    """The dataset `name`, all of whose data are in the file or, if virtual, in files of `folder`.

    None for a group, and for a dataset without a shape. No data are read. Raises Unsound, saying
    what the matter is, for a link or storage elsewhere, a virtual dataset whose sources are
    missing, elsewhere, of another shape or itself, and for a shape of which parts were never
    written. `chain` names the virtual datasets that lead here.
    """
    node = file[_resolved(file, name)]
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        return None
    if node.external:
        raise Unsound(f"keeps its data in another file ({node.external[0][0]!r})")
    if node.is_virtual:
        _check_virtual(node, folder, chain)
    else:
        check_written(node)
    return node


def check_links(file: h5py.File) -> None:
    """Checks the whole of an artifact without reading data or opening other files. Raises Unsound.

    An artifact has hard links only, every value of it was written, and its virtual datasets are
    made of shards, which lie in folders below its own: none can lead to itself.
    """
    folder = Path(file.filename).resolve().parent
    for node in _datasets(file, set()):
        if node.external:
            raise Unsound(f"{node.name} keeps its data in another file")
        if not node.is_virtual:
            check_written(node)
            continue
        for name in {source.file_name for source in node.virtual_sources()}:
            if name == "." or _source(folder, name).parent == folder:
                raise Unsound(f"{node.name} is made of {name!r}, which is no shard of it")


def check_written(node: h5py.Dataset) -> None:
    """Raises Unsound unless all that the shape of a dataset claims is stored."""
    layout = node.id.get_create_plist().get_layout()
    size = node.id.get_type().get_size() * math.prod(node.shape)
    if layout == h5py.h5d.CONTIGUOUS:
        stored = node.id.get_storage_size()
        if stored < size:
            raise Unsound(f"claims {size:,} bytes {node.shape}, and {stored:,} of them are stored")
    elif layout == h5py.h5d.CHUNKED and size:
        chunks = zip(node.shape, node.chunks, strict=True)
        claimed = math.prod(math.ceil(length / chunk) for length, chunk in chunks)
        found = node.id.get_num_chunks()
        if found < claimed:
            raise Unsound(
                f"claims {size:,} bytes {node.shape} in {claimed:,} chunks, "
                f"and {found:,} of them are stored"
            )


def _resolved(file: h5py.File, name: str, links: int = 0) -> str:
    """The place that `name` leads to by links inside the file."""
    place, parts = "", [part for part in name.split("/") if part]
    for position, part in enumerate(parts):
        link = file[place or "/"].get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise Unsound(f"is a link into another file ({link.filename!r})")
        if isinstance(link, h5py.SoftLink):
            if links == _LINKS:
                raise Unsound("is a link that leads nowhere")
            target = link.path if link.path.startswith("/") else f"{place}/{link.path}"
            return _resolved(file, "/".join([target, *parts[position + 1 :]]), links + 1)
        place = f"{place}/{part}"
    return place or "/"


def _check_virtual(node: h5py.Dataset, folder: Path, chain: frozenset[tuple[str, str]]) -> None:
    own = Path(node.file.filename).resolve()
    here = (str(own), node.name)
    if here in chain:
        raise Unsound("is made of itself")
    covered, sources = 0, node.virtual_sources()
    for source in sources:
        covered += source.vspace.get_select_npoints()
        if "%b" in source.file_name + source.dset_name:
            raise Unsound("names the files that it is made of by a pattern")
    if covered < math.prod(node.shape):
        raise Unsound(f"has a place in no file for {math.prod(node.shape) - covered:,} values")
    for name, members in groupby(sorted(sources, key=_file_name), key=_file_name):
        path = own if name == "." else _source(folder, name)
        if not path.is_file():
            raise Unsound(f"is made of {name!r}, which is missing")
        with h5py.File(path, "r") as file:
            _check_sources(list(members), file, folder, chain | {here})


def _check_sources(
    sources: Sequence[Any], file: h5py.File, folder: Path, chain: frozenset[tuple[str, str]]
) -> None:
    """Checks the sources of a virtual dataset in one file."""
    for name in {source.dset_name for source in sources}:
        try:
            dataset(file, name, folder, chain)
        except KeyError as error:
            where = f"{name!r} of {sources[0].file_name!r}"
            raise Unsound(f"is made of {where}, which is missing") from error
    for source in sources:
        _check_extent(source, file[source.dset_name])


def _check_extent(source: Any, node: Any) -> None:
    """HDF5 reads fill values for what lies beyond the shape of a source."""
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        raise Unsound(f"is made of {source.dset_name!r}, which is no dataset")
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        fits = math.prod(node.shape) == source.vspace.get_select_npoints()
    else:
        _, last = source.src_space.get_select_bounds()
        fits = len(last) == node.ndim and all(
            at < length for at, length in zip(last, node.shape, strict=True)
        )
    if not fits:
        raise Unsound(f"takes from {source.file_name!r} what is not there")


def _file_name(source: Any) -> str:
    return str(source.file_name)


def _source(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise Unsound(f"is made of {name!r}, outside of the folder")
    return path


def _datasets(group: h5py.Group, seen: set[int]) -> Iterator[h5py.Dataset]:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Unsound(f"{group.name.rstrip('/')}/{name} is a link")
        node = group[name]
        address = h5py.h5o.get_info(node.id).addr
        if isinstance(node, h5py.Group) and address not in seen:
            yield from _datasets(node, seen | {address})
        elif isinstance(node, h5py.Dataset) and node.shape is not None:
            yield node

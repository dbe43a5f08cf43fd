"""Faults that may crash HDF5, tried in a process of their own: a crash is one failed test."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import h5py
import numpy as np
from records import assert_same, in_memory, provenance, sample

from clusterpipe.cache import artifact, seal, storage
from clusterpipe.cache.errors import DamagedArtifact, StorageError
from clusterpipe.cache.inspection import Inspection, inspect
from clusterpipe.cache.schema import Artifact, Embeddings, Refined

P = ParamSpec("P")
R = TypeVar("R")

LARGE = {"n": 4000, "d": 16, "x": 100}  # about 1 MB, mostly strings


def isolated(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls `function` in a process of its own; raises BrokenProcessPool if that crashes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


# ---------------------------------------------------------------- damaged files


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """An artifact open for writing, and sealed again as if it had been written so."""
    with h5py.File(path, "r+") as file:
        content_id = str(file.attrs.get("content_id", "none"))
        yield file
    seal.stamp(path, content_id)


def unsealed(path: Path) -> None:
    """Makes the artifact one of a clusterpipe that sealed none."""
    path.write_bytes(path.read_bytes()[seal.BLOCK :])


def flip_bits(path: Path, kind: type[Artifact], count: int) -> set[str]:
    """What comes of `count` flipped bits, each in a copy of the artifact at `path`."""
    rng = np.random.default_rng(0)
    original, data = in_memory(artifact.read(path, kind)), path.read_bytes()
    seen = set()
    for at in rng.choice(len(data), count, replace=False):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        seen.add(_examine(path, original, damaged))
    return seen


def zero_blocks(path: Path, kind: type[Artifact], size: int) -> list[str]:
    """What comes of each block of `size` bytes that reads as zeros."""
    original = in_memory(artifact.read(path, kind))
    data = np.frombuffer(path.read_bytes(), np.uint8)
    seen = []
    for start in range(0, len(data), size):
        damaged = data.copy()
        damaged[start : start + size] = 0
        seen.append(_examine(path, original, damaged.tobytes()))
    return seen


def _examine(path: Path, original: Artifact, damaged: bytes | bytearray) -> str:
    """What reading and inspecting say, who have to agree."""
    copy = path.with_name("damaged.h5")
    copy.write_bytes(damaged)
    refused = [_refuses(look, copy, type(original)) for look in (artifact.read, inspect_as)]
    if refused == [True, True]:
        return "refused"
    if any(refused):
        return "refused by one"
    same = Path(copy).read_bytes() == path.read_bytes()
    return "unharmed" if same else "overlooked"


def inspect_as(path: Path, kind: type[Artifact]) -> Inspection:
    return inspect(path)


def _refuses(look: Callable[..., object], path: Path, kind: type[Artifact]) -> bool:
    try:
        look(path, kind)
    except DamagedArtifact:
        return True
    return False


# ---------------------------------------------------------------- full disks


def fill_up(path: Path, limit: Callable[[int], object], sizes: list[int]) -> list[str]:
    """What is said when less and less of an artifact fits; what was there must stay."""
    old, large = sample(Embeddings, seed=1), sample(Embeddings, seed=2, **LARGE)
    artifact.write(path, old, provenance(schema=old.schema))
    said = []
    for size in sizes:
        limit(size)
        said.append(_refusal(lambda: artifact.write(path, large, provenance(schema=large.schema))))
        said.append(_refusal(lambda: storage.write_text(path, "x" * 1_200_000)))
        assert_same(in_memory(artifact.read(path, Embeddings)), old)
    return said


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except StorageError as error:
        return str(error)
    return "written"


def limit_disk(folder: Path, size: int) -> None:
    """Makes the small disk mounted at `folder` smaller or larger."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def limit_files(size: int) -> None:
    """Lets no file of this process grow beyond `size` bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def fill_meanwhile(path: Path, fill: Callable[[], object]) -> str:
    """What is said when `fill` takes the space while a large matrix is being written."""
    old, rows = sample(Refined, seed=1), np.ones((40_000, 64), np.float32)

    class Filling:
        shape, dtype = rows.shape, rows.dtype

        def __getitem__(self, wanted: slice, /) -> Any:
            if wanted.start:
                fill()
            return rows[wanted]

    artifact.write(path, old, provenance(schema=old.schema))
    record = replace(sample(Refined, n=40_000), features=Filling())
    said = _refusal(lambda: artifact.write(path, record, provenance(schema=record.schema)))
    assert_same(in_memory(artifact.read(path, Refined)), old)
    return said


def write_until_full(file: Path) -> None:
    """Fills the disk with `file`."""
    try:
        with file.open("wb") as stream:
            while True:
                stream.write(bytes(1 << 20))
    except OSError:
        return

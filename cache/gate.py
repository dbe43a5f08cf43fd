"""The one way to an artifact: none is parsed before it is known to be what was written.

A sealed one is hashed (`cache.seal`). One without a seal, of an earlier clusterpipe or a foreign
hand, is read whole by a process apart (`cache.foreign`), held against its own content ids, and
sealed if it fits. What is new is looked through for data that lie elsewhere (`cache.structure`).
"""

import errno
import fcntl
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from clusterpipe.cache import foreign, seal, storage, structure
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact, RunLocked, StorageError
from clusterpipe.cache.schema import Artifact

_FOREIGN = "cannot be read as HDF5 (damaged or foreign)"
_WRITTEN = "{} is open for writing in another program: close it there"

_guarding = True
_lock = threading.RLock()
_refused: dict[seal.State, str] = {}
_accepted: set[seal.State] = set()


@contextmanager
def opened(path: Path, artifact: type[Artifact] | None = None) -> Iterator[h5py.File]:
    """The file opened read-only. Raises like `admit`."""
    admit(path, artifact)
    with _hdf5(path, artifact) as file:
        yield file


def admit(path: Path, artifact: type[Artifact] | None = None, *, anew: bool = False) -> None:
    """Lets an artifact pass.

    It is looked at once while it stays what it is; with `anew` once more. Raises MissingArtifact,
    DamagedArtifact or RunLocked, and StorageError when the system does not let it be read.
    """
    with _lock, _explained(path, artifact):
        if not path.exists():
            raise MissingArtifact(f"{path} is missing: {remedy(path, artifact)}")
        if not _guarding:
            return
        try:
            now = seal.state(path)
            if now in _refused:
                raise DamagedArtifact(_refused[now])
            if now not in _accepted:
                _look(path, artifact, now, anew)
        except (seal.Broken, structure.Unsound) as error:
            raise DamagedArtifact(f"{path} {error}: {remedy(path, artifact)}") from error


def content_id(path: Path, artifact: type[Artifact] | None = None) -> str:
    """The content id of an artifact, from its seal where it has one. Raises like `opened`."""
    admit(path, artifact)
    if _guarding and not seal.is_unsealed(path):
        return seal.read(path).content_id
    with _hdf5(path, artifact) as file:
        return str(file.attrs["content_id"])


def trust(path: Path) -> None:
    """Takes an artifact for whole that this process has just written and sealed."""
    seal.remember(path, seal.state(path), seal.read(path))


def take_as_they_are() -> None:
    """Lets everything pass from now on: for the process that finds out what files are."""
    global _guarding
    _guarding = False


def remedy(path: Path, artifact: type[Artifact] | None) -> str:
    """Remedy for an artifact that is missing or damaged."""
    stage = artifact.stage if artifact else "run-all"
    return f"run `clusterpipe {stage} --run-dir {path.parent}`"


@contextmanager
def _explained(path: Path, artifact: type[Artifact] | None) -> Iterator[None]:
    """A file that may not be read is not damaged: it is not made anew. What a disk does not give
    back is lost."""
    try:
        yield
    except FileNotFoundError as error:  # removed meanwhile
        raise MissingArtifact(f"{path} is missing: {remedy(path, artifact)}") from error
    except OSError as error:
        why = f"cannot be read ({error.strerror or error})"
        if error.errno == errno.EIO:
            raise DamagedArtifact(f"{path} {why}: {remedy(path, artifact)}") from error
        raise StorageError(f"{path} {why}; nothing was changed") from error


def _look(path: Path, artifact: type[Artifact] | None, now: seal.State, anew: bool) -> None:
    if seal.is_unsealed(path):
        _accept(path, artifact, now)
    elif anew or not seal.is_known(path, now, seal.read(path)):
        _verify(path, artifact, now)


def _verify(path: Path, artifact: type[Artifact] | None, now: seal.State) -> None:
    found = seal.read(path)
    try:
        seal.check(path, found)
        with _hdf5(path, artifact) as file:
            structure.check_links(file)
        seal.remember(path, now, found)
    except seal.Broken:
        if seal.state(path) == now:
            _refuse_if_written(path)
            raise
    if seal.state(path) != now:  # another took its place meanwhile
        _verify(path, artifact, seal.state(path))


def _accept(path: Path, artifact: type[Artifact] | None, now: seal.State) -> None:
    """Has an artifact without a seal read by another process, and seals it if it is whole."""
    try:
        told = foreign.ask("verify", path, size=now.size).told
        if "damaged" in told:
            _refused[now] = told["damaged"]
            raise DamagedArtifact(told["damaged"])
    except foreign.Refused as error:
        _refused[now] = f"{path} {_FOREIGN}: {error}: {remedy(path, artifact)}"
        raise DamagedArtifact(_refused[now]) from error
    _accepted.add(now)
    with suppress(StorageError, OSError):
        _seal(path, now, told["content_id"])


def _seal(path: Path, now: seal.State, content_id: str) -> None:
    with storage.replacing(path) as temporary:
        with path.open("rb") as source, temporary.open("wb") as sink:
            sink.write(bytes(seal.BLOCK))
            shutil.copyfileobj(source, sink, 4 << 20)
        shutil.copystat(path, temporary)
        seal.stamp(temporary, content_id)
        if seal.state(path) != now:
            raise OSError(f"{path} was replaced meanwhile")
    trust(path)


def _refuse_if_written(path: Path) -> None:
    """Raises RunLocked if another program has it open for writing, which HDF5 marks in the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunLocked(_WRITTEN.format(path)) from error
        except OSError:  # a file system without locks
            return


@contextmanager
def _hdf5(path: Path, artifact: type[Artifact] | None) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except PermissionError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})") from error
    except BlockingIOError as error:
        raise RunLocked(_WRITTEN.format(path)) from error
    except OSError as error:
        raise DamagedArtifact(f"{path} {_FOREIGN}: {remedy(path, artifact)}") from error
    with file:
        yield file

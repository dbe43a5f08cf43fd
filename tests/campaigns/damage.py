"""Damaged artifacts and feature files, of many kinds, through every reader and every stage.

    python tests/campaigns/damage.py --count 10000 --seed 0

A damaged artifact has to be refused (`DamagedArtifact`, exit 5) by every reader or to read as it
was; a damaged feature file to be refused (`UsageError`, exit 2) or to give arrays. Anything else,
and whatever takes longer than it may, is counted as a fault and shown. Nothing is mocked: the files
are written, damaged and read. Memory of this process is limited to 3 GiB.
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from faults import unsealed
from records import assert_same, in_memory, provenance, sample

from clusterpipe.cache import artifact, foreign
from clusterpipe.cache.errors import ClusterpipeError, DamagedArtifact, UsageError
from clusterpipe.cache.inspection import inspect
from clusterpipe.cache.schema import ARTIFACTS, Artifact, Shard
from clusterpipe.cache.sources.containers import open_arrays

GIB = 1 << 30
SLOW = 30.0  # seconds
Damage = Callable[[Path, np.random.Generator], None]


@dataclass
class Figures:
    """What came of a campaign: outcomes by kind, faults in words, the slowest trial in seconds."""

    outcome: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def note(self, what: str, outcome: str, seconds: float) -> None:
        self.outcome[outcome] += 1
        self.slowest = max(self.slowest, seconds)
        if outcome not in ("refused", "as it was", "other values") or seconds > SLOW:
            self.faults.append(f"{what}: {outcome} after {seconds:.1f} s")

    def __str__(self) -> str:
        found = ", ".join(f"{count:,} {name}" for name, count in self.outcome.most_common())
        return f"{found}; {len(self.faults)} faults; slowest {self.slowest:.1f} s"


# ---------------------------------------------------------------- damage of bytes


def _edit(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
    path.write_bytes(change(bytearray(path.read_bytes())))


def flip_bit(path: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> bytearray:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        return data

    _edit(path, change)


def zero_block(path: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> bytearray:
        size = int(rng.choice([16, 64, 512, 4096]))
        start = int(rng.integers(len(data)))
        data[start : start + size] = bytes(len(data[start : start + size]))
        return data

    _edit(path, change)


def noise_block(path: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> bytearray:
        start = int(rng.integers(len(data)))
        data[start : start + 64] = rng.bytes(len(data[start : start + 64]))
        return data

    _edit(path, change)


def cut(path: Path, rng: np.random.Generator) -> None:
    _edit(path, lambda data: data[: int(rng.integers(len(data)))])


def insert(path: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> bytearray:
        start = int(rng.integers(len(data)))
        data[start:start] = rng.bytes(int(rng.integers(1, 600)))
        return data

    _edit(path, change)


def swap_blocks(path: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> bytearray:
        one, two = sorted(int(start) for start in rng.integers(max(1, len(data) - 256), size=2))
        first, second = data[one : one + 256], data[two : two + 256]
        data[one : one + len(second)], data[two : two + len(first)] = second, first
        return data

    _edit(path, change)


BYTES: tuple[Damage, ...] = (flip_bit, zero_block, noise_block, cut, insert, swap_blocks)


# ---------------------------------------------------------------- damage of structure


def _replace(path: Path, rng: np.random.Generator, make: Callable[..., None]) -> None:
    """Replaces one dataset by what `make(file, place, shape, dtype)` puts there."""
    with h5py.File(path, "r+") as file:
        places: list[str] = []
        file.visititems(
            lambda name, node: places.append(name) if isinstance(node, h5py.Dataset) else None
        )
        place = str(rng.choice(places))
        shape, dtype, attributes = file[place].shape, file[place].dtype, dict(file[place].attrs)
        del file[place]
        make(file, place, shape, dtype)
        if isinstance(file.get(place, getlink=True), h5py.HardLink):
            file[place].attrs.update(attributes)


def external_link(path: Path, rng: np.random.Generator) -> None:
    _replace(path, rng, lambda f, place, *_: f.__setitem__(place, h5py.ExternalLink("o.h5", "/x")))


def soft_circle(path: Path, rng: np.random.Generator) -> None:
    _replace(path, rng, lambda f, place, *_: f.__setitem__(place, h5py.SoftLink(f"/{place}")))


def external_storage(path: Path, rng: np.random.Generator) -> None:
    def make(file: h5py.File, place: str, shape: Any, _: Any) -> None:
        file.create_dataset(place, shape or (1,), "f4", external=[("/etc/hostname", 0, 1 << 20)])

    _replace(path, rng, make)


def virtual(source: str) -> Damage:
    def damage(path: Path, rng: np.random.Generator) -> None:
        def make(file: h5py.File, place: str, shape: Any, dtype: Any) -> None:
            shape, dtype = shape or (1,), "f4" if dtype.kind == "O" else dtype
            layout = h5py.VirtualLayout(shape, dtype)
            name = source.format(path=path)
            layout[...] = h5py.VirtualSource(name, place, shape=shape, dtype=dtype)[...]
            file.create_virtual_dataset(place, layout, fillvalue=0)

        _replace(path, rng, make)

    damage.__name__ = f"virtual_{source}"
    return damage


def absurd_shape(path: Path, rng: np.random.Generator) -> None:
    def make(file: h5py.File, place: str, shape: Any, _: Any) -> None:
        axes = (10**12, *[7] * (len(shape or (1,)) - 1))
        file.create_dataset(place, axes, "f4", chunks=(1000, *[7] * (len(axes) - 1)))

    _replace(path, rng, make)


def pipe(path: Path, _: np.random.Generator) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path, _: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path, _: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


STRUCTURE: tuple[Damage, ...] = (
    external_link,
    soft_circle,
    external_storage,
    virtual("."),
    virtual("{path}"),
    virtual("/tmp/elsewhere.h5"),
    virtual("gone.h5"),
    absurd_shape,
)
NO_FILE: tuple[Damage, ...] = (pipe, device, folder)


# ---------------------------------------------------------------- artifacts

READERS: tuple[Callable[[Path, type[Artifact]], object], ...] = (
    lambda path, kind: in_memory(artifact.read(path, kind)),
    lambda path, kind: artifact.check(path, kind),
    lambda path, _: artifact.header(path),
    lambda path, kind: artifact.content_id(path, kind, ""),
    lambda path, kind: artifact.read_value(path, kind, ""),
    lambda path, _: inspect(path),
)


def artifacts(count: int, seed: int, home: Path, *, without_seal: float = 0.05) -> Figures:
    """`count` damaged artifacts, some of them without a seal, each through one reader."""
    rng, figures = np.random.default_rng(seed), Figures()
    kinds = (*ARTIFACTS, Shard)
    whole = {kind: sample(kind, n=40, e=8, d=8, seed=1) for kind in kinds}
    for number in range(count):
        kind = kinds[int(rng.integers(len(kinds)))]
        path = home / f"{number}" / f"{kind.name}.h5"
        artifact.write(path, whole[kind], provenance(schema=kind.schema))
        bare = bool(rng.random() < without_seal)
        if bare:
            unsealed(path)
        damages = (BYTES, STRUCTURE, NO_FILE)[int(rng.choice(3, p=[0.7, 0.28, 0.02]))]
        damage = damages[int(rng.integers(len(damages)))]
        damage(path, rng)
        reader = int(rng.integers(len(READERS)))
        what = f"{number}: {kind.name} {damage.__name__}{' unsealed' * bare}, reader {reader}"
        _try_artifact(what, path, kind, whole[kind], reader, figures)
        shutil.rmtree(path.parent)
    return figures


def _try_artifact(
    what: str, path: Path, kind: type[Artifact], whole: Artifact, reader: int, figures: Figures
) -> None:
    began = time.monotonic()
    try:
        READERS[reader](path, kind)
        assert_same(in_memory(artifact.read(path, kind)), whole)
        outcome = "as it was"
    except DamagedArtifact:
        outcome = "refused"
    except AssertionError:
        outcome = "FALSE DATA"
    except Exception as error:  # noqa: BLE001 - what this looks for
        outcome = f"{type(error).__name__}: {error}"
    figures.note(what, outcome, time.monotonic() - began)


# ---------------------------------------------------------------- feature files


def _npy(path: Path, features: np.ndarray) -> None:
    np.save(path, features)


def _npz(path: Path, features: np.ndarray) -> None:
    np.savez(path, features=features, ids=np.array([f"image {i}" for i in range(len(features))]))


def _hdf5(path: Path, features: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=features, chunks=(16, 8), compression="gzip")
        file["ids"] = [f"image {i}" for i in range(len(features))]
        file["plain/features"] = features


def _safetensors(path: Path, features: np.ndarray) -> None:
    from safetensors.numpy import save_file

    save_file({"features": features}, path)


FORMATS = {".npy": _npy, ".npz": _npz, ".h5": _hdf5, ".safetensors": _safetensors}


def feature_files(count: int, seed: int, home: Path) -> Figures:
    """`count` damaged feature files, opened and read whole."""
    rng, figures = np.random.default_rng(seed), Figures()
    features = rng.standard_normal((64, 16)).astype(np.float32)
    for number in range(count):
        suffix = list(FORMATS)[int(rng.integers(len(FORMATS)))]
        path = home / f"features{number}{suffix}"
        FORMATS[suffix](path, features)
        damages = STRUCTURE if suffix == ".h5" and rng.random() < 0.4 else BYTES
        damage = damages[int(rng.integers(len(damages)))]
        damage(path, rng)
        _try_features(f"{number}: {damage.__name__} of {suffix}", path, features, figures)
        path.unlink()
    return figures


def _try_features(what: str, path: Path, features: np.ndarray, figures: Figures) -> None:
    began = time.monotonic()
    try:
        arrays = open_arrays(path).arrays
        same = all(np.array_equal(rows, features) for name, rows in _read(arrays) if name != "ids")
        outcome = "as it was" if same else "other values"
    except UsageError:
        outcome = "refused"
    except Exception as error:  # noqa: BLE001 - what this looks for
        outcome = f"{type(error).__name__}: {error}"
    figures.note(what, outcome, time.monotonic() - began)


def _read(arrays: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name in arrays:
        rows = arrays[name]
        yield name, rows[0 : rows.shape[0] if rows.shape else 0]


# ---------------------------------------------------------------- stages


def stages(count: int, seed: int, run: Path, home: Path) -> Figures:
    """`count` times a stage of a copy of the finished `run`, one artifact of which is damaged.

    A stage that builds on the artifact is refused; its own is made anew, and equal.
    """
    from clusterpipe.pipeline import run_stage
    from clusterpipe.pipeline.resolving import existing_run

    rng, figures = np.random.default_rng(seed), Figures()
    names = sorted(path.name for path in run.glob("*.h5"))
    commands = ("refine", "assign", "evaluate", "curate")
    for number in range(count):
        copy = home / f"run{number}"
        shutil.copytree(run, copy)
        name, stage = str(rng.choice(names)), str(rng.choice(commands))
        damages = BYTES if rng.random() < 0.7 else (*STRUCTURE, *NO_FILE)
        damage = damages[int(rng.integers(len(damages)))]
        damage(copy / name, rng)
        began = time.monotonic()
        try:
            config, directory = existing_run(copy)
            run_stage(stage, config, directory.folder, force=bool(rng.random() < 0.5))
            outcome = _compared(run, copy, name)
        except DamagedArtifact:
            outcome = "refused"
        except ClusterpipeError as error:
            outcome = f"{type(error).__name__}: {error}"
        figures.note(
            f"{number}: {stage} with {damage.__name__} of {name}", outcome, time.monotonic() - began
        )
        shutil.rmtree(copy)
    return figures


def _compared(run: Path, copy: Path, damaged: str) -> str:
    """Whether everything that can be read is what it was: nothing was made from damaged data."""
    for path in run.glob("*.h5"):
        try:
            found = artifact.header(copy / path.name).content_id
        except DamagedArtifact:
            if path.name != damaged:
                return f"{path.name} is damaged as well"
            continue
        if found != artifact.header(path).content_id and path.name != "metrics.h5":
            return f"{path.name} is another"
    return "as it was"


def finished_run(home: Path) -> Path:
    """A finished run over 60 features of 3 kinds."""
    from clusterpipe.pipeline import run_all
    from clusterpipe.pipeline.engine.config import Config

    random = np.random.default_rng(1)
    centre = random.normal(size=(3, 16)) * 3
    features = centre[np.repeat(np.arange(3), 20)] + random.normal(size=(60, 16))
    np.savez(
        home / "features.npz",
        features=features.astype(np.float32),
        labels=np.repeat(np.arange(3), 20),
    )
    config = Config().set("source.path", str(home / "features.npz"), "campaign")
    config = config.set("assign.k", 3, "campaign")
    run_all(config, run_dir=home / "run")
    return home / "run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (3 * GIB, 3 * GIB))
    foreign.SECONDS = 3
    faults = 0
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        campaigns = {
            "artifacts": lambda: artifacts(given.count * 8 // 10, given.seed, home),
            "feature files": lambda: feature_files(given.count * 2 // 10 - 1, given.seed, home),
            "stages": lambda: stages(given.count // 100, given.seed, finished_run(home), home),
        }
        for name, campaign in campaigns.items():
            began = time.process_time()
            figures = campaign()
            seconds = time.process_time() - began
            print(f"{name}: {figures}; {seconds:.0f} CPU seconds", flush=True)
            print(*figures.faults[:20], sep="\n", flush=True)
            faults += len(figures.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

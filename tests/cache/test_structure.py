"""Where the data of an HDF5 file lie: each way to lead elsewhere is told, and no data are read."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from clusterpipe.cache import structure
from clusterpipe.cache.structure import Unsound

Change = Callable[[h5py.File], object]
ROWS = np.arange(20, dtype="f4").reshape(10, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of rows, below a folder with another one."""
    (tmp_path / "in").mkdir()
    for path in (tmp_path / "out.h5", tmp_path / "in/part.h5"):
        with h5py.File(path, "w") as file:
            file["rows"] = ROWS
    return tmp_path / "in"


def looked_at(folder: Path, change: Change) -> h5py.Dataset | None:
    """The dataset `x` of a file that `change` filled."""
    with h5py.File(folder / "made.h5", "w") as file:
        change(file)
    with h5py.File(folder / "made.h5", "r") as file:
        found = structure.dataset(file, "x", folder)
        return None if found is None else found[()]


def virtual(*sources: h5py.VirtualSource, rows: int = 10) -> Change:
    """A virtual dataset of so many rows, a source after the other."""
    layout, start = h5py.VirtualLayout((rows, 2), "f4"), 0
    for source in sources:
        layout[start : start + source.shape[0]] = source
        start += source.shape[0]
    return lambda file: file.create_virtual_dataset("x", layout, fillvalue=0)


def part(file: str = "part.h5", name: str = "rows", rows: int = 10) -> h5py.VirtualSource:
    return h5py.VirtualSource(file, name, shape=(rows, 2), dtype="f4")


def all_of(file: h5py.File, source: h5py.VirtualSource) -> None:
    """A virtual dataset of the whole of a source, whatever that is."""
    layout = h5py.VirtualLayout((10, 2), "f4")
    layout[...] = source
    file.create_virtual_dataset("x", layout)


def links_in_a_circle(file: h5py.File) -> None:
    file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("/x")


def made_of_each_other(file: h5py.File) -> None:
    for name, other in ("xy", "yx"):
        layout = h5py.VirtualLayout((10, 2), "f4")
        layout[...] = part(".", other)
        file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.update({"x": h5py.ExternalLink("part.h5", "rows")}), "another file"),
        (links_in_a_circle, "leads nowhere"),
        (lambda file: file.create_dataset("x", (9,), "f4", external=[("/a", 0, 36)]), "in another"),
        (lambda file: file.create_dataset("x", (9, 2), "f4"), "claims 72 bytes .*, and 0 of them"),
        (
            lambda file: file.create_dataset("x", (9, 2), "f4", chunks=(2, 2)),
            r"claims 72 bytes \(9, 2\) in 5 chunks, and 0",
        ),
        (virtual(part("absent.h5")), "'absent.h5', which is missing"),
        (virtual(part(name="absent")), "'absent' of 'part.h5', which is missing"),
        (virtual(part("../out.h5")), "'../out.h5', outside of the folder"),
        (virtual(part(), rows=12), "no file for 4 values"),
        (virtual(part(rows=5), part(rows=11)[6:]), "takes from 'part.h5' what is not there"),
        (virtual(part(rows=12), rows=12), "takes from 'part.h5' what is not there"),
        (virtual(part(name="/")), "'/', which is no dataset"),
        (made_of_each_other, "made of itself"),
    ],
)
def test_what_lies_elsewhere_or_nowhere_is_refused(
    folder: Path, change: Change, reason: str
) -> None:
    with pytest.raises(Unsound, match=reason):
        looked_at(folder, change)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.update({"x": ROWS}),
        lambda file: file.create_dataset("x", data=ROWS, chunks=(3, 2)),
        lambda file: file.update({"g/y": ROWS, "z": h5py.SoftLink("g"), "x": h5py.SoftLink("z/y")}),
        virtual(part()),
        virtual(part(rows=10)[:4], part(rows=10)[4:]),
        lambda file: all_of(file, part()),
    ],
)
def test_what_is_there_is_read(folder: Path, change: Change) -> None:
    np.testing.assert_array_equal(looked_at(folder, change), ROWS)


def test_groups_and_datasets_without_a_shape_are_no_arrays(folder: Path) -> None:
    assert looked_at(folder, lambda file: file.create_group("x")) is None
    assert looked_at(folder, lambda file: file.create_dataset("x", dtype="f4")) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.update({"g/x": h5py.SoftLink("/y")}), "/g/x is a link"),
        (virtual(part()), "'part.h5', which is no shard of it"),
        (virtual(part(".", "y")), "'.', which is no shard of it"),
        (lambda file: file.create_dataset("x", (9,), "f4", external=[("/a", 0, 36)]), "another"),
        (lambda file: file.create_dataset("x", (9, 2), "f4"), "are stored"),
    ],
)
def test_an_artifact_has_its_data_in_itself_and_in_shards(
    folder: Path, change: Change, reason: str
) -> None:
    with h5py.File(folder / "made.h5", "w") as file:
        change(file)
        with pytest.raises(Unsound, match=reason):
            structure.check_links(file)


def test_groups_that_hold_each_other_come_to_an_end(folder: Path) -> None:
    (folder / "shards").mkdir()
    (folder / "part.h5").rename(folder / "shards/part.h5")
    with h5py.File(folder / "made.h5", "w") as file:
        file.create_group("a")["a"] = file["a"] if "a" in file else file["/"]
        virtual(part("shards/part.h5"))(file)
        structure.check_links(file)

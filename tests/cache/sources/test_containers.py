import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from safetensors.numpy import save_file

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import blocks, take
from clusterpipe.cache.sources.containers import SUFFIXES, describe, open_arrays

MATRIX = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)


def save(path: Path, **arrays: NDArray[Any]) -> Path:
    """`arrays` in the format that the suffix of `path` names; `.npy` takes the first alone."""
    match path.suffix:
        case ".npy":
            np.save(path, next(iter(arrays.values())))
        case ".npz":
            np.savez_compressed(path, **arrays)
        case ".safetensors":
            save_file(arrays, path)
        case _:
            with h5py.File(path, "w") as file:
                for name, array in arrays.items():
                    file[name] = array
    return path


@pytest.fixture(params=SUFFIXES)
def matrix_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save(tmp_path / f"x{request.param}", features=MATRIX)


def test_slices_are_those_of_the_array(matrix_file: Path) -> None:
    rows = open_arrays(matrix_file).arrays["features"]
    assert rows.shape == MATRIX.shape
    assert rows.dtype == MATRIX.dtype
    for part in (slice(0, 50), slice(3, 9), slice(48, 60), slice(50, 50)):
        assert_array_equal(rows[part], MATRIX[part])


def test_rows_serve_blocks_and_take(matrix_file: Path) -> None:
    rows = open_arrays(matrix_file).arrays["features"]
    assert_array_equal(np.concatenate(list(blocks(rows, 8))), MATRIX)
    index = np.array([49, 0, 7, 7])
    assert_array_equal(take(rows, index, size=8), MATRIX[index])


def test_what_a_reader_does_to_a_slice_stays_with_the_reader(matrix_file: Path) -> None:
    rows = open_arrays(matrix_file).arrays["features"]
    rows[0:5][:] = 0
    assert_array_equal(rows[0:5], MATRIX[0:5])


def test_rows_can_be_sent_to_another_process(matrix_file: Path) -> None:
    rows = open_arrays(matrix_file).arrays["features"]
    assert_array_equal(pickle.loads(pickle.dumps(rows))[2:5], MATRIX[2:5])  # noqa: S301


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".safetensors"])
def test_unread_rows_travel_as_a_path_and_not_as_data(suffix: str, tmp_path: Path) -> None:
    big = np.zeros((10_000, 8), np.float32)
    rows = open_arrays(save(tmp_path / f"x{suffix}", features=big)).arrays["features"]
    rows[0:10]
    assert len(pickle.dumps(rows)) < 2_000


@pytest.mark.parametrize(
    ("shape", "name"),
    [((9,), "array"), ((9, 2), "features"), ((9, 2, 2), "images"), ((9, 2, 2, 3), "images")],
)
def test_the_array_of_an_npy_file_is_named_by_its_dimensions(
    shape: tuple[int, ...], name: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape))
    assert list(open_arrays(tmp_path / "x.npy").arrays) == [name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"x{suffix}", features=np.zeros((0, 4), np.float32))
    rows = open_arrays(path).arrays["features"]
    assert rows.shape == (0, 4)
    assert rows[0:10].shape == (0, 4)


def test_column_major_order_makes_no_difference(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(MATRIX))
    assert_array_equal(open_arrays(tmp_path / "x.npy").arrays["features"][5:9], MATRIX[5:9])


def test_hdf5_strings_are_read_as_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["variable"] = ["ä", "b"]
        file["fixed"] = np.array(["ä".encode(), b"b"])
        file.create_group("group")["inside"] = MATRIX
    arrays = open_arrays(tmp_path / "x.h5").arrays
    assert set(arrays) == {"variable", "fixed", "group/inside"}
    assert list(arrays["variable"][0:2]) == list(arrays["fixed"][0:2]) == ["ä", "b"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_another_kind_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"a shopping list, long enough for any header")
    with pytest.raises(UsageError, match=f"x{suffix} cannot be read"):
        open_arrays(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.touch()
    with pytest.raises(UsageError, match=f"x{suffix} cannot be read"):
        open_arrays(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_files_are_refused_at_the_latest_when_read(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"x{suffix}", features=np.random.default_rng(0).random((500, 9)))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UsageError, match=f"x{suffix} cannot be read"):
        open_arrays(path).arrays["features"][0:500]


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    trap = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "x.npz", labels=trap)
    np.save(tmp_path / "x.npy", trap)
    for rows in (
        open_arrays(tmp_path / "x.npz").arrays["labels"],
        open_arrays(tmp_path / "x.npy").arrays["array"],
    ):
        with pytest.raises(UsageError, match="pickled Python objects"):
            rows[0:1]
    assert not (tmp_path / "sprung").exists()


def test_bfloat16_tensors_are_refused_by_name(tmp_path: Path) -> None:
    header = b'{"features":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}'
    data = len(header).to_bytes(8, "little") + header + bytes(12)
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(UsageError, match="features is BF16"):
        open_arrays(tmp_path / "x.safetensors")


def test_arrays_are_described_by_shape_and_dtype() -> None:
    assert describe(np.zeros((3, 4), np.uint8)) == "(3, 4) uint8"


def with_header(path: Path, header: str) -> Path:
    """A `.npy` file that says so of 24 bytes."""
    text = header.encode().ljust(118)
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(24))
    return path


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("(" * 900, "its header describes no array"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 6), }", "the shape (True, 6)"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3), }", "it claims"),
        ("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000,), }", "of no size"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2**40,), }", "cannot be read"),
    ],
)
def test_a_header_that_describes_no_array_is_refused(
    tmp_path: Path, header: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)):
        open_arrays(with_header(tmp_path / "x.npy", header))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_arrays_of_one_name_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", MATRIX)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for _ in range(2):
            archive.write(tmp_path / "x.npy", "features.npy")
    with pytest.raises(UsageError, match=r"holds 'features\.npy' twice"):
        open_arrays(tmp_path / "x.npz")


def test_names_and_text_of_hdf5_that_are_no_unicode_are_refused_as_such(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "names.h5", "w") as file:
        file.create_dataset(b"features\xff", data=MATRIX)
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file.create_dataset("ids", data=np.array([b"\xff\xfe"] * 3))
    with pytest.raises(UsageError, match="a name that is not Unicode"):
        open_arrays(tmp_path / "names.h5")
    with pytest.raises(UsageError, match="ids holds text that is not Unicode"):
        open_arrays(tmp_path / "text.h5").arrays["ids"][0:3]

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from safetensors.numpy import save_file

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import ImageSource
from clusterpipe.cache.sources.arrays import ArrayImages, open_images
from clusterpipe.cache.sources.containers import open_arrays

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3)).astype(np.uint8)
GRAY = PIXELS[..., 0]


def open_npz(folder: Path, **arrays: Any) -> ArrayImages:
    np.savez(folder / "x.npz", **arrays)
    return open_images(open_arrays(folder / "x.npz"))


def decoded(source: ImageSource) -> NDArray[Any]:
    rows = range(len(source.manifest))
    return np.stack([np.asarray(source.decode(source.read(row))) for row in rows])


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    match path.suffix:
        case ".npy":
            np.save(path, pixels)
        case ".npz":
            np.savez_compressed(path, images=pixels)
        case ".safetensors":
            save_file({"images": np.ascontiguousarray(pixels)}, path)
        case _:
            with h5py.File(path, "w") as file:
                file.create_dataset("images", data=pixels, compression="gzip", chunks=True)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".safetensors"])
def test_every_pixel_arrives(suffix: str, tmp_path: Path) -> None:
    source = open_images(open_arrays(save(tmp_path / f"set{suffix}", PIXELS)))
    assert isinstance(source, ImageSource)
    assert source.name == "set"
    assert_array_equal(decoded(source), PIXELS)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".safetensors"])
def test_gray_images_become_rgb(suffix: str, tmp_path: Path) -> None:
    source = open_images(open_arrays(save(tmp_path / f"set{suffix}", GRAY)))
    assert_array_equal(decoded(source), np.repeat(GRAY[..., None], 3, axis=-1))


def test_without_columns_row_numbers_are_ids(tmp_path: Path) -> None:
    source = open_npz(tmp_path, images=PIXELS)
    manifest = source.manifest
    assert list(manifest.id) == [str(row) for row in range(12)]
    assert list(manifest.path) == [""] * 12
    assert manifest.size.tolist() == [len(source.read(row)) for row in range(12)]
    assert set(manifest.mtime.tolist()) == {(tmp_path / "x.npz").stat().st_mtime_ns}
    assert manifest.label is manifest.class_name is manifest.split is None


def test_columns(tmp_path: Path) -> None:
    manifest = open_npz(
        tmp_path,
        images=PIXELS[:3],
        labels=np.array([1, -1, 0], np.int8),
        class_names=np.array(["cat", "dog"]),
        split=np.array([b"train", b"test", b"train"]),
        ids=np.array(["a", "ä", "c"]),
    ).manifest
    assert list(manifest.id) == ["a", "ä", "c"]
    assert manifest.label.tolist() == [1, -1, 0]
    assert manifest.label.dtype == np.int32
    assert list(manifest.class_name) == ["cat", "dog"]
    assert list(manifest.split) == ["train", "test", "train"]


def test_string_labels_and_numbered_ids(tmp_path: Path) -> None:
    labels, ids = np.array(["dog", "", "cat"]), np.array([30, 10, 20])
    manifest = open_npz(tmp_path, images=PIXELS[:3], labels=labels, ids=ids).manifest
    assert list(manifest.class_name) == ["cat", "dog"]
    assert manifest.label.tolist() == [1, -1, 0]
    assert list(manifest.id) == ["30", "10", "20"]


def test_columns_of_hdf5_are_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = PIXELS[:2]
        file["labels"] = ["dog", "cät"]
        file["ids"] = np.array([b"one", b"two"])
    manifest = open_images(open_arrays(tmp_path / "x.h5")).manifest
    assert list(manifest.class_name) == ["cät", "dog"]
    assert list(manifest.id) == ["one", "two"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": PIXELS.astype(np.float32)}, r"images is \(12, 5, 4, 3\) float32; expected"),
        ({"images": PIXELS[..., :2]}, r"images is \(12, 5, 4, 2\) uint8; expected"),
        ({"images": PIXELS[:, :0]}, r"images is \(12, 0, 4, 3\) uint8; expected"),
        ({"images": PIXELS[0, 0]}, r"images is \(4, 3\) uint8; expected"),
        ({"images": PIXELS, "labels": np.arange(11)}, r"labels is \(11\) int64, expected \(12\)"),
        ({"images": PIXELS, "labels": np.eye(12)}, r"labels is \(12, 12\) float64, expected"),
        ({"images": PIXELS, "labels": np.arange(12.0)}, "labels holds float64"),
        ({"images": PIXELS, "split": np.array("train")}, r"split is \(\) <U5, expected"),
        ({"images": PIXELS, "ids": np.array([*"abcdefghijka"])}, "ids holds 'a' in rows 0 and 11"),
        ({"images": PIXELS, "ids": np.array([*"abcdefghijk", ""])}, "empty id in row 11"),
        ({"images": PIXELS, "ids": np.array([*"abcdefghijk", "\udce9"])}, "ids .* not Unicode"),
        ({"images": PIXELS, "ids": np.array([b"\xe9"] * 12)}, "ids .* not Unicode"),
        ({"images": PIXELS, "ids": np.array(["a", 1] * 6, object)}, "pickled"),
        ({"images": PIXELS, "labels": np.full(12, 2), "class_names": np.array(["a", "b"])}, "2"),
        ({"images": PIXELS, "labels": np.zeros(12, int), "class_names": np.eye(2)}, "class_names"),
    ],
)
def test_what_does_not_fit_is_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"x.npz: .*{message}"):
        open_npz(tmp_path, **arrays)


def test_many_rows_of_several_blocks_in_any_order_from_threads(tmp_path: Path) -> None:
    file = open_arrays(save(tmp_path / "x.h5", PIXELS))
    three = 3 * PIXELS[0].size
    source = ArrayImages("x", open_images(file).manifest, file.arrays["images"], block_bytes=three)
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(12), 4)).tolist()
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda row: np.asarray(source.decode(source.read(row))), rows))
    assert_array_equal(np.stack(images), PIXELS[rows])

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import blocks
from clusterpipe.cache.sources import FeatureSource, ImageSource
from clusterpipe.cache.sources.containers import open_arrays
from clusterpipe.cache.sources.features import FileFeatures, open_features

CLIP = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float16)
DINO = np.random.default_rng(1).standard_normal((20, 4))


def open_npz(folder: Path, **arrays: Any) -> FileFeatures:
    np.savez(folder / "x.npz", **arrays)
    return open_features(open_arrays(folder / "x.npz"))


def test_one_space_from_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "my set.npy", CLIP)
    source = open_features(open_arrays(tmp_path / "my set.npy"))
    assert isinstance(source, FeatureSource)
    assert not isinstance(source, ImageSource)
    assert source.name == "my_set"
    assert list(source.spaces) == ["features"]
    assert_array_equal(source.spaces["features"][0:20], CLIP)
    assert list(source.manifest.id) == [str(row) for row in range(20)]


def test_several_spaces_with_columns_from_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["features_clip"] = CLIP
        file["features_dino"] = DINO
        file["labels"] = np.arange(20) % 3
        file["class_names"] = ["a", "b", "c"]
        file["split"] = ["train", "test"] * 10
        file["ids"] = [f"image {row}" for row in range(20)]
    source = open_features(open_arrays(tmp_path / "x.hdf5"))
    assert {space: rows.dtype for space, rows in source.spaces.items()} == {
        "clip": np.float16,
        "dino": np.float64,
    }
    assert_array_equal(source.spaces["clip"][3:5], CLIP[3:5])
    assert_array_equal(source.spaces["dino"][3:5], DINO[3:5])
    manifest = source.manifest
    assert manifest.label.tolist() == (np.arange(20) % 3).tolist()
    assert list(manifest.class_name) == ["a", "b", "c"]
    assert list(manifest.split) == ["train", "test"] * 10
    assert manifest.id[7] == "image 7"
    assert set(manifest.size.tolist()) == {6 * 2 + 4 * 8}


def test_labels_from_safetensors(tmp_path: Path) -> None:
    labels = np.array([5, 9] * 10, np.int64)
    save_file({"features": DINO, "labels": labels}, tmp_path / "x.safetensors")
    source = open_features(open_arrays(tmp_path / "x.safetensors"))
    assert_array_equal(source.spaces["features"][10:20], DINO[10:20])
    assert list(source.manifest.class_name) == ["5", "9"]


def test_string_labels_from_npz(tmp_path: Path) -> None:
    manifest = open_npz(tmp_path, features=CLIP, labels=np.array(["b", "a"] * 10)).manifest
    assert list(manifest.class_name) == ["a", "b"]
    assert manifest.label.tolist() == [1, 0] * 10


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": CLIP.astype(int)}, r"features is \(20, 6\) int64; expected \(n, d\) floats"),
        ({"features": CLIP[0]}, r"features is \(6\) float16; expected"),
        ({"features": CLIP[:, :0]}, r"features is \(20, 0\) float16; expected"),
        ({"features": CLIP.astype(complex)}, r"features is \(20, 6\) complex128; expected"),
        (
            {"features_clip": CLIP, "features_dino": DINO[:19]},
            r"differ in length: clip \(20, 6\) float16, dino \(19, 4\) float64",
        ),
        ({"features": CLIP, "labels": np.arange(19)}, r"labels is \(19\) int64, expected \(20\)"),
        ({"features": CLIP, "ids": np.array(["same"] * 20)}, "ids holds 'same' in rows 0 and 1"),
        ({"features_": CLIP}, "rename it"),
        ({"features_a b": CLIP}, "'a b'; rename it"),
        ({"features_label": CLIP}, "'label'; rename it"),
        ({"features_skipped": CLIP}, "'skipped'; rename it"),
    ],
)
def test_what_does_not_fit_is_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"x.npz: .*{message}"):
        open_npz(tmp_path, **arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_named_when_they_are_read(
    value: float, tmp_path: Path
) -> None:
    spoilt = DINO.copy()
    spoilt[13, 2] = value
    rows = open_npz(tmp_path, features_dino=spoilt).spaces["dino"]
    assert_array_equal(rows[0:13], DINO[0:13])
    with pytest.raises(
        UsageError,
        match=r"x.npz: features_dino \(20, 4\) float64 holds NaN or infinity in row 13",
    ):
        list(blocks(rows, 5))


def test_spaces_can_be_sent_to_another_process(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", CLIP)
    spaces = open_features(open_arrays(tmp_path / "x.npy")).spaces
    assert_array_equal(pickle.loads(pickle.dumps(spaces))["features"][4:6], CLIP[4:6])  # noqa: S301


def test_the_fingerprint_is_of_the_features_and_not_of_what_stands_beside_them(
    tmp_path: Path,
) -> None:
    alone = open_npz(tmp_path, features=CLIP).fingerprint()
    labels = np.arange(len(CLIP))
    assert open_npz(tmp_path, features=CLIP, labels=labels).fingerprint() == alone
    assert open_npz(tmp_path, features_clip=CLIP).fingerprint() != alone
    assert open_npz(tmp_path, features=CLIP.astype(np.float64)).fingerprint() != alone
    changed = CLIP.copy()
    changed[-1, -1] += 1
    assert open_npz(tmp_path, features=changed).fingerprint() != alone


def test_a_sparse_file_of_more_rows_than_ids_fit_in_memory_is_refused_at_once(
    tmp_path: Path,
) -> None:
    rows = 10**11
    path = tmp_path / "features.npy"
    with path.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (rows, 1)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * rows)
    with pytest.raises(UsageError, match=r"claims 100,000,000,000 rows"):
        open_features(open_arrays(path))


def test_a_null_character_which_hdf5_does_not_keep_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=CLIP[:3], ids=np.array(["a", "b\0c", "d"]))
    with pytest.raises(UsageError, match="ids holds a null character in row 1"):
        open_features(open_arrays(tmp_path / "x.npz"))

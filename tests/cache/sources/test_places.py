"""`file.h5::train/features`: groups of files of arrays, and names that are nearly right."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import (
    FeatureSource,
    ImageSource,
    SourceConfig,
    folder_of,
    open_source,
)

MATRIX = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train/features"] = MATRIX
        file["train/labels"] = [0, 0, 1, 1, 2, 2]
        file["test/clip/embedding"] = MATRIX[:3]
        file["test/ids"] = ["a", "b", "c"]
        file["epochs"] = 3
    return tmp_path / "x.h5"


def opened(path: Path | str) -> FeatureSource:
    source = open_source(SourceConfig(path=str(path)))
    assert isinstance(source, FeatureSource)
    return source


def test_a_group_is_a_file_in_the_file(grouped: Path) -> None:
    source = opened(f"{grouped}::train")
    assert_array_equal(source.spaces["features"][0:6], MATRIX)
    assert source.manifest.label is not None
    assert source.manifest.label.tolist() == [0, 0, 1, 1, 2, 2]


def test_an_array_takes_the_columns_beside_and_above(grouped: Path) -> None:
    assert opened(f"{grouped}::train/features").manifest.label is not None
    source = opened(f"{grouped}::/test/clip/embedding")
    assert_array_equal(source.spaces["features"][0:3], MATRIX[:3])
    assert source.manifest.id.tolist() == ["a", "b", "c"]


def test_any_array_of_any_file_can_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", embeddings=MATRIX, photos=np.zeros((2, 4, 4, 3), np.uint8))
    assert_array_equal(opened(f"{tmp_path}/x.npz::embeddings").spaces["features"][0:6], MATRIX)
    assert isinstance(open_source(SourceConfig(path=f"{tmp_path}/x.npz::photos")), ImageSource)


def test_groups_are_listed_when_nothing_is_named(grouped: Path) -> None:
    with pytest.raises(UsageError) as raised:
        opened(grouped)
    message = str(raised.value)
    assert "train/features (6, 4) float32" in message
    assert f"{grouped}::" in message
    opened(message.rpartition("name an array of it: ")[2])  # the advice works


def test_a_place_that_is_not_there(grouped: Path) -> None:
    with pytest.raises(UsageError, match="holds no trian; did you mean train"):
        opened(f"{grouped}::trian")
    with pytest.raises(UsageError, match="epochs is"):
        opened(f"{grouped}::epochs")


def test_a_file_whose_name_has_colons_is_that_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a::b.npy", MATRIX)
    assert len(opened(tmp_path / "a::b.npy").manifest) == 6


@pytest.mark.parametrize(
    ("name", "meant"),
    [("label", "labels"), ("id", "ids"), ("Labels", "labels"), ("class_name", "class_names")],
)
def test_a_name_nearly_right_is_refused(tmp_path: Path, name: str, meant: str) -> None:
    np.savez(tmp_path / "x.npz", features=MATRIX, **{name: np.arange(6)})
    with pytest.raises(UsageError, match=f"holds {name} .*did you mean {meant}"):
        opened(tmp_path / "x.npz")


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=MATRIX, loss=np.zeros(3), labels=np.zeros(6, int))
    assert opened(tmp_path / "x.npz").manifest.remarks == ("not read: loss",)


def test_our_own_embeddings_are_read_back(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "embeddings.h5", "w") as file:
        file["id"], file["digest"], file["path"] = [[f"{i}.jpg" for i in range(6)]] * 3
        file["label"], file["class_name"] = [0, 1, 0, 1, 0, -1], ["cat", "dog"]
        file["skipped/path"] = ["x.jpg"]
        file["clip/features"] = MATRIX
    source = opened(tmp_path / "embeddings.h5")
    assert list(source.spaces) == ["clip"]
    assert source.manifest.id[2] == "2.jpg"
    assert source.manifest.class_name is not None
    assert source.manifest.class_name.tolist() == ["cat", "dog"]
    assert opened(f"{tmp_path}/embeddings.h5::clip/features").manifest.id[5] == "5.jpg"


def test_features_with_their_images(tmp_path: Path) -> None:
    images = np.zeros((6, 4, 5, 3), np.uint8)
    np.savez(tmp_path / "x.npz", features=MATRIX, images=images, ids=list("abcdef"))
    source = open_source(SourceConfig(path=f"{tmp_path}/x.npz", limit=3))
    assert isinstance(source, FeatureSource)
    assert isinstance(source, ImageSource)
    assert source.manifest.id.tolist() == ["a", "c", "e"]
    assert source.decode(source.read(2)).size == (5, 4)
    np.savez(tmp_path / "x.npz", features=MATRIX, images=images[:4])
    with pytest.raises(UsageError, match="6 rows of features, but 4 images"):
        opened(tmp_path / "x.npz")


def test_features_with_the_paths_of_their_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    paths = ["a.png", f"{tmp_path}/a.png", *[""] * 4]
    np.savez(tmp_path / "x.npz", features=MATRIX, paths=paths)
    config = SourceConfig(path=f"{tmp_path}/x.npz")
    source = open_source(config)
    assert isinstance(source, ImageSource)
    assert [source.read(row) for row in range(2)] == [b"a", b"a"]
    assert (folder_of(config) / source.manifest.path[0]).is_file()
    with pytest.raises(OSError, match="regular"):
        source.read(2)

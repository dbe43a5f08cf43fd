"""`open_source`: from a path to the right kind of source."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import FeatureSource, ImageSource, SourceConfig, open_source
from clusterpipe.cache.sources.subset import evenly_spread

FEATURES = np.random.default_rng(0).standard_normal((40_000, 3)).astype(np.float32)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for kind in ("a", "b"):
        (root / kind).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (2, 2), (i, i, i)).save(root / kind / f"{i}.png")
    (root / "gone.jpg").symlink_to("nowhere")
    return root


def test_a_folder(photos: Path) -> None:
    source = open_source(SourceConfig(path=str(photos), labels_from_folders=True))
    assert isinstance(source, ImageSource)
    assert source.name == "photos"
    assert list(source.manifest.class_name) == ["a", "b"]
    assert len(source.manifest) == 10


def test_the_home_folder_and_relative_paths(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    monkeypatch.setenv("USERPROFILE", str(photos.parent))
    assert len(open_source(SourceConfig(path="~/photos")).manifest) == 10
    monkeypatch.chdir(photos)
    assert open_source(SourceConfig(path=".")).name == "photos"
    assert open_source(SourceConfig(path="..")).name == photos.parent.name
    assert open_source(SourceConfig(path="a/..")).name == "photos"


def test_a_source_can_be_read_after_the_working_directory_changed(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    source = open_source(SourceConfig(path="photos"))
    monkeypatch.chdir(photos)
    assert isinstance(source, ImageSource)
    assert source.read(0) == (photos / "a" / "0.png").read_bytes()


def test_a_table(photos: Path) -> None:
    (photos / "list.csv").write_text("path\na/1.png\n")
    source = open_source(SourceConfig(path=str(photos / "list.csv")))
    assert source.name == "list"
    assert list(source.manifest.id) == ["a/1.png"]


def test_the_demonstration_is_the_default() -> None:
    source = open_source()
    assert source.name == SourceConfig().path == "demonstration"
    assert isinstance(source, ImageSource)


def test_a_folder_called_demonstration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demonstration").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(open_source(SourceConfig(path="./demonstration")).manifest) == 0


def test_files_of_arrays_are_judged_by_what_they_hold(tmp_path: Path) -> None:
    images = np.zeros((4, 2, 2, 3), np.uint8)
    np.save(tmp_path / "features.npy", FEATURES)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "gray.npy", images[..., 0])
    np.savez(tmp_path / "images.npz", images=images)
    np.savez(tmp_path / "both.NPZ", images=images, features_x=FEATURES[:4])
    (tmp_path / "both.NPZ.npz").rename(tmp_path / "both.NPZ")
    kinds = {
        path.name: "features"
        if isinstance(open_source(SourceConfig(path=str(path))), FeatureSource)
        else "images"
        for path in tmp_path.iterdir()
    }
    assert kinds == {
        "features.npy": "features",
        "images.npy": "images",
        "gray.npy": "images",
        "images.npz": "images",
        "both.NPZ": "features",
    }


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"holds array \(5\) float64\. Accepted: features \(n, d\) floats"),
        (np.zeros((5, 3), np.uint8), r"features is \(5, 3\) uint8; expected"),
        (np.zeros((5, 2, 2, 4), np.uint8), r"images is \(5, 2, 2, 4\) uint8; expected"),
        (np.zeros((5, 2, 2, 3)), r"images is \(5, 2, 2, 3\) float64; expected"),
    ],
)
def test_other_arrays_are_refused_with_what_was_found(
    array: np.ndarray, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UsageError, match=message):
        open_source(SourceConfig(path=str(tmp_path / "x.npy")))


def test_an_archive_without_images_or_features_lists_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", embeddings=FEATURES[:5])
    with pytest.raises(UsageError, match=r"holds embeddings \(5, 3\) float32. Accepted:"):
        open_source(SourceConfig(path=str(tmp_path / "x.npz")))


def test_a_path_that_does_not_exist_suggests_its_neighbour(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"phtos does not exist; did you mean photos\?"):
        open_source(SourceConfig(path=str(photos.parent / "phtos")))
    with pytest.raises(UsageError, match=r"did you mean demonstration\?"):
        open_source(SourceConfig(path="demonstratoin"))
    with pytest.raises(UsageError, match=r"zzz does not exist$"):
        open_source(SourceConfig(path=str(photos / "nowhere" / "zzz")))


@pytest.mark.parametrize("when", [-(10**18), (1 << 63) + 10**15])
def test_a_file_of_another_century_is_one_like_any_other(photos: Path, when: int) -> None:
    """Clocks that are wrong, and file systems that hold more than 64 bits of nanoseconds."""
    rows = len(open_source(SourceConfig(path=str(photos))).manifest.id)
    np.savez(photos / "x.npz", features=np.eye(3, dtype=np.float32))
    (photos / "list.csv").write_text("path\n" + str(next(photos.rglob("*.png"))) + "\n")
    for file in [*photos.rglob("*.png"), photos / "x.npz"]:
        os.utime(file, ns=(when, when))
    wanted = min(when, (1 << 63) - 1)
    for path, n in ((photos, rows), (photos / "x.npz", 3), (photos / "list.csv", 1)):
        found = open_source(SourceConfig(path=str(path))).manifest.mtime
        assert len(found) == n
        assert wanted in found


def test_a_link_to_what_is_gone_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "x.npz").symlink_to("gone.npz")
    with pytest.raises(UsageError, match=r"x\.npz is a link to what is not there: gone\.npz"):
        open_source(SourceConfig(path=str(tmp_path / "x.npz")))


def test_other_files_are_refused_with_what_is_accepted(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"0\.png is no source of images\. Accepted: a folder"):
        open_source(SourceConfig(path=str(photos / "a" / "0.png")))
    with pytest.raises(UsageError, match=r"0\.png/x cannot be read"):
        open_source(SourceConfig(path=str(photos / "a" / "0.png" / "x")))
    with pytest.raises(UsageError, match="cannot be read"):
        open_source(SourceConfig(path="a\0b"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a device")
def test_devices_are_refused() -> None:
    with pytest.raises(UsageError, match="neither a folder nor a regular file"):
        open_source(SourceConfig(path="/dev/null"))


def test_a_limit_takes_images_from_every_part(photos: Path) -> None:
    source = open_source(SourceConfig(path=str(photos), labels_from_folders=True, limit=4))
    assert isinstance(source, ImageSource)
    assert list(source.manifest.id) == ["a/0.png", "a/2.png", "b/0.png", "b/2.png"]
    assert source.manifest.label.tolist() == [0, 0, 1, 1]
    assert source.name == "photos"
    assert list(source.manifest.skipped_path) == ["gone.jpg"]
    for row, path in enumerate(source.manifest.path):
        assert source.read(row) == (photos / path).read_bytes()
        assert source.decode(source.read(row)).size == (2, 2)


def test_a_limit_on_features_selects_the_same_rows_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, features_a=FEATURES, features_b=2 * FEATURES)
    whole = open_source(SourceConfig(path=str(path)))
    source = open_source(SourceConfig(path=str(path), limit=1000))
    assert isinstance(source, FeatureSource)
    assert isinstance(whole, FeatureSource)
    rows = source.manifest.id.astype(int)
    assert len(rows) == 1000
    assert source.spaces["a"].shape == (1000, 3)
    assert source.spaces["a"].dtype == np.float32
    assert_array_equal(source.spaces["a"][0:1000], FEATURES[rows])
    assert_array_equal(source.spaces["b"][100:300], 2 * FEATURES[rows[100:300]])
    assert source.fingerprint() == whole.fingerprint()
    assert source.name == "x"


@pytest.mark.parametrize("limit", [0, 10, 11])
def test_a_limit_beyond_the_source_changes_nothing(photos: Path, limit: int) -> None:
    assert len(open_source(SourceConfig(path=str(photos), limit=limit)).manifest) == 10


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(UsageError, match="limit is -1"):
        open_source(SourceConfig(limit=-1))


@given(n=st.integers(1, 10**6), share=st.floats(0.001, 1))
def test_rows_are_spread_evenly(n: int, share: float) -> None:
    count = max(1, min(1000, int(share * n)))
    rows = evenly_spread(n, count)
    assert len(rows) == count
    assert rows[0] == 0
    assert rows[-1] < n
    gaps = np.diff(rows, append=n)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_every_option_has_help() -> None:
    assert all(len(field.metadata["help"]) > 30 for field in fields(SourceConfig))
    assert {field.name: field.metadata["affects_result"] for field in fields(SourceConfig)} == {
        "path": False,
        "also": False,
        "labels_from_folders": False,
        "limit": True,
        "follow_links": False,
        "appended": False,
        "max_pixels": False,
        "max_seconds": False,
    }


def test_opening_a_folder_imports_nothing_heavy(photos: Path) -> None:
    """`status` opens the source, and must answer at once."""
    program = (
        "import sys; from clusterpipe.cache.sources import SourceConfig, open_source;"
        f"source = open_source(SourceConfig(path={str(photos)!r}));"
        "print(len(source.manifest), {'torch', 'PIL', 'h5py', 'skimage'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "10 set()\n"


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("https://example.org/photos.zip", "curl -O"),
        ("s3://bucket/photos", "aws s3 sync"),
        ("smb://nas/photos", "copy it to this machine"),
        ("file:///photos", "leave file:// out"),
    ],
)
def test_addresses_get_a_plain_sentence(address: str, advice: str) -> None:
    with pytest.raises(UsageError, match=f"{address} is an address: .*{advice}"):
        open_source(SourceConfig(path=address))


@pytest.mark.parametrize("name", ["features.pt", "features.pkl"])
def test_pickled_objects_get_a_hint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"never loaded.*np\.save\('features\.npy'"):
        open_source(SourceConfig(path=str(tmp_path / name)))

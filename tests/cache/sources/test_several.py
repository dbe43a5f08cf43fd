"""Several sources in one: each image once, with ids that hold from their common folder."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import ImageSource, SourceConfig, folder_of, open_source


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 3), shade).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for place in ("2023/jan/1.png", "2023/jan/2.jpg", "2024/jan/1.png", "notes.txt", "top.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(place.encode())
    return tmp_path


def opened(*sources: Path | str, **settings: bool) -> ImageSource:
    first, *also = map(str, sources)
    config = SourceConfig(path=first, also=tuple(also), **settings)
    source = open_source(config)
    assert isinstance(source, ImageSource)
    files = source.manifest.path.tolist()
    assert all((folder_of(config) / path).is_file() for path in files if path)
    return source


def test_folders_and_files(album: Path) -> None:
    source = opened(album / "2024", album / "top.png", album / "2023/jan")
    ids = ["2023/jan/1.png", "2023/jan/2.jpg", "2024/jan/1.png", "top.png"]
    assert source.manifest.id.tolist() == ids
    assert [source.read(row).decode() for row in range(4)] == ids


def test_what_overlaps_is_taken_once(album: Path) -> None:
    source = opened(album / "2023", album / "2023/jan", album / "2023/jan/1.png")
    assert source.manifest.id.tolist() == ["jan/1.png", "jan/2.jpg"]


def test_given_folders_are_classes(album: Path) -> None:
    manifest = opened(album / "2023", album / "2024", labels_from_folders=True).manifest
    assert manifest.class_name is not None
    assert manifest.class_name.tolist() == ["2023", "2024"]


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("20*", ["2023/jan/1.png", "2023/jan/2.jpg", "2024/jan/1.png"]),
        ("**/1.png", ["2023/jan/1.png", "2024/jan/1.png"]),
        ("202[34]/jan/*.jpg", ["2023/jan/2.jpg"]),
        ("*", ["2023/jan/1.png", "2023/jan/2.jpg", "2024/jan/1.png", "top.png"]),
    ],
)
def test_patterns(album: Path, pattern: str, ids: list[str]) -> None:
    assert opened(album / pattern).manifest.id.tolist() == ids


def test_a_pattern_says_what_it_did_not_read(album: Path) -> None:
    assert opened(album / "*").manifest.other_path.tolist() == ["notes.txt"]


def test_a_folder_whose_name_looks_like_a_pattern(album: Path) -> None:
    (album / "2023").rename(album / "[a]*")
    assert len(opened(album / "[a]*").manifest) == 2


def test_a_pattern_that_fits_nothing(album: Path) -> None:
    with pytest.raises(UsageError, match="no file fits the pattern"):
        opened(album / "*.tif")


def test_shards_and_folders(album: Path) -> None:
    for number in range(2):
        with zipfile.ZipFile(album / f"shard-{number}.zip", "w") as archive:
            archive.writestr("a/0.png", png(number))
            archive.writestr("b/0.png", png(9 + number))
    source = opened(album / "shard-*.zip", album / "2024")
    ids = ["2024/jan/1.png", *(f"shard-{n}.zip/{kind}/0.png" for n in range(2) for kind in "ab")]
    assert source.manifest.id.tolist() == ids
    assert source.read(3) == png(1)
    assert source.manifest.path.tolist() == [ids[0], "", "", "", ""]


def test_lists_keep_their_labels_and_find_their_files(album: Path) -> None:
    (album / "2023/list.csv").write_text("path,id,label,split\njan/1.png,one,cat,train\n")
    manifest = opened(album / "2023/list.csv", album / "2024").manifest
    assert manifest.id.tolist() == ["2024/jan/1.png", "2023/list.csv/one"]
    assert manifest.path.tolist() == ["2024/jan/1.png", "2023/jan/1.png"]
    assert manifest.label is not None
    assert manifest.split is not None
    assert manifest.label.tolist() == [-1, 0]
    assert manifest.split.tolist() == ["", "train"]


def test_of_features_there_is_but_one(album: Path) -> None:
    np.save(album / "x.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(UsageError, match=r"x\.npy holds features, of which a run takes one file"):
        opened(album / "2023", album / "x.npy")


def test_each_source_has_to_be_there(album: Path) -> None:
    with pytest.raises(UsageError, match="2025 does not exist"):
        opened(album / "2023", album / "2025")

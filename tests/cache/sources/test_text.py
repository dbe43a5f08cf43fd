from pathlib import Path

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources.text import open_text


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b c.jpg", "ä.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def written(folder: Path, text: bytes) -> Path:
    (folder / "list.txt").write_bytes(text)
    return folder / "list.txt"


def test_paths_are_ids_in_the_order_of_the_list(photos: Path) -> None:
    text = f"b c.jpg\r\n\n./a.jpg\n{photos}/ä.jpg\n".encode()
    source = open_text(written(photos, text))
    assert source.manifest.id.tolist() == ["b c.jpg", "a.jpg", f"{photos}/ä.jpg"]
    assert [source.read(row) for row in range(3)] == [b"b c.jpg", b"a.jpg", "ä.jpg".encode()]
    assert source.name == "list"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_windows(photos: Path, encoding: str) -> None:
    assert open_text(written(photos, "ä.jpg\r\n".encode(encoding))).manifest.id.tolist() == [
        "ä.jpg"
    ]


def test_null_characters_separate_any_names(photos: Path) -> None:
    (photos / "two\nlines.jpg").write_bytes(b"x")
    (photos / "ä").mkdir()
    source = open_text(written(photos, b"two\nlines.jpg\0a.jpg\0"))
    assert source.manifest.id.tolist() == ["two\nlines.jpg", "a.jpg"]


def test_names_that_are_not_unicode(photos: Path) -> None:
    with open(bytes(photos) + b"/\xff.jpg", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    source = open_text(written(photos, b"\xff.jpg\n"))
    assert source.manifest.id.tolist() == ["./%FF.jpg"]
    assert source.read(0) == b"x"


def test_what_is_missing_or_comes_twice_is_told(photos: Path) -> None:
    source = open_text(written(photos, b"a.jpg\ngone.jpg\na.jpg\n."))
    assert source.manifest.id.tolist() == ["a.jpg"]
    assert source.manifest.skipped_path.tolist() == ["gone.jpg", "."]
    assert source.manifest.skipped_reason[0] == "no such file or directory"
    assert source.manifest.remarks == ("1 paths of list.txt came twice",)


def test_a_text_without_paths(photos: Path) -> None:
    with pytest.raises(UsageError, match="lists no path"):
        open_text(written(photos, b"\n\n"))

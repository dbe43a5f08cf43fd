import os
import sys
from pathlib import Path

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import ImageSource, Manifest
from clusterpipe.cache.sources.table import open_table


def write(folder: Path, text: str, *, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    table = folder / name
    table.write_text(text, encoding=encoding)
    return table


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.jpg", "b.jpg", "sub/c d.jpg", "ä.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def skipped(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.skipped_path, manifest.skipped_reason, strict=True))


def test_all_columns(photos: Path) -> None:
    table = write(
        photos,
        "label,path,id,split,camera\n"
        "dog,a.jpg,one,train,Leica\n"
        ',"sub/c d.jpg",two,test,\n'
        "cat,b.jpg,three,train,\n",
    )
    source = open_table(table)
    manifest = source.manifest
    assert isinstance(source, ImageSource)
    assert source.name == "list"
    assert list(manifest.id) == ["one", "two", "three"]
    assert list(manifest.path) == ["a.jpg", "sub/c d.jpg", "b.jpg"]
    assert list(manifest.class_name) == ["cat", "dog"]
    assert manifest.label.tolist() == [1, -1, 0]
    assert list(manifest.split) == ["train", "test", "train"]
    assert manifest.size.tolist() == [5, 11, 5]
    assert manifest.mtime.tolist() == [(photos / path).stat().st_mtime_ns for path in manifest.path]
    assert [source.read(row) for row in range(3)] == [b"a.jpg", b"sub/c d.jpg", b"b.jpg"]


def test_a_path_alone_is_enough_and_is_the_id(photos: Path) -> None:
    manifest = open_table(write(photos, "path\n./b.jpg\n\na.jpg\n")).manifest
    assert list(manifest.id) == list(manifest.path) == ["b.jpg", "a.jpg"]
    assert manifest.label is manifest.class_name is manifest.split is None


def test_what_spreadsheets_write(photos: Path) -> None:
    """A byte-order mark, carriage returns, capitals and spaces in the header."""
    table = write(photos, "Path, Label\r\nä.jpg, Katze\r\n", encoding="utf-8-sig")
    manifest = open_table(table).manifest
    assert list(manifest.path) == ["ä.jpg"]
    assert list(manifest.class_name) == ["Katze"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path;label;split\r\nä.jpg;a, b;train\r\n", "utf-8"),
        ("sep=;\r\npath;label;split\r\nä.jpg;a, b;train\r\n", "utf-8-sig"),
        ("path\tlabel\tsplit\r\nä.jpg\ta, b\ttrain\r\n", "utf-16"),
        ('"SEP=|"\npath|label|split\nä.jpg|a, b|train\n', "utf-16"),
        ('path,"label",split\nä.jpg, "a, b",train\n', "utf-8"),
    ],
)
def test_dialects_of_spreadsheets(photos: Path, text: str, encoding: str) -> None:
    manifest = open_table(write(photos, text, encoding=encoding)).manifest
    assert manifest.path.tolist() == ["ä.jpg"]
    assert manifest.class_name is not None
    assert manifest.class_name.tolist() == ["a, b"]
    assert manifest.split is not None
    assert manifest.split.tolist() == ["train"]


def test_lines_are_counted_from_the_top_of_the_file(photos: Path) -> None:
    with pytest.raises(UsageError, match="line 4: the path is empty"):
        open_table(write(photos, "sep=;\npath;id\na.jpg;1\n;2\n"))


def test_tabs(photos: Path) -> None:
    table = write(photos, "path\tlabel\nsub/c d.jpg\ta, b\n", name="list.TSV")
    manifest = open_table(table).manifest
    assert list(manifest.path) == ["sub/c d.jpg"]
    assert list(manifest.class_name) == ["a, b"]


def test_integer_labels_are_ordered_as_numbers(photos: Path) -> None:
    manifest = open_table(write(photos, "path,label\na.jpg,10\nb.jpg,9\nä.jpg,-1\n")).manifest
    assert list(manifest.class_name) == ["9", "10"]
    assert manifest.label.tolist() == [1, 0, -1]


@pytest.mark.parametrize("name", ["007", "12345678901234567890", "1.0", "+1", "-01"])
def test_other_numbers_are_names(photos: Path, name: str) -> None:
    manifest = open_table(write(photos, f"path,label\na.jpg,{name}\nb.jpg,2\n")).manifest
    assert list(manifest.class_name) == sorted([name, "2"])


def test_empty_columns_are_no_columns(photos: Path) -> None:
    manifest = open_table(write(photos, "path,label,split,id\na.jpg,,,\n")).manifest
    assert manifest.label is manifest.split is None
    assert list(manifest.id) == ["a.jpg"]


def test_absolute_paths_point_elsewhere(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("tables")
    source = open_table(write(elsewhere, f"path\n{photos / 'a.jpg'}\n"))
    assert list(source.manifest.path) == [str(photos / "a.jpg")]
    assert source.read(0) == b"a.jpg"


def test_missing_files_are_skipped_and_classes_stay(photos: Path) -> None:
    (photos / "broken.jpg").symlink_to("gone")
    table = write(photos, "path,label\ngone.jpg,x\na.jpg,y\nsub,y\nbroken.jpg,z\n")
    manifest = open_table(table).manifest
    assert list(manifest.id) == ["a.jpg"]
    assert manifest.label.tolist() == [1]
    assert list(manifest.class_name) == ["x", "y", "z"]
    assert skipped(manifest) == {
        "gone.jpg": "no such file or directory",
        "sub": "not a regular file",
        "broken.jpg": "no such file or directory",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="needs named pipes")
@pytest.mark.timeout(20)
def test_pipes_are_never_opened(photos: Path) -> None:
    os.mkfifo(photos / "pipe.jpg")
    manifest = open_table(write(photos, "path\npipe.jpg\n")).manifest
    assert skipped(manifest) == {"pipe.jpg": "not a regular file"}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_files_without_permission_are_skipped(photos: Path) -> None:
    (photos / "a.jpg").chmod(0)
    manifest = open_table(write(photos, "path\na.jpg\n")).manifest
    assert skipped(manifest) == {"a.jpg": "permission denied"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names its columns.*found: nothing"),
        ("a.jpg,cat\nb.jpg,dog\n", "names its columns.*found: a.jpg, cat"),
        ("path|label\na.jpg|cat\n", r"found: path\|label"),
        ("1.5,2e-3\n0,1\n", r"np.save.*np.loadtxt\('list.csv'"),
        ("image_path,label\na.jpg,cat\n", "If image_path holds the paths, call it path"),
        ("path,path\na.jpg,b.jpg\n", "found: path, path"),
        ("path,label\na.jpg,1\nb.jpg,1,2\n", "line 3: more cells than columns"),
        ("path,id\na.jpg,1\n,2\n", "line 3: the path is empty"),
        ("path,id\na.jpg,1\nb.jpg,1\n", "line 3: the id stands in line 2 already"),
        ("path\na.jpg\nb.jpg\n.//a.jpg\n", "line 4: the path stands in line 2 already"),
        ('path\n"a.jpg\n', "line 2: unexpected end of data"),
        ("path\na\0.jpg\n", "line 2: holds a null character"),
        ("path,label\na.jpg,-2\n", "label -2"),
    ],
)
def test_malformed_tables_name_the_line(photos: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"list.csv.*{message}"):
        open_table(write(photos, text))


def test_a_repeat_is_found_through_the_absolute_path(photos: Path) -> None:
    with pytest.raises(UsageError, match="line 3: the path stands in line 2"):
        open_table(write(photos, f"path\na.jpg\n{photos / 'a.jpg'}\n"))


def test_a_path_through_a_link_is_another_path(photos: Path) -> None:
    """`link/../a.jpg` lies beside what the link leads to."""
    (photos / "far" / "away").mkdir(parents=True)
    (photos / "far" / "a.jpg").write_bytes(b"another")
    (photos / "link").symlink_to(photos / "far" / "away")
    source = open_table(write(photos, "path\na.jpg\nlink/../a.jpg\n"))
    assert [source.read(0), source.read(1)] == [b"a.jpg", b"another"]


def test_latin1_is_refused_with_the_reason(photos: Path) -> None:
    with pytest.raises(UsageError, match="is not UTF-8"):
        open_table(write(photos, "path\nä.jpg\n", encoding="latin-1"))


def test_a_header_alone_is_an_empty_source(photos: Path) -> None:
    assert len(open_table(write(photos, "path,label\n")).manifest) == 0

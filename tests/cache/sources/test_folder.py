import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.progress import Advance
from clusterpipe.cache.sources import ImageSource, Manifest, file_path, stored_path
from clusterpipe.cache.sources.folder import open_folder

linux = pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
unprivileged = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def ids(root: Path) -> list[str]:
    return list(open_folder(root).manifest.id)


def skipped(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.skipped_path, manifest.skipped_reason, strict=True))


def test_images_are_listed_recursively_in_code_point_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.PNG", "a.jpg", "Z.tiff", "ä.webp", "a/b/c.HEIC", "a-1.jpeg"):
        touch(tmp_path / name)
    expected = ["Z.tiff", "a-1.jpeg", "a.jpg", "a/b/c.HEIC", "a/z.PNG", "b.jpg", "ä.webp"]
    assert ids(tmp_path) == expected == sorted(expected)


def test_the_manifest_tells_path_size_and_time(tmp_path: Path) -> None:
    file = touch(tmp_path / "a" / "b.jpg", b"12345")
    os.utime(file, ns=(1, 1_600_000_000_123_456_789))
    manifest = open_folder(tmp_path).manifest
    assert list(manifest.path) == ["a/b.jpg"]
    assert manifest.size.tolist() == [5]
    assert manifest.mtime.tolist() == [file.stat().st_mtime_ns]
    assert manifest.size.dtype == manifest.mtime.dtype == np.int64
    assert manifest.label is manifest.class_name is manifest.split is None


def test_hidden_files_and_other_files_are_ignored(tmp_path: Path) -> None:
    for name in (".a.jpg", ".cache/a.jpg", "a/.b/c.jpg", "notes.txt", "jpg", "a.jpg.part"):
        touch(tmp_path / name)
    manifest = open_folder(tmp_path).manifest
    assert len(manifest) == 0
    assert skipped(manifest) == {}


def test_a_run_among_its_images_is_not_listed(tmp_path: Path) -> None:
    from clusterpipe.cache.run_directory import RunDirectory

    Image.new("RGB", (2, 2)).save(tmp_path / "photo.png")
    run = RunDirectory(tmp_path / "runs/photos")
    with run.locked():
        run.config.write_text("seed = 0")
        run.pictures.mkdir()
        Image.new("RGB", (2, 2)).save(run.pictures / "sheet.png")
        assert list(open_folder(tmp_path).manifest.id) == ["photo.png"]
    assert list(open_folder(tmp_path).manifest.id) == ["photo.png"]


def test_a_hidden_root_is_what_was_asked_for(tmp_path: Path) -> None:
    touch(tmp_path / ".photos" / "a.jpg")
    source = open_folder(tmp_path / ".photos")
    assert list(source.manifest.id) == ["a.jpg"]
    assert source.name == "photos"


def test_reading_and_decoding(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), (1, 2, 3)).save(tmp_path / "a.png")
    touch(tmp_path / "b.png", b"no image")
    source = open_folder(tmp_path)
    assert isinstance(source, ImageSource)
    assert source.read(0) == (tmp_path / "a.png").read_bytes()
    assert source.decode(source.read(0)).getpixel((3, 2)) == (1, 2, 3)
    with pytest.raises(UnreadableImage, match="not an image"):
        source.decode(source.read(1))


def test_a_file_that_vanished_since_the_scan_is_an_oserror(tmp_path: Path) -> None:
    file = touch(tmp_path / "a.jpg")
    source = open_folder(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        source.read(0)


def test_folders_as_labels(tmp_path: Path) -> None:
    for name in ("dog/1.jpg", "cat/1.jpg", "cat/old/2.jpg", "alone.jpg", "Bee/1.jpg"):
        touch(tmp_path / name)
    manifest = open_folder(tmp_path, labels_from_folders=True).manifest
    assert list(manifest.class_name) == ["Bee", "cat", "dog"]
    assert dict(zip(manifest.id, manifest.label.tolist(), strict=True)) == {
        "Bee/1.jpg": 0,
        "alone.jpg": -1,
        "cat/1.jpg": 1,
        "cat/old/2.jpg": 1,
        "dog/1.jpg": 2,
    }


def test_links_to_files_are_followed_and_broken_ones_reported(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "image", b"1234")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "good.jpg").symlink_to(tmp_path / "elsewhere" / "image")
    (photos / "broken.jpg").symlink_to(tmp_path / "gone")
    (photos / "itself.jpg").symlink_to("itself.jpg")
    (photos / "broken.txt").symlink_to(tmp_path / "gone")
    source = open_folder(photos)
    assert list(source.manifest.id) == ["good.jpg"]
    assert source.manifest.size.tolist() == [4]
    assert source.read(0) == b"1234"
    assert skipped(source.manifest) == {"broken.jpg": "broken link", "itself.jpg": "broken link"}


@pytest.mark.timeout(20)
def test_link_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "b" / "1.jpg")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a", target_is_directory=True)
    assert ids(tmp_path) == ["a/b/1.jpg"]


@pytest.mark.timeout(20)
def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "1.jpg")
    touch(tmp_path / "y" / "2.jpg")
    (tmp_path / "x" / "y").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "x").symlink_to(tmp_path / "x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").symlink_to(tmp_path / "x")
    found = open_folder(tmp_path / "root", follow_links=True).manifest.id
    assert list(found) == ["x/1.jpg", "x/y/2.jpg"]
    assert ids(tmp_path) == ["x/1.jpg", "y/2.jpg"]


def test_a_linked_folder_is_listed_once_under_its_real_path_if_that_is_inside(
    tmp_path: Path,
) -> None:
    touch(tmp_path / "outside" / "1.jpg")
    photos = tmp_path / "photos"
    touch(photos / "z_real" / "2.jpg")
    (photos / "a_link").symlink_to(photos / "z_real")
    (photos / "c").symlink_to(tmp_path / "outside")
    (photos / "b").symlink_to(tmp_path / "outside")
    assert list(open_folder(photos, follow_links=True).manifest.id) == ["b/1.jpg", "z_real/2.jpg"]


@linux
@pytest.mark.timeout(20)
def test_pipes_sockets_and_devices_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    (tmp_path / "linked_pipe.png").symlink_to("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s.jpg"))
        manifest = open_folder(tmp_path).manifest
    assert list(manifest.id) == ["a.jpg"]
    assert skipped(manifest) == {}


@linux
@pytest.mark.timeout(20)
def test_a_file_that_became_a_pipe_since_the_scan_does_not_hang(tmp_path: Path) -> None:
    file = touch(tmp_path / "a.jpg")
    source = open_folder(tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(OSError, match="not a regular file"):
        source.read(0)


@unprivileged
def test_files_and_folders_without_permission_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "b.jpg").chmod(0)
    closed = touch(tmp_path / "closed" / "c.jpg").parent
    closed.chmod(0)
    try:
        manifest = open_folder(tmp_path).manifest
    finally:
        closed.chmod(0o700)
    assert list(manifest.id) == ["a.jpg"]
    assert skipped(manifest) == {"b.jpg": "permission denied", "closed": "permission denied"}


@unprivileged
def test_a_root_without_permission_is_a_usage_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(UsageError, match="closed cannot be read: Permission denied"):
        open_folder(closed)


@linux
def test_names_that_are_not_utf8_survive_storage_in_hdf5(tmp_path: Path) -> None:
    names = [
        b"caf\xe9.jpg",
        b"caf\xe9%E9.jpg",
        b"caf%E9.jpg",
        b"\xff/plain.jpg",
        b"caf\xc3\xa9.jpg",
    ]
    for name in names:
        touch(tmp_path / os.fsdecode(name), name)
    source = open_folder(tmp_path, labels_from_folders=True)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["path"] = source.manifest.path
        stored = list(file["path"].asstr())
    assert stored == [
        "./%FF/plain.jpg",
        "./caf%E9%25E9.jpg",
        "./caf%E9.jpg",
        "caf%E9.jpg",
        "café.jpg",
    ]
    assert [(tmp_path / file_path(path)).read_bytes() for path in stored] == [
        source.read(row) for row in range(5)
    ]
    assert {source.read(row) for row in range(5)} == set(names)
    assert list(source.manifest.class_name) == ["./%FF"]


@given(st.binary(min_size=1).filter(lambda raw: 0 not in raw and raw[:2] != b"./"))
def test_any_relative_path_is_stored_as_utf8_and_comes_back(raw: bytes) -> None:
    stored = stored_path(os.fsdecode(raw))
    stored.encode("utf-8")
    assert os.fsencode(file_path(stored)) == raw


@given(st.text(min_size=1).filter(lambda path: path[:2] != "./" and "\0" not in path))
def test_paths_that_are_utf8_are_stored_as_they_are(path: str) -> None:
    assert stored_path(path) == path


name = st.binary(min_size=1, max_size=8).filter(
    lambda raw: not set(b"/\0") & set(raw) and not raw.startswith(b".")
)


@linux
@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(st.sampled_from([b"", b"one", b"tw\xf6", b"%F6"]), name), max_size=8))
def test_every_image_of_a_folder_is_listed_once_and_can_be_read(
    files: set[tuple[bytes, bytes]],
) -> None:
    paths = {(folder + b"/" + name).removeprefix(b"/") + b".jpg" for folder, name in files}
    with TemporaryDirectory() as root:
        for path in paths:
            touch(Path(root) / os.fsdecode(path), path)
        source = open_folder(Path(root))
        listed = [source.read(row) for row in range(len(source.manifest))]
    assert sorted(listed) == sorted(paths)
    assert len(set(source.manifest.id)) == len(paths)
    assert list(source.manifest.id) == sorted(source.manifest.id)


def test_the_scan_reports_how_many_files_it_has_seen(tmp_path: Path) -> None:
    for number in range(5):
        touch(tmp_path / "a" / f"{number}.jpg")
    seen: list[int] = []
    said: list[object] = []

    @contextmanager
    def progress(what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        said.extend([what, total, unit])
        yield seen.append

    open_folder(tmp_path, progress=progress)
    assert said == ["scanning", None, "files"]
    assert sum(seen) == 6  # with the folder


def test_a_missing_root_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone cannot be read"):
        open_folder(tmp_path / "gone")


def other(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.other_path, manifest.other_reason, strict=True))


PNG = b"\x89PNG\r\n\x1a\n"


def test_content_decides_what_is_an_image_where_the_ending_does_not(tmp_path: Path) -> None:
    for name in ("n1", "photo.jpg_large", "scan.JPG_orig"):
        touch(tmp_path / name, b"\xff\xd8\xff\xe0")
    touch(tmp_path / "drawing.dat", PNG)
    assert ids(tmp_path) == ["drawing.dat", "n1", "photo.jpg_large", "scan.JPG_orig"]


def test_every_other_file_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterpipe.cache.signatures.find_spec", lambda name: None)
    touch(tmp_path / "a.jpg")
    raw = b"II*\0\x10\0\0\0CR\x02\0"
    files = {"a.CR2": raw, "b.cr2": raw, "c.nef": b"MM\0*", "d.pdf": b"%PDF-1.7"}
    for name, content in {
        **files,
        "e.mp4": b"\0\0\0\x18ftypmp42",
        "f": b"",
        "g.txt": b"hi",
    }.items():
        touch(tmp_path / name, content)
    manifest = open_folder(tmp_path).manifest
    assert list(manifest.id) == ["a.jpg"]
    assert other(manifest)["a.CR2"] == "not an image: RAW photograph"
    assert other(manifest)["d.pdf"] == "not an image: PDF document"
    assert len(other(manifest)) == 7
    raw = "RAW: pip install rawpy"
    assert manifest.remarks[0].startswith(f"not read: 2 .cr2 ({raw}), 1 .nef ({raw}), ")


def test_links_to_folders_outside_are_followed_when_asked_only(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg")
    touch(tmp_path / "in" / "b" / "c.jpg")
    touch(tmp_path / "out" / "d.jpg")
    (tmp_path / "in" / "album").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "again").symlink_to("b")
    found = open_folder(tmp_path / "in").manifest
    assert list(found.id) == ["a.jpg", "b/c.jpg"]
    assert found.remarks[0].startswith("1 link to a folder outside of the source not followed")
    followed = open_folder(tmp_path / "in", follow_links=True).manifest
    assert list(followed.id) == ["a.jpg", "album/d.jpg", "b/c.jpg"]
    assert followed.remarks == ()


def test_the_stamp_changes_when_a_file_is_written_with_the_same_size_and_time(
    tmp_path: Path,
) -> None:
    file = touch(tmp_path / "a.jpg", b"old")
    before, status = open_folder(tmp_path).manifest, file.stat()
    file.write_bytes(b"new")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = open_folder(tmp_path).manifest
    assert (after.size, after.mtime) == (before.size, before.mtime)
    assert before.stamp is not None
    assert after.stamp is not None
    assert before.stamp[0] != after.stamp[0]

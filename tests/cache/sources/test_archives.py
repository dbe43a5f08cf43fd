"""Archives: members are files, held to the limits of files, and never more than that."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.limits import Limits
from clusterpipe.cache.sources import SourceConfig, open_source
from clusterpipe.cache.sources.archives import open_archive
from clusterpipe.cache.sources.files import FileImages


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 3), shade).save(stream, "PNG")
    return stream.getvalue()


def zipped(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


Write = Callable[[Path, Mapping[str, bytes]], Path]


@pytest.fixture(params=[zipped, tarred])
def write(request: pytest.FixtureRequest) -> Write:
    function: Write = request.param
    return function


def skipped(source: FileImages) -> dict[str, str]:
    manifest = source.manifest
    return dict(zip(manifest.skipped_path, manifest.skipped_reason, strict=True))


def test_members_are_read_where_they_lie(write: Write, tmp_path: Path) -> None:
    members = {f"{kind}/{i}.png": png(i) for kind in ("a", "b") for i in range(3)}
    path = write(tmp_path / "photos", members)
    source = open_archive(path, labels_from_folders=True)
    assert source.manifest.id.tolist() == list(members)
    assert [source.read(row) for row in range(6)] == list(members.values())
    assert source.decode(source.read(5)).size == (4, 3)
    assert source.manifest.class_name is not None
    assert source.manifest.class_name.tolist() == ["a", "b"]
    assert source.manifest.path.tolist() == [""] * 6
    assert [item.name for item in tmp_path.iterdir()] == ["photos"]  # nothing was unpacked


def test_content_decides_and_nothing_vanishes(write: Write, tmp_path: Path) -> None:
    members = {"one": png(1), "two.png": png(2), "notes.txt": b"x", "film": b"\x1aE\xdf\xa3" * 9}
    hidden = {"__MACOSX/two.png": b"x", ".DS_Store": b"x"}
    manifest = open_archive(write(tmp_path / "x.zip", members | hidden)).manifest
    assert manifest.id.tolist() == ["one", "two.png"]
    assert manifest.other_path.tolist() == ["notes.txt", "film"]
    assert manifest.remarks[0].startswith("not read: 1 .txt, 1 without an ending")


def test_labels_of_webdataset(write: Write, tmp_path: Path) -> None:
    members = {"000.jpg": png(0), "000.cls": b"7\n", "001.json": b"{}", "001.jpg": png(1)}
    manifest = open_archive(write(tmp_path / "x.tar", members)).manifest
    assert manifest.label is not None
    assert manifest.class_name is not None
    assert manifest.label.tolist() == [0, -1]
    assert manifest.class_name.tolist() == ["7"]


def test_names_that_lead_elsewhere(write: Write, tmp_path: Path) -> None:
    members = {"../up.png": png(0), "/root.png": png(1), "a/../../b.png": png(2), "c.png": png(3)}
    source = open_archive(write(tmp_path / "x", members))
    assert source.manifest.id.tolist() == ["c.png"]
    assert set(skipped(source).values()) == {"its name leads out of the archive"}
    assert len(skipped(source)) == 3


def test_a_name_that_comes_twice(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for data in (png(0), png(1)):
            info = tarfile.TarInfo("./a.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    source = open_archive(tmp_path / "x.tar")
    assert source.read(0) == png(0)
    assert skipped(source) == {"a.png": "a member of the same name came before"}


def test_links_and_devices_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert skipped(open_archive(tmp_path / "x.tar")) == {
        "a.png": "a link within the archive",
        "b.png": "no plain file in the archive",
    }


def test_a_bomb_is_held_to_the_limits_of_a_file(write: Write, tmp_path: Path) -> None:
    source = open_archive(
        write(tmp_path / "x", {"a.png": bytes(1_000_000), "b.png": png(0)}),
        limits=Limits(pixels=1_000),
    )
    with pytest.raises(UnreadableImage, match="too large: 1,000,000 bytes"):
        source.read(0)
    assert source.read(1) == png(0)


def test_a_member_that_holds_more_than_it_claims(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": bytes(100_000)})
    data = path.read_bytes().replace((100_000).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match="damaged in the archive"):
        open_archive(path).read(0)


def test_members_within_each_other_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": png(0) * 9, "b.png": png(0) * 9})
    data = path.read_bytes()
    second = data.rindex(b"PK\x01\x02")  # of the directory
    assert int.from_bytes(data[second + 42 : second + 46], "little") > 10
    path.write_bytes(data[: second + 42] + (5).to_bytes(4, "little") + data[second + 46 :])
    with pytest.raises(UsageError, match=r"b\.png lies in another member"):
        open_archive(path)


def test_encrypted_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": png(0)})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert skipped(open_archive(path)) == {"a.png": "encrypted"}


def test_a_cut_tar_says_so(tmp_path: Path) -> None:
    path = tarred(tmp_path / "x.tar", {f"{i}.png": png(i) for i in range(4)})
    data = bytearray(path.read_bytes())
    data[2 * 1024 : 2 * 1024 + 512] = b"x" * 512
    path.write_bytes(data)
    source = open_archive(path)
    assert source.manifest.id.tolist() == ["0.png", "1.png"]
    assert source.manifest.remarks == (
        "x.tar is damaged: what lies after its byte 2,048 was not read",
    )
    path.write_bytes(bytes(data[:1500]))
    source = open_archive(path)
    assert source.manifest.id.tolist() == ["0.png"]
    assert "after its byte 1,024" in source.manifest.remarks[0]


def test_dates_that_are_none(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": png(0)})
    data = bytearray(path.read_bytes())
    where = data.rindex(b"PK\x01\x02") + 12
    data[where : where + 4] = bytes(4)
    path.write_bytes(data)
    assert open_archive(path).manifest.mtime.tolist() == [0]


def test_what_changed_in_an_archive_is_told_apart(tmp_path: Path) -> None:
    before = open_archive(zipped(tmp_path / "x.zip", {"a.png": png(0), "b.png": png(1)})).manifest
    (tmp_path / "x.zip").unlink()
    after = open_archive(zipped(tmp_path / "x.zip", {"a.png": png(0), "b.png": png(9)})).manifest
    assert before.stamp is not None
    assert after.stamp is not None
    assert (before.stamp == after.stamp).tolist() == [True, False]


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_compressed_tars_get_a_plain_sentence(tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "x.tar", mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("a"))
    with pytest.raises(UsageError, match=r"compressed as a whole.*unpack it"):
        open_archive(tmp_path / "x.tar")
    (tmp_path / "x.tar").rename(tmp_path / "x.tgz")
    with pytest.raises(UsageError, match="It is a compressed archive: unpack it first"):
        open_source(SourceConfig(path=str(tmp_path / "x.tgz")))


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"nothing" * 200)
    with pytest.raises(UsageError, match=r"x\.tar cannot be read"):
        open_archive(tmp_path / "x.tar")

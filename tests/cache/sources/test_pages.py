"""Pages of TIFF and PDF, previews of RAW photographs, animations."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from clusterpipe.cache import foreign, images
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.signatures import PDF, RAW
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.cache.sources.folder import open_folder
from clusterpipe.cache.sources.pages import PdfPage, TiffPage, is_animated, later_pages

SHADES = (10, 90, 170)


def shades(source: FileImages) -> list[int]:
    rows = range(len(source.manifest))
    return [source.decode(source.read(row)).getpixel((1, 1))[0] for row in rows]  # type: ignore[index]


def save_pages(path: Path, form: str = "TIFF") -> None:
    first, *others = [Image.new("L", (30, 40), shade).convert("RGB") for shade in SHADES]
    first.save(path, form, save_all=True, append_images=others, duration=90)


def test_pages_of_a_tiff_are_images_after_the_file(tmp_path: Path) -> None:
    save_pages(tmp_path / "scan.tif")
    Image.new("L", (3, 3), 200).save(tmp_path / "single.tif")
    source = open_folder(tmp_path)
    assert source.manifest.id.tolist() == [
        "scan.tif",
        "scan.tif#page=2",
        "scan.tif#page=3",
        "single.tif",
    ]
    assert source.manifest.path.tolist() == ["scan.tif", "", "", "single.tif"]
    assert shades(source) == [*SHADES, 200]
    assert source.manifest.remarks == ("2 more pages of 1 file, the first is scan.tif",)


def test_of_a_large_stack_the_first_page_is_taken_and_that_is_told(tmp_path: Path) -> None:
    save_pages(tmp_path / "scan.tif")
    os.truncate(tmp_path / "scan.tif", 40 << 30)  # a hole behind the pages
    manifest = open_folder(tmp_path).manifest
    assert manifest.id.tolist() == ["scan.tif"]
    assert manifest.remarks[0].startswith("the first page of 1 large TIFF, as of scan.tif")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_and_big_files(tmp_path: Path, big: bool, order: str) -> None:
    pages = np.repeat(np.array([100, 40_000, 65_535], np.uint16), 12).reshape(3, 4, 3)
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as writer:  # type: ignore[arg-type]
        for page in pages:
            writer.write(page, contiguous=False, metadata=None)
    assert len(later_pages(path)) == 2
    last = images.decode(TiffPage(path, later_pages(path)[-1])(USUAL))
    assert np.asarray(last).min() == 255


def test_thumbnails_within_a_tiff_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(np.zeros((64, 64), np.uint8), metadata=None)
        writer.write(np.zeros((8, 8), np.uint8), subfiletype=1, metadata=None)
        writer.write(np.ones((64, 64), np.uint8), metadata=None)
    assert len(later_pages(tmp_path / "x.tif")) == 1


def test_damaged_chains_end(tmp_path: Path) -> None:
    save_pages(tmp_path / "x.tif")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    after = first + 2 + 12 * count
    data[after : after + 4] = data[4:8]  # the first page comes after itself
    (tmp_path / "x.tif").write_bytes(data)
    assert later_pages(tmp_path / "x.tif") == []
    data[after : after + 4] = (2**31).to_bytes(4, "little")
    (tmp_path / "x.tif").write_bytes(data)
    assert later_pages(tmp_path / "x.tif") == []
    (tmp_path / "y.tif").write_bytes(b"II*")
    assert later_pages(tmp_path / "y.tif") == []


def test_a_page_is_held_to_the_limits_of_its_file(tmp_path: Path) -> None:
    save_pages(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match="too large"):
        TiffPage(tmp_path / "x.tif", 8)(Limits(pixels=9))


def test_pages_of_a_pdf(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    save_pages(tmp_path / "x.pdf", "PDF")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    source = open_folder(tmp_path)
    assert source.manifest.id.tolist() == [f"x.pdf#page={page}" for page in (1, 2, 3)]
    assert shades(source) == pytest.approx(SHADES, abs=2)
    assert max(source.decode(source.read(0)).size) == 1024
    assert source.manifest.skipped_path.tolist() == ["bad.pdf"]
    assert "damaged" in source.manifest.skipped_reason[0]


def test_without_their_decoders_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterpipe.cache.signatures.find_spec", lambda name: None)
    (tmp_path / "x.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "x.nef").write_bytes(b"MM\0*" + bytes(300))
    assert not PDF.readable
    manifest = open_folder(tmp_path).manifest
    assert manifest.remarks == (
        "not read: 1 .nef (RAW: pip install rawpy), 1 .pdf (pip install pypdfium2)",
    )


def raw_photograph(path: Path) -> None:
    """A DNG of a camera's colour filter, with a red preview."""
    preview = np.full((48, 64, 3), (200, 30, 30), np.uint8)
    filtered = np.full((96, 128), 1_000, np.uint16)
    of_file = [(50706, "B", 4, bytes([1, 4, 0, 0]), True), (50708, "s", 0, "Test Camera", True)]
    of_filter = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes([0, 1, 1, 2]), True)]
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            preview,
            photometric="rgb",
            subfiletype=1,
            subifds=1,
            extratags=of_file,
            metadata=None,
        )
        writer.write(filtered, photometric="cfa", extratags=of_filter, metadata=None)


def test_previews_of_raw_photographs(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    raw_photograph(tmp_path / "a.dng")
    (tmp_path / "b.nef").write_bytes(b"MM\0*" + bytes(300))
    source = open_folder(tmp_path)
    assert source.manifest.path.tolist() == ["a.dng", "b.nef"]
    red, green, _ = np.asarray(source.decode(source.read(0))).reshape(-1, 3).mean(axis=0)
    assert red > 2 * green
    with pytest.raises(UnreadableImage, match="damaged, or without a preview"):
        source.read(1)
    assert RAW.readable


CRASHES = """
import os, signal
def crash(*given):
    os.kill(os.getpid(), signal.SIGSEGV)
PdfDocument = imread = crash
class PdfiumError(Exception): ...
class LibRawError(Exception): ...
"""


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Libraries for PDF and RAW that take their process with them."""
    for name in ("pypdfium2", "rawpy"):
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / f"{name}.py").write_text(CRASHES)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    foreign.close()
    yield
    foreign.close()


@pytest.mark.usefixtures("crashing")
def test_a_library_that_crashes_costs_its_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(b"%PDF-1.7")
    (folder / "b.nef").write_bytes(b"MM\0*" + bytes(300))
    Image.new("L", (3, 3)).save(folder / "c.png")
    source = open_folder(folder)
    assert source.manifest.id.tolist() == ["b.nef", "c.png"]
    assert source.manifest.skipped_reason.tolist() == ["pypdfium2 crashes on it (SIGSEGV)"]
    with pytest.raises(UnreadableImage, match=r"rawpy crashes on it \(SIGSEGV\)"):
        source.read(0)
    with pytest.raises(UnreadableImage, match=r"pypdfium2 crashes on it \(SIGSEGV\)"):
        PdfPage(folder / "a.pdf", 0)(USUAL)
    assert source.decode(source.read(1)).size == (3, 3)


@pytest.mark.parametrize(
    ("name", "form"), [("x.gif", "GIF"), ("x.webp", "WEBP"), ("x.apng", "PNG")]
)
def test_animations_are_told(tmp_path: Path, name: str, form: str) -> None:
    save_pages(tmp_path / name, form)
    Image.new("L", (3, 3)).save(tmp_path / f"still{name[1:]}", form)
    source = open_folder(tmp_path)
    assert source.manifest.remarks == (f"the first frame of 1 animation, {name}",)
    assert len(source.manifest) == 2
    assert not is_animated((tmp_path / f"still{name[1:]}").read_bytes())

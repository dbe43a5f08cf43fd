"""Every kind of image file that people have, and every kind of file that is none."""

import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageCms

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.images import IMAGE_SUFFIXES, decode, pack, packed_size, unpack

ORIENTATION = 0x0112


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photograph(width: int = 96, height: int = 64) -> Image.Image:
    """Smooth colours that survive JPEG, different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / width, 255 * y / height, 255 - 255 * x / width], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "TGA"])
def test_lossless_formats_give_the_very_pixels(format: str) -> None:
    assert_array_equal(pixels(encoded(photograph(), format)), np.asarray(photograph()))


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats_give_the_same_picture(format: str) -> None:
    decoded = pixels(encoded(photograph(), format, quality=95))
    assert_allclose(decoded.astype(int), np.asarray(photograph()), atol=12)


def test_heic_is_read_without_the_caller_preparing_anything() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = BytesIO()
    pillow_heif.from_pillow(photograph()).save(stream, quality=95)
    assert_allclose(pixels(stream.getvalue()).astype(int), np.asarray(photograph()), atol=12)


# Turning the stored picture this way undoes the rotation that the EXIF number stands for.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = pixels(encoded(photograph(), format, exif=exif))
    assert_array_equal(decoded, UPRIGHT[orientation](np.asarray(photograph())))


def test_a_portrait_jpeg_from_a_phone_stands_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    assert decode(encoded(photograph(96, 64), "JPEG", exif=exif)).size == (64, 96)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_image() -> None:
    data = encoded(photograph(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0")
    assert decode(data).size == (96, 64)


def test_gray_palette_and_bilevel_become_rgb() -> None:
    for mode in ("L", "P", "1"):
        image = photograph().convert(mode)
        assert_array_equal(pixels(encoded(image)), np.asarray(image.convert("RGB")))


def test_transparent_pixels_show_white_and_half_transparent_ones_mix() -> None:
    image = Image.new("RGBA", (3, 1))
    for x, pixel in enumerate([(200, 0, 0, 0), (200, 0, 0, 255), (200, 0, 0, 51)]):
        image.putpixel((x, 0), pixel)
    expected = [[255, 255, 255], [200, 0, 0], [244, 204, 204]]  # 0.2 * colour + 0.8 * white
    assert_allclose(pixels(encoded(image))[0].astype(int), expected, atol=1)


def test_gray_with_alpha_shows_white_where_transparent() -> None:
    image = Image.merge("LA", [Image.new("L", (2, 1), 90), Image.fromarray(np.uint8([[0, 255]]))])
    assert_array_equal(pixels(encoded(image))[0], [[255] * 3, [90] * 3])


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_shows_white(format: str) -> None:
    image = Image.fromarray(np.uint8([[0, 1]])).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    decoded = pixels(encoded(image, format, transparency=0))
    assert_array_equal(decoded[0], [[255] * 3, [200, 100, 50]])


def test_partly_transparent_palettes_mix_with_white() -> None:
    image = Image.fromarray(np.uint8([[0, 1]])).convert("P")
    image.putpalette([0, 0, 0, 200, 100, 50])
    decoded = pixels(encoded(image, transparency=bytes([51, 255])))
    assert_array_equal(decoded[0], [[204] * 3, [200, 100, 50]])


def test_the_transparent_colour_of_an_rgb_png_shows_white() -> None:
    image = Image.fromarray(np.uint8([[[1, 2, 3], [4, 5, 6]]]))
    assert_array_equal(pixels(encoded(image, transparency=(1, 2, 3)))[0], [[255] * 3, [4, 5, 6]])


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(format: str) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    decoded = pixels(encoded(image, format))
    assert_allclose(decoded.mean(axis=(0, 1)), [255, 0, 0], atol=4)


def test_ycck_of_photoshop_is_not_inverted() -> None:
    """Made from a CMYK JPEG: C, M, Y stored as luma and chroma, and the Adobe marker saying so."""
    red = Image.new("RGB", (16, 16), (0, 255, 255)).convert("YCbCr")  # (c, m, y) of pure red
    channels = [channel.point(lambda v: 255 - v) for channel in red.split()]
    stored = Image.merge("CMYK", [*channels, Image.new("L", (16, 16), 0)])
    data = bytearray(encoded(stored, "JPEG", quality=95))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    assert_allclose(pixels(bytes(data)).mean(axis=(0, 1)), [255, 0, 0], atol=4)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_and_not_clipped(format: str) -> None:
    image = Image.fromarray(np.uint16([[0, 257, 32768, 65535]]))
    assert_array_equal(pixels(encoded(image, format))[0, :, 0], [0, 1, 128, 255])


def test_16_bit_pgm_is_scaled_and_not_clipped() -> None:
    samples = np.array([0, 1000, 2000, 4000], ">u2")
    data = b"P5 4 1 4000\n" + samples.tobytes()
    assert_array_equal(pixels(data)[0, :, 0], [0, 64, 128, 255])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 51.0, 255.0], [0, 51, 255]),
        ([-100.0, 0.0, 300.0], [0, 64, 255]),
        ([np.nan, 0.25, 1.0], [64, 64, 255]),
        ([np.inf, 0.0, 1.0], [0, 0, 255]),
        ([1e9, 1e9, 1e9], [0, 0, 0]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
    ],
)
def test_float_tiffs(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert_array_equal(pixels(encoded(image, "TIFF"))[0, :, 0], expected)


def test_32_bit_integers_beyond_16_bits_are_stretched() -> None:
    image = Image.fromarray(np.array([[-1000, 0, 99000]], np.int32))
    assert_array_equal(pixels(encoded(image, "TIFF"))[0, :, 0], [0, 3, 255])


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert_allclose(pixels(data).mean(axis=(0, 1)), [255, 0, 0], atol=2)


def test_lab_tiffs_become_rgb() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    colour = (200, 100, 50)
    image = ImageCms.profileToProfile(Image.new("RGB", (8, 8), colour), srgb, lab, outputMode="LAB")
    assert_allclose(pixels(encoded(image, "TIFF")).mean(axis=(0, 1)), colour, atol=3)


def test_an_empty_file() -> None:
    with pytest.raises(UnreadableImage, match=r"^empty file$"):
        decode(b"")


@pytest.mark.parametrize(
    "text", [b"a shopping list", b"\0" * 400, b"<html>404</html>", b"%PDF-1.7"]
)
def test_other_files_are_not_images(text: bytes) -> None:
    with pytest.raises(UnreadableImage, match=r"^not an image"):
        decode(text)


def test_postscript_is_never_interpreted() -> None:
    with pytest.raises(UnreadableImage, match=r"^not an image"):
        decode(encoded(photograph(), "EPS"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "PPM", "TGA", "TIFF"])
def test_a_truncated_image(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(noise), format)
    with pytest.raises(UnreadableImage, match=r"^truncated$"):
        decode(data[: len(data) // 2])


def test_a_jpeg_that_lost_its_last_rows_is_truncated_too() -> None:
    data = encoded(photograph(640, 480), "JPEG")
    with pytest.raises(UnreadableImage, match=r"^truncated$"):
        decode(data[:-200])


@pytest.mark.parametrize("excess", [1.001, 1.5, 2.5])
def test_decompression_bombs(excess: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns up to twice its limit and raises beyond; to us both are too large."""
    data = encoded(Image.new("1", (1000, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(100_000 / excess))
    with pytest.raises(UnreadableImage, match="too many pixels"):
        decode(data)


@pytest.mark.filterwarnings("default::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_also_where_warnings_are_only_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99_000)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(UnreadableImage, match="too many pixels"),
    ):
        decode(encoded(Image.new("1", (1000, 100))))


def test_an_image_at_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64)
    assert decode(encoded(photograph())).size == (96, 64)


def test_heic_without_its_package_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from clusterpipe.cache import images

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    images._register_heif.cache_clear()
    with pytest.raises(UnreadableImage, match=r"clusterpipe\[heic\]"):
        decode(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf")


SAMPLES = {
    "JPEG": encoded(photograph(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    "PNG": encoded(photograph().convert("P"), "PNG"),
    "GIF": encoded(photograph(), "GIF"),
    "TIFF": encoded(photograph(), "TIFF", compression="tiff_lzw"),
    "WEBP": encoded(photograph(), "WEBP"),
    "BMP": encoded(photograph(), "BMP"),
    "JPEG2000": encoded(photograph(), "JPEG2000"),
    "TGA": encoded(photograph(), "TGA", compression="tga_rle"),
    "AVIF": encoded(photograph(), "AVIF"),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(
    format=st.sampled_from(sorted(SAMPLES)),
    changes=st.dictionaries(st.integers(0, 400), st.integers(0, 255), max_size=6),
    keep=st.floats(0, 1),
)
@example(format="JPEG", changes={}, keep=1.0)
def test_damage_gives_an_image_or_a_reason(
    format: str, changes: dict[int, int], keep: float
) -> None:
    data = bytearray(SAMPLES[format])
    for position, value in changes.items():
        data[position % len(data)] = value
    reason = "an image"
    try:
        assert decode(bytes(data[: round(keep * len(data))])).mode == "RGB"
    except UnreadableImage as error:
        reason = str(error)
    assert reason
    assert "\n" not in reason


def test_threads_agree() -> None:
    data = [encoded(photograph(96 + i, 64), "JPEG") for i in range(8)]
    alone = [decode(item).tobytes() for item in data]
    barrier = threading.Barrier(8)

    def together(item: bytes) -> bytes:
        barrier.wait()
        return decode(item).tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(together, data)) == alone


@settings(deadline=None)
@given(width=st.integers(1, 40), height=st.integers(1, 40), seed=st.integers(0, 9))
def test_packing_keeps_every_pixel(width: int, height: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    data = pack(Image.fromarray(values))
    assert len(data) == packed_size(width, height)
    assert_array_equal(np.asarray(unpack(data)), values)


def test_packing_makes_gray_rgb() -> None:
    assert unpack(pack(Image.new("L", (2, 3), 7))).getpixel((1, 2)) == (7, 7, 7)


@pytest.mark.parametrize(
    "data", [b"", b"1234", pack(photograph())[:-1], pack(photograph()) + b"x", bytes(8)]
)
def test_packed_pixels_that_are_not_whole_are_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableImage, match="damaged"):
        unpack(data)


def test_suffixes_are_what_the_comparison_expects() -> None:
    assert {".jpg", ".jpeg", ".png", ".heic", ".tif"} <= IMAGE_SUFFIXES
    assert all(Path("x" + suffix).suffix == suffix == suffix.lower() for suffix in IMAGE_SUFFIXES)

"""Every kind of image file that people have, and every kind of file that is none."""

import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageCms

from clusterpipe.cache import signatures
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.images import (
    IMAGE_SUFFIXES,
    LONGEST,
    MARGIN,
    decode,
    middle,
    pack,
    packed_size,
    size_of,
    unpack,
)
from clusterpipe.cache.limits import Limits

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


def test_more_pixels_than_the_limit_are_refused_with_the_figures_and_the_setting() -> None:
    data = encoded(Image.new("1", (1000, 100)))
    with pytest.raises(
        UnreadableImage,
        match=r"^too many pixels: 1,000 x 100 = 100,000, .* 99,999 that source.max_pixels allows$",
    ):
        decode(data, limits=Limits(pixels=99_999))
    assert decode(data, limits=Limits(pixels=100_000)).size == (1000, 100)


def test_the_limit_of_pillow_itself_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(encoded(photograph())).size == (96, 64)


def test_heic_without_its_package_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "find_spec", lambda name: None)
    with pytest.raises(UnreadableImage, match=r"pip install pillow-heif$"):
        decode(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf")


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", right)


def with_chunk(data: bytes, extra: bytes) -> bytes:
    """The PNG with one more chunk after its header."""
    end = 8 + 25
    return data[:end] + extra + data[end:]


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"Comment\0hello", checksum=0),
        chunk(b"iCCP", b"profile\0\0no zlib at all"),
        chunk(b"iTXt", b"no zero in it"),
        chunk(b"pHYs", b"12"),
        chunk(b"gAMA", b""),
        chunk(b"acTL", b"1"),
        chunk(b"prVt", bytes(100_000)),
    ],
    ids=lambda extra: f"{extra[4:8].decode()} of {len(extra)}",
)
def test_what_stands_beside_the_pixels_of_a_png_does_not_decide_on_them(extra: bytes) -> None:
    expected = np.asarray(photograph())
    assert_array_equal(pixels(with_chunk(encoded(photograph()), extra)), expected)


def test_what_a_png_says_of_its_orientation_is_heard_beside_the_rest() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(photograph(96, 64), exif=exif)
    assert decode(with_chunk(data, chunk(b"tEXt", b"a\0b", checksum=0))).size == (64, 96)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert decode(with_chunk(encoded(photograph(96, 64)), text)).size == (64, 96)


def progressive(scans: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG that goes over its pixels so many times more than it needs to."""
    data = encoded(Image.new("L", size), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def test_a_jpeg_of_many_scans_is_refused_at_once() -> None:
    began = time.thread_time()
    with pytest.raises(UnreadableImage, match=r"^too costly: 20,0\d\d scans of 2,000 x 2,000"):
        decode(progressive(20_000, (2000, 2000)))
    assert time.thread_time() - began < 1
    assert decode(progressive(20)).size == (64, 64)


def test_a_decoder_that_computes_too_long_is_stopped() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(noise))
    with pytest.raises(UnreadableImage, match=r"^too costly: .* 0.001 s .* source.max_seconds"):
        decode(data, limits=Limits(seconds=0.001))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_16_bit_png_is_as_bright_as_the_bits_it_uses(bits: int, channels: int) -> None:
    white = 2**bits - 1
    ramp = np.rint(np.linspace(0, white, 256)).astype(np.uint16)[None, :, None]
    samples = np.repeat(ramp, channels, axis=2)
    if channels == 4:
        samples[..., -1] = white
    shape = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", 256, 1, 16, shape, 0, 0, 0)
    body = zlib.compress(b"\0" + samples.astype(">u2").tobytes())
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    for channel in pixels(data)[0].T:
        assert_allclose(channel.astype(int), np.arange(256), atol=1)


def tiff(samples: np.ndarray[Any, Any], **options: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


PLANES = np.moveaxis(np.asarray(photograph()), 2, 0)
GRAY = np.asarray(photograph().convert("L"))
WHOLE = {"photometric": "rgb"}


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (PLANES.astype(np.uint16) * 257, {**WHOLE, "planarconfig": "separate"}),
        (PLANES, {**WHOLE, "planarconfig": "separate"}),
        (np.asarray(photograph()).astype(np.uint16) * 257, WHOLE),
        (np.asarray(photograph()).astype(np.float32) / 255, WHOLE),
        (np.asarray(photograph()).astype(np.float64), WHOLE),
        (np.asarray(photograph()).astype(np.float16), WHOLE),
        (np.asarray(photograph()).astype(np.uint32), WHOLE),
        (np.asarray(photograph()).astype(np.uint16) * 257, {**WHOLE, "tile": (16, 16)}),
        (np.asarray(photograph()).astype(np.uint16) * 257, {**WHOLE, "byteorder": ">"}),
        (np.asarray(photograph()).astype(np.uint16) * 257, {**WHOLE, "bigtiff": True}),
    ],
)
def test_colours_of_a_tiff_are_read_right_whatever_their_samples(
    samples: np.ndarray[Any, Any], options: dict[str, Any], compression: str | None
) -> None:
    decoded = pixels(tiff(samples, compression=compression, **options))
    assert_allclose(decoded.astype(int), np.asarray(photograph()), atol=1)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize(
    "samples",
    [
        GRAY.astype(np.uint16) * 257,
        GRAY.astype(np.uint32) * np.uint32(2**24 + 2**16 + 2**8 + 1),
        GRAY.astype(np.uint64),
        GRAY.astype(np.int16),
        GRAY.astype(np.float32) / 255,
        GRAY.astype(np.float64),
    ],
    ids=lambda samples: samples.dtype.name,
)
def test_gray_of_a_tiff_is_read_right_whatever_its_samples(
    samples: np.ndarray[Any, Any], photometric: str
) -> None:
    expected = GRAY if photometric == "minisblack" else 255 - GRAY
    decoded = pixels(tiff(samples, photometric=photometric))[..., 0].astype(int)
    own = (0, 255) if samples.dtype != np.uint32 else (GRAY.min(), GRAY.max())
    expected = (
        (expected - own[0]) * (255 / (own[1] - own[0]))
        if photometric == "minisblack"
        else (255 - (GRAY - own[0]) * (255 / (own[1] - own[0])))
    )
    assert_allclose(decoded, expected, atol=1)


def test_of_five_bands_the_first_is_gray() -> None:
    bands = np.stack([GRAY, *[np.zeros_like(GRAY)] * 4], axis=2)
    for samples in (bands, bands.astype(np.uint16) * 257):
        data = tiff(samples, photometric="minisblack", planarconfig="contig")
        assert_allclose(pixels(data)[..., 1].astype(int), GRAY, atol=1)


def test_16_bit_cmyk_and_transparency_of_a_tiff() -> None:
    ink = np.zeros((16, 16, 4), np.uint16)
    ink[..., 1:3] = 65535
    assert_allclose(
        pixels(tiff(ink, photometric="separated")).mean(axis=(0, 1)), [255, 0, 0], atol=4
    )
    red = np.zeros((16, 16, 4), np.uint16)
    red[..., 0] = red[:8, :, 3] = 65535
    decoded = pixels(tiff(red, photometric="rgb", extrasamples=["unassalpha"]))
    assert_array_equal(decoded[0, 0], [255, 0, 0])
    assert_array_equal(decoded[-1, 0], [255, 255, 255])


def test_a_deep_tiff_is_turned_upright() -> None:
    samples = np.asarray(photograph()).astype(np.uint16) * 257
    data = tiff(samples, photometric="rgb", extratags=[(ORIENTATION, "H", 1, 6, True)])
    assert_array_equal(pixels(data), UPRIGHT[6](np.asarray(photograph())))


def test_samples_of_unknown_meaning_are_refused_with_what_they_are() -> None:
    for samples in (GRAY.astype(np.complex64), GRAY.astype(np.complex128)):
        with pytest.raises(UnreadableImage, match=r"complex"):
            decode(tiff(samples, photometric="minisblack"))


def test_a_deep_tiff_beyond_the_limit_is_refused_before_it_is_read() -> None:
    data = tiff(GRAY.astype(np.float32), photometric="minisblack")
    with pytest.raises(UnreadableImage, match=r"^too many pixels"):
        decode(data, limits=Limits(pixels=100))


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_a_large_jpeg_is_decoded_at_the_scale_that_is_needed(scale: int) -> None:
    data = encoded(photograph(64 * MARGIN * scale, 48 * MARGIN * scale), "JPEG", quality=95)
    image = decode(data, needed=48)
    assert image.size == (64 * MARGIN, 48 * MARGIN)
    assert size_of(image) == (64 * MARGIN * scale, 48 * MARGIN * scale)
    expected = np.asarray(photograph(64 * MARGIN, 48 * MARGIN)).astype(int)
    assert_allclose(np.asarray(image), expected, atol=12)


def test_a_jpeg_that_is_not_much_larger_is_decoded_whole() -> None:
    image = decode(encoded(photograph(640, 480), "JPEG"), needed=480 // MARGIN // 2 + 1)
    assert image.size == size_of(image) == (640, 480)


def test_the_size_of_a_scaled_portrait_is_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = decode(encoded(photograph(1600, 1200), "JPEG", exif=exif), needed=100)
    assert size_of(image) == (1200, 1600)
    assert image.size == (600, 800)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_large_pictures_of_other_formats_are_averaged(format: str) -> None:
    image = decode(encoded(photograph(320, 320), format), needed=20, limits=Limits(large=10_000))
    assert image.size == (80, 80)
    assert size_of(image) == (320, 320)
    assert decode(encoded(photograph(320, 320), format)).size == (320, 320)


def test_of_a_line_of_pixels_the_middle_is_taken() -> None:
    thin = Image.new("RGB", (60_000, 1))
    thin.putpixel((30_000, 0), (255, 0, 0))
    assert middle(thin).size == (LONGEST, 1)
    assert middle(thin).getpixel((LONGEST // 2, 0)) == (255, 0, 0)
    assert middle(thin.transpose(Image.Transpose.ROTATE_90)).size == (1, LONGEST)
    square = photograph(LONGEST, 1)
    assert middle(square) is square


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"%PDF-1.7 and so on", "PDF document"),
        (b"PK\x03\x04 and so on", "archive"),
        (b"\0\0\0\x18ftypmp42 and so on", "video"),
        (b"\x1aE\xdf\xa3 and so on", "video"),
        (b"8BPS and so on", "Photoshop"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableImage, match=rf"^not an image, but of the kind: .*{said}"):
        decode(data)


def test_a_sound_file_of_an_unusual_sort_is_not_called_no_image() -> None:
    data = bytearray(encoded(photograph(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12  # bits
    with pytest.raises(UnreadableImage, match=r"unusual JPEG: .*12-bit"):
        decode(bytes(data))


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

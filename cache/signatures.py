"""Kind of a file, told by its first bytes; its name only helps where bytes are shared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec

HEAD = 264  # bytes that tell


@dataclass(frozen=True)
class Kind:
    """A kind of file. `package` is what reads it if Pillow alone does not, `module` its name in
    Python; of what is no image to us, `image` is false."""

    name: str
    image: bool = True
    module: str = ""
    package: str = ""

    @property
    def readable(self) -> bool:
        """True if the decoder it takes is installed."""
        return find_spec(self.module) is not None if self.module else self.image


HEIC = Kind("HEIC", module="pillow_heif", package="pillow-heif")
JPEG_XL = Kind("JPEG XL", module="pillow_jxl", package="pillow-jxl-plugin")
TIFF = Kind("TIFF")
AVIF = Kind("AVIF")
RAW = Kind("RAW photograph", image=False, module="rawpy", package="rawpy")
PDF = Kind("PDF document", image=False, module="pypdfium2", package="pypdfium2")
VIDEO = Kind("video", image=False)
UNKNOWN = Kind("", image=False)
EXTRA = (HEIC, JPEG_XL)
"""Kinds that need a package of their own."""

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc"),
    *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
    *(".sr2", ".srf", ".srw", ".x3f"),
)

_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, rb"\xff\xd8\xff", Kind("JPEG")),
    (0, rb"\x89PNG\r\n\x1a\n", Kind("PNG")),
    (0, rb"GIF8[79]a", Kind("GIF")),
    (0, rb"RIFF....WEBP", Kind("WebP")),
    (0, rb"(II\*\0|MM\0\*|II\+\0|MM\0\+)", TIFF),
    (0, rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", Kind("BMP")),
    (0, rb"(\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51)", Kind("JPEG 2000")),
    (0, rb"(\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n)", JPEG_XL),
    (0, rb"%PDF-", PDF),
    (0, rb"(FUJIFILMCCD-RAW|IIU\0|IIR[OS]|\0MRM|FOVb|II\x1a\0\0\0HEAPCCDR)", RAW),
    (0, rb"(RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|FLV\x01|0&\xb2u\x8ef\xcf\x11)", VIDEO),
    (128, rb"DICM", Kind("DICOM image", image=False)),
    (0, rb"8BPS", Kind("Photoshop document", image=False)),
    (0, rb"gimp xcf", Kind("GIMP document", image=False)),
    (0, rb"(%!PS|\xc5\xd0\xd3\xc6)", Kind("PostScript", image=False)),
    (0, rb"(PK\x03\x04|7z\xbc\xaf|Rar!|\x1f\x8b)", Kind("archive", image=False)),
    (257, rb"ustar", Kind("archive", image=False)),
    (0, rb"(ID3|OggS|fLaC|RIFF....WAVE)", Kind("sound", image=False)),
    (0, rb"\s*<(\?xml|svg|!DOCTYPE|html)", Kind("markup", image=False)),
    (0, rb"\x89HDF", Kind("HDF5 file", image=False)),
    (0, rb"\x93NUMPY", Kind("array of numpy", image=False)),
)
_KINDS = [(start, re.compile(magic, re.DOTALL), kind) for start, magic, kind in _MAGIC]


def kind_of(head: bytes, name: str = "") -> Kind:
    """The kind of a file that begins with `head`, called `name`; `UNKNOWN` if nothing tells.

    Cameras write their raw data as TIFF: there, and only there, the ending decides.
    """
    if head[4:8] == b"ftyp":
        return _of_boxes(head)
    for start, magic, kind in _KINDS:
        if magic.match(head, start):
            return RAW if kind is TIFF and _is_raw(head, name) else kind
    return UNKNOWN


def is_raw_name(name: str) -> bool:
    """True if a file is called like those that cameras write their raw data to."""
    return name.lower().endswith(_RAW_SUFFIXES)


def _of_boxes(head: bytes) -> Kind:
    """AVIF and HEIC share their container with videos."""
    if b"avif" in head[:64] or b"avis" in head[:64]:
        return AVIF
    if head[8:12] in _HEIF_BRANDS:
        return HEIC
    return RAW if head[8:12] == b"crx " else VIDEO


def _is_raw(head: bytes, name: str) -> bool:
    return is_raw_name(name) or head[8:10] == b"CR"

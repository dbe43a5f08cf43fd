"""Pages of PDFs and previews of RAW photographs, by libraries that may crash on damaged files.

To be called in the process apart, `cache.foreign_reader`.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

from clusterpipe.cache.errors import UnreadableImage

MOST_PAGES = 10_000  # of a file
LONGEST = 1024  # pixels of a page that is drawn


def pdf_pages(path: Path) -> int:
    """Number of pages. Raises UnreadableImage for a PDF that is damaged or needs a password."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
        try:
            return min(len(document), MOST_PAGES)
        finally:
            document.close()
    except (pypdfium2.PdfiumError, ValueError, OSError) as error:
        raise UnreadableImage(f"damaged, or an unusual PDF: {error}") from error


def drawn_page(content: bytes, page: int) -> bytes:
    """PNG of a page of the PDF, numbered from 0, with its longer side at `LONGEST` pixels.

    Raises UnreadableImage for one that is damaged.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
        try:
            image = _drawn(document[page])
        finally:
            document.close()
    except (pypdfium2.PdfiumError, ValueError, IndexError, RuntimeError) as error:
        raise UnreadableImage(f"damaged, or an unusual PDF: {error}") from error
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _drawn(page: Any) -> Any:
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise ValueError("a page without a size")
    return page.render(scale=LONGEST / max(width, height)).to_pil().convert("RGB")


def raw_preview(content: bytes) -> bytes:
    """The preview that a camera put into a RAW photograph: JPEG, or PPM.

    Raises UnreadableImage where there is none.
    """
    import rawpy

    try:
        with rawpy.imread(BytesIO(content)) as raw:
            found = raw.extract_thumb()
    except rawpy.LibRawError as error:
        raise UnreadableImage(f"damaged, or without a preview: {error}") from error
    if isinstance(found.data, bytes):  # a JPEG
        return found.data
    height, width = found.data.shape[:2]
    return b"P6 %d %d 255\n" % (width, height) + bytes(found.data.tobytes())

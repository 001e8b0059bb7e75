"""Plain images: PNG, JPEG and untiled TIFF, read whole, for whoever gives their mpp."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from wsiproc.errors import SlideFormatError
from wsiproc.slide._ifds import is_tiff
from wsiproc.slide._openslide import over, reason
from wsiproc.slide._tiff import JPEG, SEVERAL, check_jpeg_size
from wsiproc.slide.facts import WHITE, Header, levels_of

MOST_PIXELS = 1 << 27
"""What is held in memory at once: 384 MiB as RGB."""
PIECE = 1024
BAND = 256
"""Rows that are turned into RGB at once: what that takes stays small beside the image."""
PACKBITS = 32773


class ImageSource:
    """An image in memory.  EXIF orientation is not applied: pixels are as they are stored.

    Raises
    ------
    SlideFormatError
        If the file is no such image, is cut short, has more than 2^27 pixels or other than
        8 bits a channel.
    """

    piece = ((PIECE, PIECE),)

    def __init__(self, path: Path) -> None:
        try:
            self._pixels, vendor = _read_tiff(path) if is_tiff(path) else _read_image(path)
        except (SlideFormatError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # the decoders let all kinds through
            raise SlideFormatError(reason(error, path)) from None
        height, width = self._pixels.shape[:2]
        self.header = Header(
            backend="image", vendor=vendor, levels=levels_of([(width, height)]), mpp=None
        )

    def load(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """A part of the image, without copying it."""
        assert level == 0
        y, x = row * PIECE, column * PIECE
        return self._pixels[y : y + PIECE, x : x + PIECE]

    def close(self) -> None:
        """Let go of the pixels."""
        self._pixels = np.empty((0, 0, 3), np.uint8)


def _read_image(path: Path) -> tuple[NDArray[np.uint8], str]:
    with warnings.catch_warnings():
        # Pillow warns from 2^26.4 pixels on; the bound here is checked below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            _check_size(*image.size)
            if image.mode not in {"L", "RGB", "RGBA", "P", "LA", "1"}:
                raise SlideFormatError(f"an image of mode {image.mode} is not 8-bit RGB")
            clear = image.mode in {"RGBA", "LA"} or "transparency" in image.info
            mode = "RGBA" if clear else "RGB"
            width, height = image.size
            pixels = np.empty((height, width, 3), np.uint8)
            for y in range(0, height, BAND):
                band = image.crop((0, y, width, min(y + BAND, height))).convert(mode)
                rows = np.asarray(band)
                pixels[y : y + BAND] = over(rows, WHITE) if clear else rows
            return pixels, str(image.format).lower()


def _read_tiff(path: Path) -> tuple[NDArray[np.uint8], str]:
    with path.open("rb") as file, tifffile.TiffFile(file, name="slide", _multifile=False) as tiff:
        page = tiff.pages.first
        _check_size(page.imagewidth, page.imagelength)
        if page.dtype != np.uint8 or page.samplesperpixel not in {1, 3, 4} or page.imagedepth != 1:
            raise SlideFormatError("the image is not 8-bit RGB or grey")
        if page.compression not in {*SEVERAL, PACKBITS}:
            code = int(page.compression)
            raise SlideFormatError(f"its compression (TIFF code {code}) is not decoded here")
        if page.compression == JPEG:
            _check_strips(file, page)
        palette = page.photometric == 3
        stored = page.asrgb(uint8=True) if palette else page.asarray(maxworkers=1)
    if page.planarconfig == 2 and stored.ndim == 3:
        stored = np.moveaxis(stored, 0, -1)
    if stored.ndim == 2:
        stored = stored[..., None]
    pixels = np.empty((*stored.shape[:2], 3), np.uint8)
    for y in range(0, len(stored), BAND):
        band = stored[y : y + BAND]
        if page.photometric == 0:  # white is zero
            band = 255 - band
        pixels[y : y + BAND] = over(band, WHITE) if band.shape[2] == 4 else band
    return pixels, "tiff"


def _check_strips(file: BinaryIO, page: tifffile.TiffPage) -> None:
    """Refuse JPEG streams that say they are larger than their strip."""
    width, rows = page.imagewidth, page.imagelength if page.is_tiled else page.rowsperstrip
    for at, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        file.seek(at)
        check_jpeg_size(file.read(count), width, rows)


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise SlideFormatError(
            f"an image without tiles is read up to {MOST_PIXELS} pixels, and this one has "
            f"{width} x {height}; convert it to a tiled pyramid"
        )

"""Tiles of a TIFF decoded as they are stored.

OpenSlide draws every tile onto a canvas with transparency; taking the decoder's pixels as they
are is several times as fast.  It is done where that gives OpenSlide's pixels to the bit, which
is checked on the slide itself, and where OpenSlide does not read the file.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsiproc.errors import SlideFormatError, SlideReadError
from wsiproc.slide._ifds import LARGEST_TILE
from wsiproc.slide._openslide import over, reason
from wsiproc.slide.facts import Header, levels_of

SEVERAL = {1: "none", 5: "lzw", 7: "jpeg", 8: "deflate", 32946: "deflate", 50000: "zstd"}
"""Compressions that are decoded here, by TIFF code.  JPEG 2000 is OpenSlide's."""
RGB, YCBCR = 2, 6
JPEG = 7
MICROMETRES = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
SIDE_BY_SIDE = {"aperio", "generic-tiff"}
"""Formats, as OpenSlide names them, whose tiles it draws side by side without any change."""


class DamagedTileError(SlideReadError):
    """What is stored for a tile is no picture of it, however often it is read."""


class TiffSource:
    """The tiles of some images of one TIFF file.

    Parameters
    ----------
    path
        The file.
    tiff
        It, opened.  Owned from here on.
    pages
        The image of each level.
    header
        What is known of the slide; its levels are the pages'.
    """

    def __init__(
        self,
        path: Path,
        tiff: tifffile.TiffFile,
        pages: Sequence[tifffile.TiffPage],
        header: Header,
    ) -> None:
        for page in pages:
            if why := _unreadable(page):
                raise SlideFormatError(why)
        self.header = header
        self.piece = tuple((int(page.tilewidth), int(page.tilelength)) for page in pages)
        self._pages = tuple(pages)
        # Made once: each is a closure over its page's tags, and safe to call from any thread.
        self._decoders = tuple(page.decode for page in pages)
        self._tables = tuple(page.jpegtables for page in pages)
        self._tiff = tiff
        self._path = path
        self._file: BinaryIO = path.open("rb")
        self._lock = threading.Lock()

    def load(self, level: int, column: int, row: int) -> NDArray[np.uint8] | None:
        """One tile; None where the file has none."""
        page = self._pages[level]
        width, height = self.piece[level]
        number = row * -(-page.imagewidth // width) + column
        try:
            data = self._stored(page.dataoffsets[number], page.databytecounts[number])
            if data is None:
                return None
            if page.compression == JPEG:
                check_jpeg_size(data, width, height)
            tables = {"jpegtables": self._tables[level]} if page.compression == JPEG else {}
            decoded, _, _ = self._decoders[level](data, number, **tables)
        except (SlideReadError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # each codec has an error class of its own
            why = reason(error, self._path)
            raise DamagedTileError(f"a tile of the slide is damaged: {why}") from None
        assert decoded is not None
        pixels: NDArray[np.uint8] = np.ascontiguousarray(decoded[0], np.uint8)
        return over(pixels, self.header.background) if pixels.shape[2] == 4 else pixels

    def _stored(self, offset: int, count: int) -> bytes | None:
        if count == 0 or offset == 0:
            return None
        with self._lock:
            try:
                self._file.seek(offset)
                data = self._file.read(count)
            except OSError as error:
                self._open_anew()
                raise SlideReadError(f"the file cannot be read: {error.strerror}") from None
        if len(data) < count:
            raise SlideReadError("the file ends inside a tile")
        return data

    def _open_anew(self) -> None:
        self._file.close()
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise SlideReadError(f"the slide cannot be opened again: {error.strerror}") from None

    def samples(self, level: int, most: int) -> list[tuple[int, int]]:
        """Column and row of up to `most` stored tiles, from the emptiest to the fullest."""
        page = self._pages[level]
        across = -(-page.imagewidth // self.piece[level][0])
        counts = np.asarray(page.databytecounts)
        stored = np.flatnonzero(counts)
        by_size = stored[np.argsort(counts[stored], kind="stable")]
        chosen = by_size[np.unique(np.linspace(len(by_size) - 1, 0, most).round().astype(int))]
        return [(int(n) % across, int(n) // across) for n in chosen]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._tiff.close()


def open_tiff(path: Path, known: Header | None = None) -> TiffSource:
    """The tiles of the slide in a TIFF.

    Parameters
    ----------
    path
        The file.
    known
        What OpenSlide says of it, where it opens it.  Its levels are then OpenSlide's, found by
        their sizes, and so is all else; except of OME-TIFF, which OpenSlide takes for a generic
        TIFF without an mpp and without the levels in sub-directories.

    Raises
    ------
    SlideFormatError
        If the tiles cannot be decoded here; saying why.
    """
    tiff = _opened(path)
    try:
        if known is None or tiff.is_ome:
            return _alone(path, tiff)
        return _like(path, tiff, known)
    except SlideFormatError:
        tiff.close()
        raise
    except Exception as error:  # noqa: BLE001  # tifffile reads tags late, and lets all kinds through
        tiff.close()
        raise SlideFormatError(reason(error, path)) from None


def _alone(path: Path, tiff: tifffile.TiffFile) -> TiffSource:
    """The first image, as the file's own tags and OME-XML describe it."""
    if not tiff.series:
        raise SlideFormatError("the TIFF has no image")
    series = tiff.series[0]
    if series.axes != "YXS":
        raise SlideFormatError(
            f"its axes are {series.axes}: it is no single RGB plane with interleaved channels"
        )
    pages = [level.keyframe for level in series.levels]
    pages = pages[:1] + [page for page in pages[1:] if _unreadable(page) is None]
    ome = series.kind == "ome"
    header = Header(
        backend="tiff",
        vendor="ome-tiff" if ome else "tiff",
        levels=levels_of([(page.imagewidth, page.imagelength) for page in pages]),
        mpp=_ome_mpp(tiff.pages.first.description) if ome else None,
    )
    return TiffSource(path, tiff, pages, header)


def _like(path: Path, tiff: tifffile.TiffFile, known: Header) -> TiffSource:
    """The images that are OpenSlide's levels."""
    if known.vendor not in SIDE_BY_SIDE:
        raise SlideFormatError(f"OpenSlide does not draw tiles of {known.vendor} side by side")
    images = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
    pages = []
    for level in known.levels:
        size = (level.width, level.height)
        fits = [page for page in images if (page.imagewidth, page.imagelength) == size]
        if len(fits) != 1:
            raise SlideFormatError(f"{len(fits)} images have the size of one level")
        pages += fits
    if any(0 in page.databytecounts for page in pages[1:]):
        # OpenSlide draws those of Aperio from the level above; this reader does not.
        raise SlideFormatError("tiles are missing below level 0")
    return TiffSource(path, tiff, pages, replace(known, backend="tiff"))


def check_jpeg_size(data: bytes, width: int, height: int) -> None:
    """Refuse a JPEG stream whose own header says that it is larger than its tile.

    Raises
    ------
    DamagedTileError
        Then, and where there is no such header.
    """
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # start of frame
            high = int.from_bytes(data[at + 5 : at + 7], "big")
            wide = int.from_bytes(data[at + 7 : at + 9], "big")
            if wide <= width and high <= height:
                return
            raise DamagedTileError(
                f"a tile of {width} x {height} holds a JPEG image of {wide} x {high}"
            )
        # Fill bytes may stand before a marker (T.81, B.1.1.2).
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise DamagedTileError("a tile of the slide is damaged: it holds no JPEG image")


def _opened(path: Path) -> tifffile.TiffFile:
    # Opened by its handle and a name of no meaning: tifffile writes names into its log.
    file = path.open("rb")
    try:
        return tifffile.TiffFile(file, name="slide", _multifile=False)
    except Exception as error:  # noqa: BLE001  # tifffile lets all kinds through for damaged files
        file.close()
        raise SlideFormatError(reason(error, path)) from None


def _unreadable(page: tifffile.TiffPage) -> str | None:
    """Why the tiles of an image are not read here, or None if they are."""
    if not page.is_tiled:
        return "it is not tiled"
    if page.compression not in SEVERAL:
        return f"its compression (TIFF code {int(page.compression)}) is not decoded here"
    if page.photometric not in {RGB, YCBCR} or page.samplesperpixel not in {3, 4}:
        return "it is not RGB"
    if page.bitspersample != 8 or page.sampleformat != 1 or page.planarconfig != 1:
        return "its pixels are not three interleaved bytes"
    if max(page.tilewidth, page.tilelength) > LARGEST_TILE or page.tiledepth != 1:
        return f"its tiles are larger than {LARGEST_TILE} x {LARGEST_TILE}"
    tiles = -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength)
    if not len(page.dataoffsets) == len(page.databytecounts) == tiles:
        return "it does not say where each of its tiles is"
    if (
        max(page.databytecounts)
        > 2 * page.tilewidth * page.tilelength * page.samplesperpixel + 65536
    ):
        return "its tiles take more room than their pixels"
    return None


def _ome_mpp(description: str) -> tuple[float, float] | None:
    """Physical size of the first image's pixels, in µm."""
    # Bounded: a text made for it would keep an open-ended pattern busy for days.
    pixels = re.search(r"<(?:\w{1,64}:)?Pixels\b[^<>]{0,4096}>", description)
    if pixels is None:
        return None
    stated = dict(re.findall(r"""([\w:]+)\s*=\s*["']([^"']*)["']""", pixels.group()))
    sizes = []
    for axis in "XY":
        unit = html.unescape(stated.get(f"PhysicalSize{axis}Unit", "µm"))
        try:
            sizes.append(float(stated[f"PhysicalSize{axis}"]) * MICROMETRES[unit])
        except (KeyError, ValueError):
            return None
    return sizes[0], sizes[1]

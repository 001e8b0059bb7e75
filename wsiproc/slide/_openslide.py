"""Slides as OpenSlide reads them.

OpenSlide takes the corner of a read in level-0 pixels and interpolates where that is no whole
pixel of a lower level, so pieces are read at fixed corners.  Its pixels are transparent where
nothing was scanned; those get the background colour, never black.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from wsiproc.errors import SlideFormatError, SlideReadError
from wsiproc.geometry import Box
from wsiproc.slide.facts import RGB, WHITE, Header, levels_of

MOST_TILE_PIXELS = 1 << 27
"""OpenSlide decodes a tile whole: 512 MiB.  Few slides come near that, by levels that are one."""
PIECE = 512
"""Least edge of a piece: below it, OpenSlide's cost of a read dominates."""


class OpenSlideSource:
    """One file, or one set of files, opened with OpenSlide.

    Raises
    ------
    SlideFormatError
        If OpenSlide does not read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._slide = _opened(path)
        try:
            self.header = _header(self._slide)
            self.piece = tuple(
                _piece(self._slide, level) for level in range(self._slide.level_count)
            )
            self._downsamples = tuple(self._slide.level_downsamples)
        except BaseException:
            self._slide.close()
            raise

    def load(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """One piece, laid over the background."""
        width, height = self.piece[level]
        size = self.header.levels[level]
        x, y = column * width, row * height
        return self.region(level, x, y, min(width, size.width - x), min(height, size.height - y))[0]

    def region(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        """Any region of a level, its corner and size in px of that level.

        Returns
        -------
        pixels
            ``[height, width, 3]``.
        off_x, off_y
            How many px further right and down they were sampled, because OpenSlide takes corners
            in whole level-0 px; at most half of such a px.
        """
        scale = self._downsamples[level]
        corner = (round(x * scale), round(y * scale))
        slide = self._slide
        try:
            image = slide.read_region(corner, level, (width, height))
        except (openslide.OpenSlideError, ValueError) as error:
            # An OpenSlide handle that has failed once fails for good, even where all is well.
            self._open_anew(slide)
            why = reason(error, self._path)
            raise SlideReadError(f"OpenSlide cannot read this region: {why}") from None
        pixels = over(np.asarray(image), self.header.background)
        return pixels, corner[0] / scale - x, corner[1] / scale - y

    def _open_anew(self, broken: openslide.OpenSlide) -> None:
        with self._lock:
            if self._slide is broken:  # else another thread was here first
                broken.close()
                try:
                    self._slide = _opened(self._path)
                except SlideFormatError as error:
                    raise SlideReadError(f"the slide cannot be opened again: {error}") from None

    def close(self) -> None:
        """Let go of the handle."""
        self._slide.close()


def over(rgba: NDArray[np.uint8], background: RGB) -> NDArray[np.uint8]:
    """Straight-alpha pixels ``[h, w, 4]`` laid over a colour, ``[h, w, 3]``."""
    rgb = np.ascontiguousarray(rgba[..., :3])
    alpha = rgba[..., 3]
    if alpha.min(initial=255) == 255:
        return rgb
    # Whole-number arithmetic, so that it rounds the same everywhere.
    a = alpha[..., None].astype(np.uint32)
    mixed = (rgb * a + np.array(background, np.uint32) * (255 - a) + 127) // 255
    return mixed.astype(np.uint8)


def reason(error: Exception, path: Path) -> str:
    """What a library says went wrong, unless it might name the file."""
    text = str(error).strip()
    for name in (path, path.absolute(), path.parent.absolute(), path.name):
        text = text.replace(str(name), "the file")
    safe = text and not re.search(r"[/\\]", text) and path.stem not in text
    return text[:200] if safe else type(error).__name__


def _opened(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideFormatError(reason(error, path)) from None


def _header(slide: openslide.OpenSlide) -> Header:
    properties = slide.properties
    for level in range(slide.level_count):
        across, down = _tile(slide, level)
        if (across or 0) * (down or 0) > MOST_TILE_PIXELS:
            raise SlideFormatError(
                f"the slide has tiles of {across:.0f} x {down:.0f} pixels; up to "
                f"{MOST_TILE_PIXELS} pixels are read"
            )
    mpp_x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
    mpp_y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
    return Header(
        backend="openslide",
        vendor=properties.get(openslide.PROPERTY_NAME_VENDOR) or "unknown",
        levels=levels_of(list(slide.level_dimensions)),
        mpp=None if mpp_x is None or mpp_y is None else (mpp_x, mpp_y),
        objective=_number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
        bounds=_bounds(slide),
        background=_colour(properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR)),
    )


def _bounds(slide: openslide.OpenSlide) -> Box | None:
    names = (
        openslide.PROPERTY_NAME_BOUNDS_X,
        openslide.PROPERTY_NAME_BOUNDS_Y,
        openslide.PROPERTY_NAME_BOUNDS_WIDTH,
        openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    )
    numbers = [_number(slide.properties.get(name)) for name in names]
    x, y, width, height = (None if n is None else round(n) for n in numbers)
    if x is None or y is None or width is None or height is None:
        return None
    return Box.of_size(x, y, width, height) & Box(0, 0, *slide.dimensions)


def _piece(slide: openslide.OpenSlide, level: int) -> tuple[int, int]:
    """Whole native tiles, as many as make `PIECE`, so that no tile is decoded for two pieces."""
    sizes = []
    for tile in _tile(slide, level):
        fits = tile is not None and 1 <= tile <= 2 * PIECE
        sizes.append(-(-PIECE // int(tile)) * int(tile) if fits and tile else PIECE)
    return sizes[0], sizes[1]


def _tile(slide: openslide.OpenSlide, level: int) -> tuple[float | None, float | None]:
    """Width and height of the level's tiles, where it says."""
    name = f"openslide.level[{level}].tile-"
    return _number(slide.properties.get(f"{name}width")), _number(
        slide.properties.get(f"{name}height")
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) else None


def _colour(text: str | None) -> RGB:
    if text and re.fullmatch(r"[0-9A-Fa-f]{6}", text):
        return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)
    return WHITE

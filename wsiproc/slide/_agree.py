"""Whether two readers of one slide give the same pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import SlideReadError
from wsiproc.slide._openslide import OpenSlideSource
from wsiproc.slide._tiff import DamagedTileError, TiffSource

TILES = 16
"""Sample tiles a slide, spread over its levels."""
ROUNDING = 2
"""Grey levels that OpenSlide's fixed-point interpolation may be off by."""


def agree(tiff: TiffSource, reference: OpenSlideSource) -> bool:
    """Whether sample tiles decoded directly are OpenSlide's pixels.

    OpenSlide takes corners in whole level-0 pixels.  On a level of which these are no multiple,
    such as 4.0004, it shows a tile shifted by a fraction of a pixel and interpolates; there the
    tile, shifted likewise, has to match within the rounding, and the tile at (0, 0), which
    needs no shift, to the bit.
    """
    levels = range(min(len(tiff.header.levels), len(reference.header.levels)))
    each = max(1, TILES // len(levels))
    try:
        return all(
            _same(tiff, reference, level, column, row)
            for level in levels
            for column, row in {(0, 0), *tiff.samples(level, each)}
        )
    except DamagedTileError:
        # OpenSlide decides what to make of it. A failing disk is no reason to choose otherwise
        # than the next process would, and is passed on.
        return False


def _same(tiff: TiffSource, reference: OpenSlideSource, level: int, column: int, row: int) -> bool:
    width, height = tiff.piece[level]
    size = tiff.header.levels[level]
    x, y = column * width, row * height
    width, height = min(width, size.width - x), min(height, size.height - y)
    own = tiff.load(level, column, row)
    if own is None:
        own = np.full((height, width, 3), tiff.header.background, np.uint8)
    own = own[:height, :width]
    try:
        other, off_x, off_y = reference.region(level, x, y, width, height)
    except SlideReadError:
        return False
    if off_x == off_y == 0:
        return bool(np.array_equal(own, other))
    shifted = _shifted(_shifted(own.astype(np.float64), off_x, 1), off_y, 0)
    inside = (slice(1, -1), slice(1, -1))
    return bool(np.abs(shifted - other)[inside].max(initial=0) <= ROUNDING)


def _shifted(pixels: NDArray[np.float64], by: float, axis: int) -> NDArray[np.float64]:
    """Linear interpolation at positions `by` (-1 to 1) further along an axis."""
    step = -1 if by > 0 else 1
    return (1 - abs(by)) * pixels + abs(by) * np.roll(pixels, step, axis)

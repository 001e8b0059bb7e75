"""The slide as a pyramid of JPEG tiles, halving from level to level as deep zoom wants it."""

from __future__ import annotations

import io
import math
import os
import threading
from typing import Any, Final

from PIL import Image

from wsiproc.errors import StoreError
from wsiproc.geometry import Box
from wsiproc.slide import Slide
from wsiproc.slide.resample import resample

TILE: Final = 512
"""Edge of a tile, px."""
COARSEST: Final = 8.0
"""Slide px along the edge of a tile's px that are still averaged for it.  A slide whose levels
are further apart is not shown at the sizes between: a tile would read a gigapixel."""
_QUALITY: Final = 90


class SlideTiles:
    """Tiles of an open slide.

    Pixels are squares of `um_per_px` µm whatever the slide's are, so that outlines in µm lie on
    them by one factor.

    Parameters
    ----------
    slide
        Owned from here on; read from several threads.
    """

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        facts = slide.facts
        self.um_per_px = min(facts.mpp)
        self.width = math.ceil(facts.width * facts.mpp[0] / self.um_per_px - 1e-9)
        self.height = math.ceil(facts.height * facts.mpp[1] / self.um_per_px - 1e-9)
        self.max_level = math.ceil(math.log2(max(self.width, self.height, 2)))
        self.min_level = self._coarsest()
        self._reading = threading.BoundedSemaphore(os.cpu_count() or 1)

    def facts(self) -> dict[str, Any]:
        """What the page has to know to ask for tiles."""
        return {
            "width": self.width,
            "height": self.height,
            "tile": TILE,
            "min_level": self.min_level,
            "max_level": self.max_level,
            "um_per_px": self.um_per_px,
        }

    def tile(self, level: int, column: int, row: int) -> bytes:
        """A tile as JPEG.

        Parameters
        ----------
        level
            `max_level` is full resolution, each below it has half as many px.
        column, row
            Its place in the level.

        Raises
        ------
        StoreError
            If there is no such tile.
        SlideReadError
            If the slide cannot be read there.
        """
        if not self.min_level <= level <= self.max_level:
            raise StoreError(f"the slide has no tiles of level {level}")
        width, height = (math.ceil(n / self._scale(level)) for n in (self.width, self.height))
        box = Box.of_size(column * TILE, row * TILE, TILE, TILE) & Box(0, 0, width, height)
        if box.empty or min(column, row) < 0:
            raise StoreError(f"level {level} has no tile in column {column}, row {row}")
        number, ratio = self._source(level)
        read = lambda seen: self._slide.read(number, seen)  # noqa: E731
        with self._reading:
            pixels = read(box) if ratio == (1, 1) else resample(read, ratio, box, "area")
        picture = io.BytesIO()
        Image.fromarray(pixels).save(picture, "JPEG", quality=_QUALITY)
        return picture.getvalue()

    def close(self) -> None:
        """Let go of the slide."""
        self._slide.close()

    def _scale(self, level: int) -> int:
        """Px of full resolution along the edge of a px of a level."""
        return 1 << (self.max_level - level)

    def _source(self, level: int) -> tuple[int, tuple[float, float]]:
        """The slide's own level that has the detail, and how many of its px make one, x and y."""
        facts, um = self._slide.facts, self.um_per_px * self._scale(level)
        ratios = [
            (um / (facts.mpp[0] * own.downsample_x), um / (facts.mpp[1] * own.downsample_y))
            for own in facts.levels
        ]
        fine = [n for n, ratio in enumerate(ratios) if min(ratio) >= 1 - 1e-9]
        number = max(fine, default=0)
        across, down = ratios[number]
        exact = max(abs(across - 1), abs(down - 1)) < 1e-6
        return number, (1, 1) if exact else (across, down)

    def _coarsest(self) -> int:
        """The level that fits one tile, or the last before tiles would read too much."""
        fits = min(self.max_level, int(math.log2(TILE)))
        level = self.max_level
        while level > fits and max(self._source(level - 1)[1]) <= COARSEST:
            level -= 1
        return level

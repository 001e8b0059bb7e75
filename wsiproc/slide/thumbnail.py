"""The whole slide as one small picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import ConfigError
from wsiproc.geometry import Box
from wsiproc.slide.facts import Slide
from wsiproc.slide.resample import resample

MOST_PIXELS = 1 << 28


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """A small picture of a whole slide.

    Parameters
    ----------
    pixels
        uint8 ``[h, w, 3]``, RGB; the last row and column may reach past the slide.
    scale_x, scale_y
        level-0 px per thumbnail px.
    """

    pixels: NDArray[np.uint8]
    scale_x: float
    scale_y: float


def thumbnail(slide: Slide, um_per_px: float) -> Thumbnail:
    """The slide at `um_per_px`, or as it is where it is coarser than that.

    Each pixel is the average of the area it covers, of the coarsest level that has the detail.
    Memory is bounded by the result and a block of that level, time by the size of that level.

    Raises
    ------
    ConfigError
        If the picture would have more than 2^28 pixels.
    SlideReadError
        See `Slide.read`.
    """
    facts = slide.facts
    scale_x = max(1.0, um_per_px / facts.mpp[0])
    scale_y = max(1.0, um_per_px / facts.mpp[1])
    width = int(np.ceil(facts.width / scale_x - 1e-9))
    height = int(np.ceil(facts.height / scale_y - 1e-9))
    if width * height > MOST_PIXELS:
        raise ConfigError(
            f"a picture of this slide at {um_per_px:g} µm per px would have {width} x {height} "
            "pixels; ask for a coarser one"
        )
    number, level = max(
        (n, level)
        for n, level in enumerate(facts.levels)
        if level.downsample_x <= scale_x * (1 + 1e-9) and level.downsample_y <= scale_y * (1 + 1e-9)
    )
    pixels = resample(
        lambda seen: slide.read(number, seen),
        (scale_x / level.downsample_x, scale_y / level.downsample_y),
        Box(0, 0, width, height),
        kernel="area",
    )
    return Thumbnail(pixels, scale_x, scale_y)

"""A slide seen at a model's mpp, on one grid that starts at the corner of its level 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import SlideResolutionError
from wsiproc.geometry import Box, Frame
from wsiproc.slide.facts import MPP_TOLERANCE, Level, Slide, SlideFacts
from wsiproc.slide.resample import Kernel, resample

COARSEST = 2.0
"""A slide this many times as coarse as a model wants is the last that is read for it."""


@dataclass(frozen=True, slots=True)
class View:
    """Which level of a slide gives the model's pixels, and how.

    Parameters
    ----------
    frame
        Where model px lie on the slide.
    level
        The level that is read.
    native
        True if a model pixel is a pixel of that level.
    ratio_x, ratio_y
        Level px per model px.
    coarse
        True if the slide has less detail than the model was made for; worth a warning.
    """

    frame: Frame
    level: int
    native: bool
    ratio_x: float
    ratio_y: float
    coarse: bool = False


def view_at(facts: SlideFacts, mpp: float, *, exact: bool = False) -> View:
    """How to see a slide at `mpp` µm per px.

    Takes the coarsest level that is no coarser than that, within 2 %.  A level within 2 % of it
    is taken as it is, and geometry then uses that level's own mpp; with `exact` it is resampled.

    Raises
    ------
    SlideResolutionError
        If the slide's finest level is more than twice as coarse.
    """
    within = mpp * (1 + MPP_TOLERANCE)
    fine = [n for n, level in enumerate(facts.levels) if max(_mpp(facts, level)) <= within]
    finest = max(_mpp(facts, facts.levels[0]))
    if not fine and finest > COARSEST * mpp:
        raise SlideResolutionError(
            f"the slide has a pixel every {finest:.4g} µm and the model was made for {mpp:.4g} "
            "µm: too coarse by more than half for its nuclei to be seen"
        )
    number = max(fine, default=0)
    level = facts.levels[number]
    level_mpp = _mpp(facts, level)
    close = all(abs(mpp / own - 1) <= MPP_TOLERANCE for own in level_mpp)
    native = (close and not exact) or level_mpp == (mpp, mpp)
    if native:
        scale = (level.downsample_x, level.downsample_y)
        ratio = (1.0, 1.0)
    else:
        scale = (mpp / facts.mpp[0], mpp / facts.mpp[1])
        ratio = (scale[0] / level.downsample_x, scale[1] / level.downsample_y)
    return View(
        frame=Frame.covering((facts.width, facts.height), facts.mpp, scale),
        level=number,
        native=native,
        ratio_x=ratio[0],
        ratio_y=ratio[1],
        coarse=not fine,
    )


def read_view(slide: Slide, view: View, box: Box) -> NDArray[np.uint8]:
    """Pixels of `box`, in global model px.

    Returns
    -------
    pixels
        uint8 ``[height, width, 3]``, RGB, C-contiguous: a function of the global model pixel
        alone, to the bit.  Outside the slide is its background colour.

    Raises
    ------
    SlideReadError
        See `Slide.read`.
    """
    if view.native:
        return slide.read(view.level, box)
    # Averages over areas, as annotated images are brought to a model's mpp for training: pixels
    # that are made otherwise cost accuracy.  Only where there is nothing to average: interpolated.
    kernel: Kernel = "area" if min(view.ratio_x, view.ratio_y) >= 1 else "triangle"
    read = lambda seen: slide.read(view.level, seen)  # noqa: E731
    return resample(read, (view.ratio_x, view.ratio_y), box, kernel)


def _mpp(facts: SlideFacts, level: Level) -> tuple[float, float]:
    return facts.mpp[0] * level.downsample_x, facts.mpp[1] * level.downsample_y

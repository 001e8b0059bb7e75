"""What is known of a slide, and what every slide can do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import ConfigError, SlideFormatError, SlideResolutionError
from wsiproc.geometry import Box

RGB = tuple[int, int, int]
WHITE: RGB = (255, 255, 255)

SMALLEST_MPP, LARGEST_MPP = 0.05, 5.0
"""µm per level-0 px; what lies outside is a mistake in the file, or no scan of a slide."""
MPP_TOLERANCE = 0.02
"""How far x and y may lie apart, and how far a level may lie from a model's mpp."""
MOST_PIXELS = 1 << 37
MOST_LEVELS = 32
LARGEST_MM2 = 17_000.0
"""More than the largest glasses (102 x 127 mm) have; the thumbnail of such a slide fits memory."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the pyramid.

    Parameters
    ----------
    width, height
        Its size in its own pixels.
    downsample_x, downsample_y
        level-0 px per px of this level: a whole number where the sizes are consistent with one.
    """

    width: int
    height: int
    downsample_x: float
    downsample_y: float

    @property
    def box(self) -> Box:
        """The whole level, in its own pixels."""
        return Box(0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Header:
    """What a backend finds in a file, before it is decided whether that will do.

    Parameters
    ----------
    backend
        The part of wsiproc that reads the pixels: ``openslide``, ``tiff``, ``image``,
        ``tiatoolbox``.
    vendor
        Whose format it is, as OpenSlide names it; a plain word where OpenSlide does not know it.
    levels
        From full resolution downwards.
    mpp
        µm per level-0 px along x and y as the file declares it; None where it does not.
    objective
        Magnification of the objective, or None.  Shown to people, used for nothing.
    bounds
        The scanned part of a slide whose level 0 is larger than that, in level-0 px, or None.
    background
        Colour of what was never scanned.
    """

    backend: str
    vendor: str
    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    objective: float | None = None
    bounds: Box | None = None
    background: RGB = WHITE


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What is known of a slide.  An allow-list: nothing here can name a patient.

    Fields as in `Header`, and
    ``width``, ``height`` in level-0 px, ``mpp`` in µm per level-0 px along x and y, and
    ``mpp_source``, whether the mpp stands in the file or was given by the user.
    """

    backend: str
    vendor: str
    width: int
    height: int
    levels: tuple[Level, ...]
    mpp: tuple[float, float]
    mpp_source: Literal["file", "given"]
    objective: float | None
    bounds: Box | None
    background: RGB


class Slide(Protocol):
    """An open slide.  May be read from several threads; never crosses a process border."""

    @property
    def facts(self) -> SlideFacts: ...

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Pixels of `box`, in px of `level`.

        Returns
        -------
        pixels
            uint8 ``[height, width, 3]``, RGB, C-contiguous.  Outside the level is the background
            colour.  The same bits as cropping the read of any larger box.

        Raises
        ------
        SlideReadError
            Where the file cannot be read or decoded; naming level and box.  The slide can be
            read elsewhere after that.
        """
        ...

    def close(self) -> None:
        """Let go of the file.  Closing twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def levels_of(sizes: list[tuple[int, int]]) -> tuple[Level, ...]:
    """The pyramid whose levels have `sizes` (width, height), the largest first.

    A size of 2500 below one of 10001 is a quarter of it, with one column cut off, not a
    4.0004th: writers round sizes, never the pixel grid.
    """
    width, height = sizes[0]
    levels = []
    for w, h in sizes:
        across, down = _whole(width, w), _whole(height, h)
        if across != down:  # one of them only looks like a whole number
            across, down = None, None
        levels.append(Level(w, h, across or width / w, down or height / h))
    return tuple(levels)


def _whole(full: int, reduced: int) -> float | None:
    """The whole number d such that `reduced` is full / d, rounded either way; else None."""
    d = round(full / reduced)
    return float(d) if d >= 1 and full // d <= reduced <= -(-full // d) else None


def check_header(header: Header) -> None:
    """Refuse sizes that no slide has, before anything is decoded.

    Raises
    ------
    SlideFormatError
        For more than 2^37 pixels or 32 levels, and for levels that are empty or not descending.
    """
    levels = header.levels
    if not 1 <= len(levels) <= MOST_LEVELS:
        raise SlideFormatError(f"the slide has {len(levels)} levels; 1 to {MOST_LEVELS} are read")
    if min(min(level.width, level.height) for level in levels) < 1:
        raise SlideFormatError("the slide has a level without pixels")
    if levels[0].width * levels[0].height > MOST_PIXELS:
        raise SlideFormatError(
            f"the slide says that it has {levels[0].width} x {levels[0].height} pixels, "
            f"which is more than the {MOST_PIXELS} that are read"
        )
    if any(a.downsample_x >= b.downsample_x for a, b in pairwise(levels)):
        raise SlideFormatError("the slide's levels do not become smaller from one to the next")


def settle(header: Header, given: float | None) -> SlideFacts:
    """The facts of a slide, with the mpp that was `given`, else the file's own; never a guess.

    Raises
    ------
    ConfigError
        If the given mpp lies outside .05 to 5.
    SlideResolutionError
        If none was given and the file's is missing or absurd; or if the slide would be larger
        than any glass.
    """
    if given is not None:
        if not SMALLEST_MPP <= given <= LARGEST_MPP:
            raise ConfigError(
                f"--mpp {given:g} is not a slide's: it has to be between {SMALLEST_MPP:g} and "
                f"{LARGEST_MPP:g} µm per level-0 pixel"
            )
        mpp = (given, given)
    else:
        mpp = _declared(header.mpp)
    across, down = header.levels[0].width * mpp[0] / 1e3, header.levels[0].height * mpp[1] / 1e3
    if across * down > LARGEST_MM2:
        raise SlideResolutionError(
            f"at {mpp[0]:.4g} x {mpp[1]:.4g} µm per pixel the slide would be {across:.0f} x "
            f"{down:.0f} mm large, and no glass is; if that is a mistake, give the right one with "
            "`--mpp X` (µm per level-0 pixel)"
        )
    return SlideFacts(
        backend=header.backend,
        vendor=header.vendor,
        width=header.levels[0].width,
        height=header.levels[0].height,
        levels=header.levels,
        mpp=mpp,
        mpp_source="file" if given is None else "given",
        objective=header.objective,
        bounds=header.bounds,
        background=header.background,
    )


def _declared(mpp: tuple[float, float] | None) -> tuple[float, float]:
    remedy = "give it with `--mpp X` (µm per level-0 pixel)"
    if mpp is None:
        raise SlideResolutionError(
            f"the slide does not say how many µm its pixels are apart; {remedy}"
        )
    x, y = mpp
    if not (SMALLEST_MPP <= x <= LARGEST_MPP and SMALLEST_MPP <= y <= LARGEST_MPP):
        raise SlideResolutionError(
            f"the slide says that its pixels are {x:.4g} x {y:.4g} µm apart, which is not between "
            f"{SMALLEST_MPP:g} and {LARGEST_MPP:g}; if that is a mistake of the file, {remedy}"
        )
    if abs(x / y - 1) > MPP_TOLERANCE:
        raise SlideResolutionError(
            f"the slide says that its pixels are {x:.4g} µm apart along x and {y:.4g} µm along y, "
            f"which differ by more than {MPP_TOLERANCE:.0%}; if that is a mistake of the file, "
            f"{remedy}"
        )
    return mpp


def describe(facts: SlideFacts) -> dict[str, object]:
    """The facts as plain values, for people and JSON."""
    return {
        "backend": facts.backend,
        "vendor": facts.vendor,
        "width": facts.width,
        "height": facts.height,
        "mpp_x": facts.mpp[0],
        "mpp_y": facts.mpp[1],
        "mpp_source": facts.mpp_source,
        "objective": facts.objective,
        "bounds": None if facts.bounds is None else list(facts.bounds.as_tuple()),
        "background": "#{:02x}{:02x}{:02x}".format(*facts.background),
        "levels": [
            {
                "width": level.width,
                "height": level.height,
                "downsample_x": level.downsample_x,
                "downsample_y": level.downsample_y,
            }
            for level in facts.levels
        ],
    }

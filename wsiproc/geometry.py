"""Boxes and frames of reference.  Pure arithmetic, no pixels.

Three frames are in use, all with x to the right and y down, and all with the same origin: the
top-left corner of the slide's level-0 pixel (0, 0).

=============  ==========================================================================
model px       the slide resampled to the model's mpp; where networks and decoders work
level-0 px     the slide's own pixels at full resolution
µm             micrometres; what is stored
=============  ==========================================================================

Pixel (0, 0) covers [0, 1) x [0, 1), so its centre lies at (.5, .5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open rectangle of whole pixels, ``[x0, x1) x [y0, y1)``, in a frame its user names."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def of_size(cls, x: int, y: int, width: int, height: int) -> Self:
        """The box with its top-left corner at (x, y)."""
        return cls(x, y, x + width, y + height)

    @property
    def width(self) -> int:
        return max(0, self.x1 - self.x0)

    @property
    def height(self) -> int:
        return max(0, self.y1 - self.y0)

    @property
    def area(self) -> int:
        return self.width * self.height

    @property
    def empty(self) -> bool:
        return self.width == 0 or self.height == 0

    def __and__(self, other: Box) -> Box:
        """Intersection; may be empty."""
        return Box(
            max(self.x0, other.x0),
            max(self.y0, other.y0),
            min(self.x1, other.x1),
            min(self.y1, other.y1),
        )

    def __contains__(self, other: Box) -> bool:
        return (
            self.x0 <= other.x0
            and self.y0 <= other.y0
            and self.x1 >= other.x1
            and self.y1 >= other.y1
        )

    def grown(self, margin: int) -> Box:
        """This box with `margin` more pixels on every side."""
        return Box(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def shifted(self, dx: int, dy: int) -> Box:
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def slices_in(self, outer: Box) -> tuple[slice, slice]:
        """``(rows, columns)`` of this box inside an array that covers `outer`, which holds it."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )

    def holds(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pixels (x, y) lie inside, elementwise."""
        inside: NDArray[np.bool_] = (x >= self.x0) & (x < self.x1) & (y >= self.y0) & (y < self.y1)
        return inside

    def as_tuple(self) -> tuple[int, int, int, int]:
        return (self.x0, self.y0, self.x1, self.y1)


@dataclass(frozen=True, slots=True)
class Frame:
    """How one slide's model pixels lie on its level-0 pixels and in micrometres.

    Parameters
    ----------
    mpp_x, mpp_y
        µm per level-0 px.
    scale_x, scale_y
        level-0 px per model px.
    width, height
        Size of the slide in model px; the last column and row may reach past the slide's edge.
    """

    mpp_x: float
    mpp_y: float
    scale_x: float
    scale_y: float
    width: int
    height: int

    @classmethod
    def covering(
        cls, size: tuple[int, int], mpp: tuple[float, float], scale: tuple[float, float]
    ) -> Self:
        """The frame whose model pixels cover a slide of `size` (width, height) level-0 px."""
        return cls(
            mpp[0],
            mpp[1],
            scale[0],
            scale[1],
            math.ceil(size[0] / scale[0] - 1e-9),
            math.ceil(size[1] / scale[1] - 1e-9),
        )

    @property
    def box(self) -> Box:
        """The whole slide, in model px."""
        return Box(0, 0, self.width, self.height)

    @property
    def um_per_px(self) -> tuple[float, float]:
        """µm per model px, along x and y."""
        return (self.mpp_x * self.scale_x, self.mpp_y * self.scale_y)

    def model_to_level0(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``[n, 2]`` in model px to level-0 px."""
        return np.asarray(xy, np.float64) * (self.scale_x, self.scale_y)

    def level0_to_model(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``[n, 2]`` in level-0 px to model px."""
        return np.asarray(xy, np.float64) / (self.scale_x, self.scale_y)

    def model_to_um(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``[n, 2]`` in model px to µm."""
        return np.asarray(xy, np.float64) * self.um_per_px

    def um_to_level0(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``[n, 2]`` in µm to level-0 px."""
        return np.asarray(xy, np.float64) / (self.mpp_x, self.mpp_y)

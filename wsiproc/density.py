"""Nuclei per mm²: counted on a grid of bounded size, smoothed over what was searched, coloured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

LONGEST_PX = 900
"""Longer edge of the pictures that density is smoothed for, px."""
_RAMP = (
    (255, 250, 222),
    (254, 209, 120),
    (246, 132, 74),
    (205, 52, 92),
    (116, 22, 112),
    (44, 8, 66),
)
"""Colours from no nuclei to most, even in lightness: from paper to ink."""
_MOST_CELLS, _LEAST_CELL_UM = 1024, 16.0


@dataclass(frozen=True, slots=True, eq=False)
class DensityGrid:
    """Nuclei counted in square cells over a slide: bounded memory, whatever their number.

    Parameters
    ----------
    counts
        int64 ``[rows, columns]``; grows by `add`.
    cell_um
        Edge of a cell, µm; cell (0, 0) starts at the slide's origin.
    """

    counts: NDArray[np.int64]
    cell_um: float

    @classmethod
    def over(cls, width_um: float, height_um: float) -> Self:
        """An empty grid over a slide of this size."""
        cell = max(_LEAST_CELL_UM, max(width_um, height_um) / _MOST_CELLS)
        rows, columns = (max(1, math.ceil(edge / cell)) for edge in (height_um, width_um))
        return cls(np.zeros((rows, columns), np.int64), cell)

    def add(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> None:
        """Count nuclei at these places, µm; in any order, in any number of parts."""
        rows, columns = self.counts.shape
        row = np.clip(np.floor(np.asarray(y_um) / self.cell_um), 0, rows - 1).astype(np.intp)
        column = np.clip(np.floor(np.asarray(x_um) / self.cell_um), 0, columns - 1).astype(np.intp)
        counted = np.bincount(row * columns + column, minlength=rows * columns)
        self.counts[:] += counted.reshape(rows, columns)

    @property
    def total(self) -> int:
        """All nuclei counted so far."""
        return int(self.counts.sum())


def draw_density(
    slide: Image.Image,
    searched: NDArray[np.bool_],
    density: DensityGrid,
    size_um: tuple[float, float],
) -> tuple[Image.Image, float]:
    """Density laid over the greyed slide, and the density of the darkest colour, nuclei/mm².

    Parameters
    ----------
    slide
        The whole slide, at the size that is wanted.
    searched
        ``[rows, columns]`` cells of the grid where nuclei were looked for.
    size_um
        Width and height of the slide.
    """
    per_mm2, top = smoothed(density, searched, max(size_um))
    box = (0.0, 0.0, size_um[0] / density.cell_um, size_um[1] / density.cell_um)
    levels = _resized(per_mm2 / top, slide.size, box)
    cover = _resized(searched.astype(np.float64), slide.size, box)
    grey = np.asarray(slide.convert("L"), np.float64)[..., None]
    paper = 255 - 0.35 * (255 - grey)
    alpha = (0.88 * np.clip(cover, 0, 1))[..., None]
    mixed = coloured(levels) * alpha + paper * (1 - alpha)
    return Image.fromarray(np.rint(mixed).astype(np.uint8)), top


def smoothed(
    density: DensityGrid, searched: NDArray[np.bool_], longest_um: float
) -> tuple[NDArray[np.float64], float]:
    """Nuclei per mm² of what was searched around each cell, and a round number near the most.

    Parameters
    ----------
    searched
        ``[rows, columns]`` cells where nuclei were looked for.
    longest_um
        The slide's longer edge: what is smoothed away follows the picture's size.
    """
    blur = max(1.0, 2.5 * longest_um / LONGEST_PX / density.cell_um, 30.0 / density.cell_um)
    around = ndimage.gaussian_filter(searched.astype(np.float64), blur)
    counted = ndimage.gaussian_filter(density.counts.astype(np.float64), blur)
    # Glass holds no nuclei: what counts is the searched area around a place.
    per_mm2 = counted / np.maximum(around, 0.1) / (density.cell_um * 1e-3) ** 2
    most = float(np.percentile(per_mm2[searched], 99.5)) if searched.any() else 0.0
    return per_mm2, round_up(most)


def _resized(
    values: NDArray[np.float64], size: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """A grid's part `box` at the panel's size."""
    image = Image.fromarray(values.astype(np.float32))
    box = (0.0, 0.0, min(box[2], image.width), min(box[3], image.height))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box), np.float64)


def coloured(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels 0 to 1 as RGB, ``[..., 3]``."""
    at = np.linspace(0, 1, len(_RAMP))
    level = np.clip(levels, 0, 1)
    return np.stack([np.interp(level, at, [c[i] for c in _RAMP]) for i in range(3)], axis=-1)


def round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * power >= value * 0.999)

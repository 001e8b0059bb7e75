"""One turn of an image, its points and its rasters at once.

Weak labels (squares, discs, cells around points) are drawn by the methods after the turn, so that
none is blurred by it.  Everything is drawn from the generator that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc.training.augment import restain
from wsiproc.training.labels import discs
from wsiproc.training.litter import lay_litter
from wsiproc.training.settings import FieldAugmentation

_NUCLEAR_PX = 3.0
"""Around a point, what litter takes the darkness of nuclei from."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A part of an image as a network sees it.

    Parameters
    ----------
    pixels
        ``[size, size, 3]`` uint8.
    points
        ``[n, 2]`` float64 in px of the crop: all points of the image that litter does not cover,
        also those that lie outside of the crop, since what is drawn around them may reach in.
    rasters
        ``[size, size]`` each, of the types they had; 0 outside the image and under litter.
    seen
        ``[size, size]`` bool; false where the crop lies outside the image and shows its
        reflection.  Where glass was laid around the image instead, it is seen, and empty.
    """

    pixels: NDArray[np.uint8]
    points: NDArray[np.float64]
    rasters: tuple[NDArray[Any], ...]
    seen: NDArray[np.bool_]


def crop_field(
    pixels: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    size: int,
    augmentation: FieldAugmentation,
    points: NDArray[np.float64] | None = None,
    rasters: Sequence[NDArray[Any]] = (),
) -> Crop:
    """`size` x `size` px from anywhere of an image, turned, mirrored, enlarged and restained.

    The middle of the crop is drawn such that an unturned crop lies inside the image; corners of
    turned ones may reach out and are not `seen`.  Right angles at the image's own scale move
    whole pixels, so nothing is interpolated then.

    Parameters
    ----------
    pixels, points, rasters
        ``[h, w, 3]`` uint8; ``[n, 2]`` (x, y), pixel centres at +.5; and label maps ``[h, w]``, of
        which the nearest pixel is taken.
    """
    a = augmentation
    turn, scale = _turn(rng, a)
    matrix = turn / scale
    glass = rng.random() < a.beyond
    middle = _middle(rng, pixels.shape[:2], size, scale, glass)
    row, column = np.mgrid[:size, :size].reshape(2, -1) + 0.5 - size / 2
    x, y = matrix @ np.stack([column, row]) + middle[:, None]
    inside = (x >= 0) & (y >= 0) & (x < pixels.shape[1]) & (y < pixels.shape[0])
    at = np.stack([y, x]) - 0.5
    image = _bilinear(pixels, at, size)
    if glass:
        image[~inside.reshape(size, size)] = 255
    nearest = np.floor(np.stack([y, x])[:, inside]).astype(np.int64)
    cut = []
    for raster in rasters:
        flat = np.zeros(size * size, raster.dtype)
        flat[inside] = raster[nearest[0], nearest[1]]
        cut.append(flat.reshape(size, size))
    given = np.zeros((0, 2)) if points is None else points
    # The turn is orthogonal: what undoes it is its transpose, times the enlargement.
    xy = (given - middle) @ turn * scale + size / 2
    if a.litter and rng.random() < a.litter:
        image, free = _littered(image, xy, rng)
        cut = [np.where(free, raster, 0).astype(raster.dtype) for raster in cut]
        cell = np.clip(np.floor(xy), 0, size - 1).astype(np.int64)
        xy = xy[free[cell[:, 1], cell[:, 0]] | ((xy < 0) | (xy >= size)).any(1)]
    seen = np.ones((size, size), bool) if glass else inside.reshape(size, size)
    return Crop(restain(image, rng, a), xy, tuple(cut), seen)


def _turn(rng: np.random.Generator, a: FieldAugmentation) -> tuple[NDArray[np.float64], float]:
    """``[2, 2]``, orthogonal: from the crop's axes to the image's; and how much it is enlarged."""
    quarter, flip, free = int(rng.integers(4)), bool(rng.integers(2)), rng.random() < a.turned
    cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter]
    if free:
        angle = rng.uniform(0, 2 * math.pi)
        cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    if flip:
        turn[:, 0] *= -1
    low, high = math.log(min(a.scales)), math.log(max(a.scales))
    return turn, math.exp(rng.uniform(low, high)) if high > low else min(a.scales)


def _middle(
    rng: np.random.Generator, shape: Sequence[int], size: int, scale: float, glass: bool
) -> NDArray[np.float64]:
    """(x, y) of the crop's middle in the image: half a crop and a whole number of px."""
    reach = size // 3 if glass else 0
    half = size / scale / 2
    middle = []
    for length in (shape[1], shape[0]):
        low = math.ceil(half - reach - size / 2)
        high = math.floor(length - half + reach - size / 2)
        start = int(rng.integers(low, high + 1)) if high >= low else (length - size) // 2
        middle.append(start + size / 2)
    return np.array(middle)


def _bilinear(pixels: NDArray[np.uint8], at: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Pixels at places ``[2, k]`` (row, column; pixel centres whole), mirrored past the edges."""
    out = np.empty((size, size, 3), np.uint8)
    for channel in range(3):
        values = ndimage.map_coordinates(
            pixels[..., channel].astype(np.float32), at, order=1, mode="reflect"
        )
        out[..., channel] = (values + 0.5).astype(np.uint8).reshape(size, size)
    return out


def _littered(
    image: NDArray[np.uint8], xy: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The image with litter on it, and where there is none."""
    shape = image.shape[0], image.shape[1]
    target = np.stack([discs(shape, xy, _NUCLEAR_PX), np.ones(shape, np.float32)], -1)
    laid, left = lay_litter(image, target.astype(np.float16), rng)
    free: NDArray[np.bool_] = left[..., 1] > 0
    return laid, free

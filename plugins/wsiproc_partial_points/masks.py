"""What the detector learns from: extended Gaussian masks, a background that grows (sec. III)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from wsiproc.training.labels import IGNORE

_CUT = 0.05
"""A Gaussian's pixels above this weigh more: by the paper's code they end there, 2.45 sigma from
the point, where its text has them end at r1."""


def distance_to(
    points: NDArray[np.float64], shape: Sequence[int], furthest: float
) -> NDArray[np.float32]:
    """From each pixel's centre to the nearest point, px; infinite beyond `furthest`.

    Parameters
    ----------
    points
        ``[n, 2]`` (x, y), pixel centres at +.5; may lie outside.
    """
    if not len(points):
        return np.full(shape, np.inf, np.float32)
    row, column = np.mgrid[: shape[0], : shape[1]].reshape(2, -1) + 0.5
    tree = cKDTree(points)
    away, _ = tree.query(np.stack([column, row], 1), distance_upper_bound=furthest)
    distances: NDArray[np.float32] = away.astype(np.float32).reshape(shape)
    return distances


def gaussian_mask(
    points: NDArray[np.float64], shape: Sequence[int], radius: float
) -> NDArray[np.float32]:
    """M of eq. 1: 1 at a point, falling with sigma = r1 / 4; 0 from r1 on; `IGNORE` from r2 = 2 r1.

    Eq. 1 leaves out D = r1 and D = r2; both belong to what lies outside.

    Parameters
    ----------
    points
        ``[n, 2]`` (x, y) in px, pixel centres at +.5; may lie outside.
    shape
        ``(h, w)``.
    radius
        r1 in px.
    """
    away = distance_to(points, shape, 2 * radius)
    mask = np.where(away < 2 * radius, 0.0, IGNORE)
    near = away < radius
    mask[near] = np.exp(-(away[near] ** 2) / (2 * (radius / 4) ** 2))
    return mask.astype(np.float32)


def weighty(mask: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where w of eq. 2 is large."""
    heavy: NDArray[np.bool_] = mask > _CUT
    return heavy


def background(
    prob: NDArray[np.float32], radius: float, *, below: float, above: float
) -> NDArray[np.bool_]:
    """What eq. 3 takes for background away from labelled points.

    Where the detector says little, and what it says loudly of an area larger than a nucleus:
    of pixels that were ignored it may say anything.

    Parameters
    ----------
    prob
        ``[h, w]``, the detector's.
    radius
        r1 in px; components larger than pi r1² are no nuclei.
    """
    loud, count = ndimage.label(prob > above, np.ones((3, 3)))
    areas = np.bincount(loud.ravel(), minlength=count + 1)
    large = areas > math.pi * radius**2
    large[0] = False
    found: NDArray[np.bool_] = (prob < below) | large[loud]
    return found

"""What networks learn, drawn from annotations; and the resampling that brings both to model px.

Every raster is float32 ``[h, w]`` with `IGNORE` where nothing is known: unknown is not
background.  Rasters are drawn at the annotation's own resolution and then averaged over areas, so
that a border falls where it was drawn and not on the nearest pixel of a coarser grid.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

Raster = NDArray[np.float32]
IGNORE = -1.0
"""Value of a raster where the annotation says nothing; losses leave such pixels out."""


def odd_px(length_um: float, mpp: float) -> int:
    """The odd number of px nearest to a length, at least 1: the edge of a square around a pixel."""
    return max(1, 2 * round((length_um / mpp - 1) / 2) + 1)


def foreground(instances: NDArray[np.int32]) -> Raster:
    """1 inside nuclei, their borders included, and 0 outside.

    Parameters
    ----------
    instances
        ``[h, w]`` label map, 0 = background, negative = unknown.
    """
    return np.where(instances < 0, IGNORE, instances > 0).astype(np.float32)


def centre_map(instances: NDArray[np.int32]) -> Raster:
    """How far inside its nucleus a pixel lies: 1 at the centre, falling to 0 at the border.

    The solution of Poisson's equation with 0 on the border, scaled to 1 in every nucleus (Gorelick
    et al. 2006, "Shape representation and classification using the Poisson equation", eq. 1).
    For an ellipse it is 1 - (x/a)² - (y/b)²: unlike the distance to the border it has one
    peak where a nucleus is long, and unlike a Gaussian it sinks to 0 between two that touch.
    The edge of the image is no border: a nucleus goes on beyond it.

    Parameters
    ----------
    instances
        ``[h, w]`` label map, 0 = background, negative = unknown.
    """
    out = np.where(instances < 0, IGNORE, 0.0).astype(np.float32)
    inside = instances > 0
    if not inside.any():
        return out
    number = np.cumsum(inside).reshape(inside.shape) - 1
    count = int(inside.sum())
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    degree = np.full(count, 4.0)
    for axis in (0, 1):
        here = [slice(None), slice(None)]
        there = [slice(None), slice(None)]
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(here), tuple(there)
        same = inside[a] & (instances[a] == instances[b])
        rows += [number[a][same], number[b][same]]
        columns += [number[b][same], number[a][same]]
        for edge in (0, -1):
            rim = np.take(inside, edge, axis)
            degree[np.take(number, edge, axis)[rim]] -= 1.0
    row, column = np.concatenate(rows), np.concatenate(columns)
    # The small term keeps a nucleus that fills the whole image from having no border at all.
    system = sparse.diags(degree + 1e-6) - sparse.coo_matrix(
        (np.ones(len(row)), (row, column)), shape=(count, count)
    )
    height = spsolve(system.tocsc(), np.ones(count), permc_spec="MMD_AT_PLUS_A")
    values, index = np.unique(instances[inside], return_inverse=True)
    peak = ndimage.maximum(height, index, np.arange(len(values)))
    out[inside] = (height / np.asarray(peak)[index]).astype(np.float32)
    return out


def between(instances: NDArray[np.int32], reach_px: float) -> Raster:
    """1 where two different nuclei lie within `reach_px` of a pixel, else 0."""
    size = 2 * max(1, round(reach_px)) + 1
    labels = np.where(instances > 0, instances, 0)
    highest = ndimage.maximum_filter(labels, size)
    lowest = ndimage.minimum_filter(np.where(labels > 0, labels, np.iinfo(np.int32).max), size)
    touching: Raster = ((highest > 0) & (highest != lowest)).astype(np.float32)
    return touching


def discs(shape: tuple[int, int], xy: NDArray[np.float64], radius_px: float) -> Raster:
    """1 within `radius_px` of a point, else 0; `xy` in px, pixel centres at +.5."""
    if not len(xy):
        return np.zeros(shape, np.float32)
    far = np.ones(shape, bool)
    inside = (xy >= 0).all(1) & (xy[:, 0] < shape[1]) & (xy[:, 1] < shape[0])
    cells = np.floor(xy[inside]).astype(np.int64)
    far[cells[:, 1], cells[:, 0]] = False
    near: Raster = (ndimage.distance_transform_edt(far) <= radius_px).astype(np.float32)
    return near


def resampled_size(size: int, mpp: float, to_mpp: float) -> int:
    """Pixels along an edge after resampling, at least 1."""
    return max(1, math.floor(size * mpp / to_mpp + 0.5))


def resample_pixels(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """``[h, w, c]`` uint8 averaged over areas to ``[height, width, c]``, rounded."""
    return (_average(pixels.astype(np.float32), height, width) + 0.5).astype(np.uint8)


def resample_raster(raster: Raster, height: int, width: int) -> Raster:
    """``[h, w, c]`` rasters averaged over what is known; unknown where most of the area is."""
    known = (raster >= 0).astype(np.float32)
    weight = _average(known, height, width)
    total = _average(raster * known, height, width)
    mean = total / np.maximum(weight, 1e-6)
    return np.where(weight >= 0.5, mean, IGNORE).astype(np.float32)


def resample_labels(instances: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """``[h, w]`` label map at ``[height, width]``: what lies at the middle of each new pixel."""
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * size / new).astype(np.int64)
        for size, new in zip(instances.shape, (height, width), strict=True)
    )
    return instances[np.ix_(rows, columns)]


def _average(image: Raster, height: int, width: int) -> Raster:
    rows, columns = _overlaps(image.shape[0], height), _overlaps(image.shape[1], width)
    down = np.einsum("ij,jkc->ikc", rows, image, optimize=True)
    out: Raster = np.einsum("ij,kjc->kic", columns, down, optimize=True)
    return out


def _overlaps(size: int, new: int) -> Raster:
    """``[new, size]``: the share of each old pixel in each new one; rows sum to 1.

    Enlarging, a new pixel is smaller than an old one and would repeat it; it is then given the
    width of an old one, which is linear interpolation.
    """
    ratio = size / new
    half = max(ratio, 1.0) / 2
    centre = (np.arange(new) + 0.5) * ratio
    low, high = (centre - half)[:, None], (centre + half)[:, None]
    left = np.arange(size)[None]
    share = np.clip(np.minimum(high, left + 1) - np.maximum(low, left), 0, None)
    share /= share.sum(1, keepdims=True)
    out: Raster = share.astype(np.float32)
    return out

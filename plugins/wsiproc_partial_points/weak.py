"""Pixels from points: the Voronoi label and the cluster label (sec. IV-A).

Both are uint8 maps ``[h, w]`` of `BACKGROUND`, `NUCLEUS` and `UNKNOWN`, drawn once an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc_partial_points.config import LabelConfig
from wsiproc_partial_points.kmeans import kmeans

Label = NDArray[np.uint8]
Bits = NDArray[np.bool_]
BACKGROUND, NUCLEUS, UNKNOWN = 0, 1, 2

# Optical density that haematoxylin takes from red light, which eosin lets pass.
_RED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The Voronoi diagram of an image's points, by pixels.

    Parameters
    ----------
    nearest
        ``[h, w]`` int32: 1 + the index of the nearest point's pixel, 0 where there is no point.
    away
        ``[h, w]`` float64: distance to that pixel, px; infinite without points.
    """

    nearest: NDArray[np.int32]
    away: NDArray[np.float64]


def cells(points: NDArray[np.float64], shape: tuple[int, int]) -> Cells:
    """Which point each pixel of ``(h, w)`` is nearest to.

    By the distance transform's indices: the same partition as that by polygons, in time that
    does not depend on the number of points.  Points outside the image are left out, and points in
    one pixel are one.

    Parameters
    ----------
    points
        ``[n, 2]`` (x, y) in px, pixel centres at +.5.
    """
    column, row = np.floor(points.reshape(-1, 2)).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
    seeds = np.zeros(shape, np.int32)
    seeds[row[inside], column[inside]] = 1
    if not seeds.any():
        return Cells(seeds, np.full(shape, np.inf))
    seeds[seeds > 0] = np.arange(1, seeds.sum() + 1)
    away, (y, x) = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    return Cells(seeds[y, x], away)


def voronoi_label(cell: Cells, config: LabelConfig, mpp: float) -> Label:
    """Edges of cells are background, discs around points nucleus, all else unknown."""
    label = np.full(cell.nearest.shape, UNKNOWN, np.uint8)
    label[edges(cell.nearest, max(1, round(config.edge_um / mpp)))] = BACKGROUND
    label[cell.away <= config.dot_um / mpp] = NUCLEUS
    return label


def edges(nearest: NDArray[np.int32], width: int) -> Bits:
    """Lines of `width` px between the cells; the image's own border is none."""
    line = np.zeros(nearest.shape, bool)
    line[:, :-1] |= nearest[:, :-1] != nearest[:, 1:]
    line[:-1] |= nearest[:-1] != nearest[1:]
    if width > 1:
        line[:, 1:] |= nearest[:, :-1] != nearest[:, 1:]
        line[1:] |= nearest[:-1] != nearest[1:]
    if width > 2:
        line = within(line, (width - 2) / 2)
    return line


def cluster_label(
    pixels: NDArray[np.uint8], cell: Cells, config: LabelConfig, mpp: float, seed: int
) -> Label:
    """Nuclei and background by k-means over colour and the distance to the nearest point.

    Of three clusters that with most of the points is nucleus; of the others, that with least of
    their surroundings is background; the third is unknown.  Nuclei are smoothed cell by cell,
    lest neighbours join.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8.
    seed
        Of the clustering.
    """
    label = np.full(cell.nearest.shape, UNKNOWN, np.uint8)
    if not cell.nearest.any():
        return label
    near = np.minimum(cell.away * mpp, config.furthest_um) * (20 / config.furthest_um)
    features = np.concatenate([near[..., None], pixels / 10.0], -1).reshape(-1, 4)
    member = kmeans(features, 3, seed).reshape(label.shape)
    nucleus, empty = roles(member, cell.away == 0, cell.away <= config.around_um / mpp)
    dark = -np.log((pixels[..., _RED].astype(np.float64) + 1) / 256)
    if nucleus == empty or not dark[member == nucleus].mean() > dark[member == empty].mean():
        # Clusters that follow something else than nuclei teach the opposite: go by darkness.
        level = otsu(dark)
        inside, outside = dark > level, dark <= level
    else:
        inside, outside = member == nucleus, member == empty
        third = (member != nucleus) & (member != empty)
        if config.lighter and third.any() and dark[third].mean() < dark[outside].mean():
            outside = ~inside
    inside = smoothed(without_specks(inside, config.speck_um2 / mpp**2), cell, config, mpp)
    outside &= ~inside & (cell.away > config.clear_um / mpp)
    label[inside] = NUCLEUS
    label[outside | (cell.away > config.far_um / mpp)] = BACKGROUND
    return label


def roles(member: NDArray[np.int64], at_points: Bits, around: Bits) -> tuple[int, int]:
    """The clusters that are nucleus and background."""
    size = np.bincount(member.ravel(), minlength=3)
    nucleus = int(np.bincount(member[at_points], minlength=3).argmax())
    share = np.bincount(member[around], minlength=3).astype(np.float64)
    share[(np.arange(3) == nucleus) | (size == 0)] = np.inf
    return nucleus, int(share.argmin())


def smoothed(inside: Bits, cell: Cells, config: LabelConfig, mpp: float) -> Bits:
    """In every cell: widened, holes filled, and narrowed again by more than it was widened.

    Widened parts may leave their cell; what is left after narrowing lies within what was there,
    or in its gaps.  Past the image's edge a nucleus goes on as it is there.
    """
    wide, narrow = config.widen_um / mpp, config.narrow_um / mpp
    rim = math.ceil(max(wide, narrow)) + 1
    own = np.pad(np.where(inside, cell.nearest, 0), 2 * rim, mode="edge")
    out = np.zeros(own.shape, bool)
    for number, span in enumerate(ndimage.find_objects(own), start=1):
        if span is None:
            continue
        around = tuple(slice(max(s.start - rim, 0), s.stop + rim) for s in span)
        grown = ndimage.binary_fill_holes(within(own[around] == number, wide))
        # Nothing lies beyond the cut: the rim is wider than what was added.
        out[around] |= ndimage.distance_transform_edt(np.pad(grown, 1))[1:-1, 1:-1] > narrow
    return out[2 * rim : -2 * rim, 2 * rim : -2 * rim]


def within(bits: Bits, radius: float) -> Bits:
    """Widened by a disc of `radius` px."""
    near: Bits = ndimage.distance_transform_edt(~bits) <= radius
    return near & bits.any()


def without_specks(bits: Bits, least: float) -> Bits:
    """Without 8-connected components of fewer than `least` px."""
    parts, count = ndimage.label(bits, np.ones((3, 3)))
    large = np.bincount(parts.ravel(), minlength=count + 1) >= least
    large[0] = False
    kept: Bits = large[parts]
    return kept


def otsu(values: NDArray[np.float64]) -> float:
    """The level that parts `values` into two classes of least variance (Otsu 1979)."""
    count, bounds = np.histogram(values, 256)
    middle = (bounds[:-1] + bounds[1:]) / 2
    below = np.cumsum(count)[:-1]
    above = below[-1] + count[-1] - below
    total = np.cumsum(count * middle)
    apart = total[:-1] / np.maximum(below, 1) - (total[-1] - total[:-1]) / np.maximum(above, 1)
    return float(bounds[1 + int(np.argmax(below * above * apart**2))])

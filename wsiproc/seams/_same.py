"""Which views of different tiles show the same nucleus."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsiproc.seams._views import Rows, Views
from wsiproc.tiling import Tile

SAME = 0.5
"""Views whose intersection is at least this much of the smaller show the same nucleus."""


def same_outlines(
    views: Views, shapes: NDArray[np.object_], first: int, tiles: tuple[Tile, ...]
) -> Rows:
    """``[p, 2]`` pairs (i, j) of views of different tiles, i < j and j not before `first`."""
    j, i = shapely.STRtree(shapes).query(shapes[first:])
    j = j + first
    apart = (i < j) & (views.tile[i] != views.tile[j])
    i, j = i[apart], j[apart]
    named = views.name[i] == views.name[j]
    partial = views.cut[i] | views.cut[j]
    low = np.maximum(shapely.bounds(shapes[i])[:, :2], shapely.bounds(shapes[j])[:, :2])
    high = np.minimum(shapely.bounds(shapes[i])[:, 2:], shapely.bounds(shapes[j])[:, 2:])
    smaller = np.minimum(views.area[i], views.area[j])
    # The boxes' intersection bounds the outlines', and settles nearly all pairs of neighbours.
    maybe = named | partial | (np.prod(high - low, axis=1) >= SAME * smaller)
    i, j, named, partial, smaller = (a[maybe] for a in (i, j, named, partial, smaller))
    common = np.zeros(len(i))
    common[~named] = shapely.area(shapely.intersection(shapes[i[~named]], shapes[j[~named]]))
    if partial.any():
        # Of a nucleus that was cut, only what both tiles could see can be compared.
        sight = shapely.box(*np.array([tile.decoded.as_tuple() for tile in tiles], float).T)
        a, b = i[partial], j[partial]
        smaller[partial] = np.minimum(
            shapely.area(shapely.intersection(shapes[a], sight[views.tile[b]])),
            shapely.area(shapely.intersection(shapes[b], sight[views.tile[a]])),
        )
    same = named | ((common > 0) & (common >= SAME * smaller))
    return np.stack([i[same], j[same]], axis=-1)


def same_points(views: Views, first: int, radius_px: float) -> Rows:
    """As `same_outlines`, for points."""
    if not len(views):
        return np.empty((0, 2), np.int64)
    found = cKDTree(views.centre).query_pairs(radius_px, output_type="ndarray")
    pairs = np.sort(np.asarray(found, np.int64).reshape(-1, 2), axis=1)
    apart = (views.tile[pairs[:, 0]] != views.tile[pairs[:, 1]]) & (pairs[:, 1] >= first)
    same: Rows = pairs[apart]
    return same

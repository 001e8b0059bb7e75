"""Geometry of a result's rows, in the frames that exports want."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsiproc.results.stored import StoredResult

Shapes = NDArray[np.object_]


def shapes_um(rows: pa.Table) -> Shapes:
    """``[n]`` the rows' polygons or points, µm, y down."""
    wkb = rows["geometry"].to_numpy(zero_copy_only=False)
    shapes: Shapes = shapely.from_wkb(wkb)
    return shapes


def shapes_px(rows: pa.Table, result: StoredResult, *, per_px: int | None = None) -> Shapes:
    """``[n]`` the rows' polygons or points, level-0 px, y down.

    Parameters
    ----------
    per_px
        Coordinates are rounded to 1 / `per_px` px; None leaves them as they are.
    """

    def moved(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        px = result.to_px(xy)
        return px if per_px is None else np.rint(px * per_px) / per_px

    shapes: Shapes = shapely.transform(shapes_um(rows), moved)
    return shapes


def y_up(shapes: Shapes) -> Shapes:
    """Shapes mirrored at y = 0, rings turned so that they run as they did, in numbers."""
    mirrored = shapely.transform(shapes, lambda xy: xy * (1.0, -1.0))
    turned: Shapes = shapely.reverse(mirrored)
    return turned


def rings(shapes: Shapes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The outer rings of polygons without holes, one after the other, each closed.

    Returns
    -------
    xy, start
        ``[v, 2]`` vertices, and ``[n + 1]`` where each ring begins.
    """
    if not len(shapes):
        return np.empty((0, 2)), np.zeros(1, np.int64)
    outer = shapely.get_exterior_ring(shapes)
    count = shapely.get_num_points(outer)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    return shapely.get_coordinates(outer), start

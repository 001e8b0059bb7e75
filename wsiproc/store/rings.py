"""Rings of many polygons as flat columns, on the 1/16 µm grid, and their WKB.

Coordinates are whole grid steps held in float64, so that differences, cross products and second
moments of anything the size of a nucleus are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsiproc.store.schema import GRID_UM

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_HEADING = np.dtype([("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("n", "<u4")])
"""What a WKB polygon without holes begins with: 1 for little-endian, 3 for a polygon."""


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """Rings of ``n`` polygons in grid steps, one after the other, not closed.

    Parameters
    ----------
    x, y
        ``[v]`` float64, whole numbers.
    start
        ``[n + 1]`` int64, where each ring begins.
    """

    x: Floats
    y: Floats
    start: Ints

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def count(self) -> Ints:
        """Vertices of each ring."""
        return np.diff(self.start)

    def where(self, keep: Bools) -> Rings:
        """The rings without the vertices that are not in `keep`."""
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])
        return Rings(self.x[keep], self.y[keep], kept[self.start])

    def take(self, index: Ints) -> Rings:
        """The rings at `index`, in that order."""
        begin, count = self.start[:-1][index], self.count[index]
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
        vertex = np.arange(start[-1]) + np.repeat(begin - start[:-1], count)
        return Rings(self.x[vertex], self.y[vertex], start)

    def replaced(self, index: Ints, by: Rings) -> Rings:
        """The rings with those at `index` (rising) exchanged for the rings of `by`."""
        count = self.count
        old = np.zeros(len(self), np.bool_)
        old[index] = True
        stays = ~np.repeat(old, count)
        count[index] = by.count
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
        new = np.repeat(old, count)
        x, y = np.empty(start[-1]), np.empty(start[-1])
        x[new], x[~new] = by.x, self.x[stays]
        y[new], y[~new] = by.y, self.y[stays]
        return Rings(x, y, start)


def bounds_um(rings: Rings) -> tuple[Floats, Floats, Floats, Floats]:
    """``xmin, ymin, xmax, ymax`` of each ring in µm."""
    if not len(rings):
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0)
    begin = rings.start[:-1]
    return (
        np.minimum.reduceat(rings.x, begin) * GRID_UM,
        np.minimum.reduceat(rings.y, begin) * GRID_UM,
        np.maximum.reduceat(rings.x, begin) * GRID_UM,
        np.maximum.reduceat(rings.y, begin) * GRID_UM,
    )


def wkb_polygons(rings: Rings) -> pa.BinaryArray:
    """The rings in µm as little-endian WKB polygons without holes, closed."""
    head, n = _HEADING.itemsize, len(rings)
    points = closed(rings)
    count = rings.count + 1
    end = np.cumsum(count)
    offset = np.zeros(n + 1, np.int64)
    offset[1:] = head * np.arange(1, n + 1) + 16 * end
    if offset[-1] >= 2**31:
        raise ValueError("too many vertices for one array; give fewer nuclei at once")
    data = np.empty(offset[-1], np.uint8)
    heading = np.zeros(n, _HEADING)
    heading["order"], heading["kind"], heading["rings"], heading["n"] = 1, 3, 1, count
    is_head = np.zeros(len(data), np.bool_)
    is_head[(offset[:-1, None] + np.arange(head)).ravel()] = True
    data[is_head] = heading.view(np.uint8)
    data[~is_head] = (points * GRID_UM).astype("<f8", copy=False).view(np.uint8).ravel()
    return _binary(offset, data)


def rings_of_wkb(wkb: pa.BinaryArray) -> Rings | None:
    """The rings of polygons that `wkb_polygons` wrote: its inverse, some ten times as fast as
    making polygons of them.

    None where a row is anything else: of another byte order, with holes, no polygon.
    """
    n = len(wkb)
    if not n:
        return Rings(np.empty(0), np.empty(0), np.zeros(1, np.int64))
    _, offsets, values = wkb.buffers()
    bound = np.frombuffer(offsets, np.int32)[wkb.offset : wkb.offset + n + 1].astype(np.int64)
    data = np.frombuffer(values, np.uint8)[bound[0] : bound[-1]]
    begin, size = bound[:-1] - bound[0], np.diff(bound)
    if size.min() < _HEADING.itemsize:
        return None
    at_head = (begin[:, None] + np.arange(_HEADING.itemsize)).ravel()
    heading = data[at_head].view(_HEADING)
    count = heading["n"].astype(np.int64)
    ours = (heading["order"] == 1) & (heading["kind"] == 3) & (heading["rings"] == 1)
    if not (ours & (size == _HEADING.itemsize + 16 * count) & (count > 1)).all():
        return None
    body = np.ones(len(data), np.bool_)
    body[at_head] = False
    points = data[body].view("<f8").reshape(-1, 2)
    open_ = np.ones(len(points), np.bool_)
    open_[np.cumsum(count) - 1] = False
    points = points[open_] / GRID_UM
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(count - 1)])
    return Rings(points[:, 0], points[:, 1], start)


def wkb_points(x: Floats, y: Floats) -> pa.BinaryArray:
    """Points as little-endian WKB."""
    points = np.zeros(
        len(x), np.dtype([("order", "u1"), ("kind", "<u4"), ("x", "<f8"), ("y", "<f8")])
    )
    points["order"], points["kind"], points["x"], points["y"] = 1, 1, x, y
    return _binary(21 * np.arange(len(x) + 1), points.view(np.uint8))


def _binary(offset: Ints, data: NDArray[np.uint8]) -> pa.BinaryArray:
    return pa.BinaryArray.from_buffers(
        pa.binary(),
        len(offset) - 1,
        [None, pa.py_buffer(offset.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))],
    )


def successor(values: Floats, start: Ints) -> Floats:
    """Each vertex' successor in its ring."""
    moved = np.empty_like(values)
    moved[:-1] = values[1:]
    some = start[1:] > start[:-1]
    moved[start[1:][some] - 1] = values[start[:-1][some]]
    return moved


def predecessor(values: Floats, start: Ints) -> Floats:
    """Each vertex' predecessor in its ring."""
    moved = np.empty_like(values)
    moved[1:] = values[:-1]
    some = start[1:] > start[:-1]
    moved[start[:-1][some]] = values[start[1:][some] - 1]
    return moved


def closed(rings: Rings) -> Floats:
    """``[v + n, 2]`` the vertices, every ring's first one repeated at its end."""
    n, count = len(rings), rings.count
    inside = np.ones(len(rings.x) + n, np.bool_)
    last = np.cumsum(count + 1) - 1
    inside[last] = False
    points = np.empty((len(inside), 2))
    points[inside, 0], points[inside, 1] = rings.x, rings.y
    first = rings.start[:-1]
    points[last, 0], points[last, 1] = rings.x[first], rings.y[first]
    return points


def to_shapely(rings: Rings) -> NDArray[np.object_]:
    """The rings as shapely polygons, in grid steps."""
    if not len(rings):
        return np.empty(0, np.object_)
    ring_at = np.concatenate([np.zeros(1, np.int64), np.cumsum(rings.count + 1)])
    polygons: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, closed(rings), (ring_at, np.arange(len(rings) + 1))
    )
    return polygons

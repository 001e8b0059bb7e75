"""Many polygons laid on pixels at once: a pixel is inside if its centre is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Pixels side by side in one row of one polygon; half-open, ``[n]`` int64 each.

    Parameters
    ----------
    polygon
        Which polygon.
    row, begin, end
        The row, its first column, and the one after its last.
    """

    polygon: Ints
    row: Ints
    begin: Ints
    end: Ints


def runs_of(xy: Floats, start: Ints) -> Runs:
    """The pixels of polygons without holes, as runs; by even and odd crossings (scan lines).

    Parameters
    ----------
    xy
        ``[v, 2]`` vertices in px, pixel (0, 0) covering [0, 1) x [0, 1); each ring closed.
    start
        ``[n + 1]`` where each ring begins.

    Returns
    -------
    Ordered by polygon, then by row, then by column.
    """
    ring = np.repeat(np.arange(len(start) - 1), np.diff(start))
    side = ring[1:] == ring[:-1]
    (x0, y0), (x1, y1) = xy[:-1][side].T, xy[1:][side].T
    # A side crosses the centres of these rows; the one that it ends on belongs to the next side.
    first = np.ceil(np.minimum(y0, y1) - 0.5).astype(np.int64)
    count = np.ceil(np.maximum(y0, y1) - 0.5).astype(np.int64) - first
    of = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count) + first[of]
    polygon = ring[:-1][side][of]
    slope = (x1 - x0)[of] / (y1 - y0)[of]
    x = x0[of] + (row + 0.5 - y0[of]) * slope
    order = np.lexsort((x, row, polygon))
    enters, leaves = order[::2], order[1::2]
    begin = np.ceil(x[enters] - 0.5).astype(np.int64)
    end = np.ceil(x[leaves] - 0.5).astype(np.int64)
    some = end > begin
    return Runs(polygon[enters][some], row[enters][some], begin[some], end[some])


def paint(runs: Runs, values: NDArray[Any], into: NDArray[Any], corner: tuple[int, int]) -> None:
    """Write each polygon's value on its pixels; where two overlap the later one is on top.

    Parameters
    ----------
    values
        ``[n]`` of the polygons.
    into
        ``[h, w]``; what lies outside of it is left out.
    corner
        (x, y) of its first pixel.
    """
    height, width = into.shape
    row = runs.row - corner[1]
    begin = np.clip(runs.begin - corner[0], 0, width)
    end = np.clip(runs.end - corner[0], 0, width)
    some = (row >= 0) & (row < height) & (end > begin)
    count = (end - begin)[some]
    at = row[some] * width + begin[some]
    pixel = np.repeat(at - (np.cumsum(count) - count), count) + np.arange(count.sum())
    into.reshape(-1)[pixel] = np.repeat(values[runs.polygon[some]], count)

"""Inner loops that find the markers of nuclei in maps of distances to the centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel


@kernel
def calm(
    hv: NDArray[np.float32],
    run: NDArray[np.int32],
    bell: NDArray[np.float32],
    fall: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How little of a border each pixel of the foreground is, ``[h, w]``; 0 elsewhere.

    1 less the steeper fall of the two: of ``hv[0]`` along x and of ``hv[1]`` along y.

    Parameters
    ----------
    hv
        ``[2, h, w]``; past its edges there is nothing.
    run
        Foreground.
    bell, fall
        Filters of the same odd length: `fall` along the direction of the map, `bell` across.
    """
    _, height, width = hv.shape
    reach = len(bell) // 2
    out = np.zeros((height, width), np.float32)
    sheet = np.zeros(width + 2 * reach, np.float32)
    fallen = np.zeros(width, np.float32)
    r = 0
    while r < len(run):
        y, x0, x1 = run[r]
        r += 1
        # Runs so close together that their filters overlap are done at once.
        while r < len(run) and run[r, 0] == y and run[r, 1] - x1 <= 2 * reach:
            x1 = run[r, 2]
            r += 1
        low, high = max(x0 - reach, 0), min(x1 + reach, width)
        shift = reach - x0
        for x in range(x0, x1):
            fallen[x] = 0.0
        for axis in range(2):
            down, along = (bell, fall) if axis == 0 else (fall, bell)
            for x in range(x1 - x0 + 2 * reach):
                sheet[x] = 0.0
            for k in range(2 * reach + 1):
                j = y + k - reach
                if 0 <= j < height:
                    for x in range(low, high):
                        sheet[x + shift] += down[k] * hv[axis, j, x]
            if axis == 0:
                for k in range(2 * reach + 1):
                    for x in range(x0, x1):
                        fallen[x] += along[k] * sheet[x + k - x0]
            else:
                for x in range(x0, x1):
                    out[y, x] = 0.0
                for k in range(2 * reach + 1):
                    for x in range(x0, x1):
                        out[y, x] += along[k] * sheet[x + k - x0]
        for x in range(x0, x1):
            out[y, x] = np.float32(1.0) - max(out[y, x], fallen[x])
    # What lies between two runs of one group was written over too.
    before = 0
    row = -1
    for r in range(len(run)):
        y, x0, x1 = run[r]
        if y != row:
            row, before = y, x0
        for x in range(before, x0):
            out[y, x] = 0.0
        before = x1
    return out


@kernel
def deeper(run: NDArray[np.int32], squared: NDArray[np.int32], least: float) -> NDArray[np.int32]:
    """Runs of the pixels of `run` whose squared thickness, given with a border, exceeds `least`."""
    found = np.empty((len(run) + 64, 3), np.int32)
    n = 0
    for r in range(len(run)):
        y, x0, x1 = run[r]
        inside = False
        for x in range(x0, x1):
            if squared[y + 1, x + 1] > least:
                if not inside:
                    if n == len(found):
                        longer = np.empty((2 * n, 3), np.int32)
                        longer[:n] = found[:n]
                        found = longer
                    found[n, 0] = y
                    found[n, 1] = x
                    n += 1
                    inside = True
                found[n - 1, 2] = x + 1
            else:
                inside = False
    return found[:n]


@kernel
def middles(
    run: NDArray[np.int32], part: NDArray[np.int32], n: int, widest: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Of each of `n` parts the pixel (y, x) nearest the middle of its bounding box, ``[n, 2]``;
    and whether that box is no wider and no higher than `widest`.

    Of several as near the first in raster order counts.
    """
    edge = np.empty((n, 4), np.int64)  # top, bottom, left, right
    edge[:, 0] = edge[:, 2] = 1 << 40
    edge[:, 1] = edge[:, 3] = -1
    for r in range(len(run)):
        y, x0, x1 = run[r]
        p = part[r]
        edge[p, 0] = min(edge[p, 0], y)
        edge[p, 1] = max(edge[p, 1], y)
        edge[p, 2] = min(edge[p, 2], x0)
        edge[p, 3] = max(edge[p, 3], x1 - 1)
    found = np.zeros((n, 2), np.int64)
    nearest = np.full(n, 1 << 60, np.int64)
    for r in range(len(run)):
        y, x0, x1 = run[r]
        p = part[r]
        dy = 2 * y - edge[p, 0] - edge[p, 1]
        across = edge[p, 2] + edge[p, 3]
        x = min(max(across // 2, x0), x1 - 1)
        dx = 2 * x - across
        if dy * dy + dx * dx < nearest[p]:
            nearest[p] = dy * dy + dx * dx
            found[p, 0] = y
            found[p, 1] = x
    small = (edge[:, 1] - edge[:, 0] < widest) & (edge[:, 3] - edge[:, 2] < widest)
    return found, small

"""Inner loops that walk around nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel


@kernel
def _walk(sheet: NDArray[np.uint8], width: int, y: int, x: int, vertex: NDArray[np.int32]) -> int:
    """Walk along the outer sides of the 1s, keeping them to the right; returns how many vertices.

    Starts eastwards on the top side of (y, x), the first pixel in raster order.  At a corner where
    two pixels touch only by the corner it turns to stay with its own.  A vertex (x, y), in half
    pixels, is put at the middle of a side wherever the way from middle to middle bends.
    """
    ahead = (1, width, -1, -width)  # east, south, west, north
    ahead_y, ahead_x = (0, 1, 0, -1), (1, 0, -1, 0)
    middle_y, middle_x = (0, 1, 2, 1), (1, 2, 1, 0)
    p = start = y * width + x
    d = n = 0
    before = -1
    while True:
        to_left = (d + 3) % 4
        right = p + ahead[d]
        if sheet[right] == 0:
            way = (2 * d + 1) % 8
        elif sheet[right + ahead[to_left]] == 0:
            way = 2 * d
        else:
            way = (2 * d + 7) % 8
        if way != before:
            vertex[n, 0] = 2 * x + middle_x[d]
            vertex[n, 1] = 2 * y + middle_y[d]
            n += 1
            before = way
        if way == (2 * d + 1) % 8:
            d = (d + 1) % 4
        else:
            p = right
            y, x = y + ahead_y[d], x + ahead_x[d]
            if way != 2 * d:
                p += ahead[to_left]
                y, x = y + ahead_y[to_left], x + ahead_x[to_left]
                d = to_left
        if p == start and d == 0:
            return n


@kernel
def trace(
    run: NDArray[np.int32], start: NDArray[np.int64], x0: int, y0: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Outer rings of groups of runs, the runs of each in raster order.

    `x0`, `y0` are added to the vertices.

    Returns
    -------
    ring
        ``[v, 2]`` float64 (x, y).
    ring_start
        ``[n + 1]``; a group without runs has an empty ring.
    """
    n = len(start) - 1
    ring = np.empty((64 * n + 64, 2), np.float64)
    ring_start = np.zeros(n + 1, np.int64)
    sheet = np.zeros(1 << 12, np.uint8)
    vertex = np.empty((1 << 10, 2), np.int32)
    size = 0
    for g in range(n):
        ring_start[g + 1] = size
        if start[g] == start[g + 1]:
            continue
        own = run[start[g] : start[g + 1]]
        top, left, right = own[0, 0] - 1, own[0, 1], own[0, 2]
        for r in range(len(own)):
            left, right = min(left, own[r, 1]), max(right, own[r, 2])
        left -= 1
        width = right - left + 1
        room = width * (own[-1, 0] - top + 2)
        if room > len(sheet):
            sheet = np.zeros(2 * room, np.uint8)
        for r in range(len(own)):
            y, a, b = own[r]
            for p in range((y - top) * width + a - left, (y - top) * width + b - left):
                sheet[p] = 1
        # Each pixel side gives one vertex at most, and a ring passes between two rows of pixels
        # no more often than there are runs in them.
        most = 2 * room
        if most > len(vertex):
            vertex = np.empty((2 * most, 2), np.int32)
        count = _walk(sheet, width, 1, own[0, 1] - left, vertex)
        if size + count > len(ring):
            longer = np.empty((2 * len(ring) + count, 2), np.float64)
            longer[:size] = ring[:size]
            ring = longer
        for k in range(count):
            ring[size + k, 0] = x0 + left + vertex[k, 0] * 0.5
            ring[size + k, 1] = y0 + top + vertex[k, 1] * 0.5
        size += count
        ring_start[g + 1] = size
        for r in range(len(own)):
            y, a, b = own[r]
            for p in range((y - top) * width + a - left, (y - top) * width + b - left):
                sheet[p] = 0
    return ring[:size], ring_start

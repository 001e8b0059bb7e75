"""Inner loops that walk around nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel


@kernel
def starts(labels: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """``[n, 2]`` (y, x) of the first pixel of labels 1 to n in raster order; 0 where none."""
    first = np.zeros((n, 2), np.int64)
    for y in range(1, labels.shape[0] - 1):
        for x in range(1, labels.shape[1] - 1):
            v = labels[y, x]
            if v > 0 and first[v - 1, 0] == 0:
                first[v - 1, 0] = y
                first[v - 1, 1] = x
    return first


@kernel
def walk(
    labels: NDArray[np.int32], first: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Walk along the outer sides of the label at each first pixel, keeping it to the right.

    The walk starts eastwards on the top side of the pixel; at a corner where two pixels of the
    label touch only by the corner it turns to stay with its own pixel.  A vertex is put at the
    middle of a side wherever the way from middle to middle bends.

    Parameters
    ----------
    labels
        ``[h, w]``, with a border of 0.
    first
        ``[n, 2]`` (y, x), the first pixels of labels in raster order; y = 0 for none.

    Returns
    -------
    vertex
        ``[v, 2]`` int32 (x, y), twice the position in `labels`.
    start
        ``[n + 1]``, where each ring begins.
    sides
        ``[n]``, the number of sides walked.
    """
    vertex = np.empty((1024, 2), np.int32)
    start = np.zeros(len(first) + 1, np.int64)
    sides = np.zeros(len(first), np.int64)
    ahead_y, ahead_x = (0, 1, 0, -1), (1, 0, -1, 0)  # east, south, west, north
    middle_y, middle_x = (0, 1, 2, 1), (1, 2, 1, 0)
    n = 0
    for r in range(len(first)):
        y, x, d = first[r, 0], first[r, 1], 0
        if y > 0:
            v = labels[y, x]
            before = -1
            while True:
                right_y, right_x = y + ahead_y[d], x + ahead_x[d]
                left_y, left_x = right_y - ahead_x[d], right_x + ahead_y[d]
                if labels[right_y, right_x] != v:
                    way = 2 * d + 1
                    next_y, next_x, next_d = y, x, (d + 1) % 4
                elif labels[left_y, left_x] != v:
                    way = 2 * d
                    next_y, next_x, next_d = right_y, right_x, d
                else:
                    way = 2 * d + 7
                    next_y, next_x, next_d = left_y, left_x, (d + 3) % 4
                if way % 8 != before:
                    if n == len(vertex):
                        grown = np.empty((2 * n, 2), np.int32)
                        grown[:n] = vertex
                        vertex = grown
                    vertex[n, 0] = 2 * x + middle_x[d]
                    vertex[n, 1] = 2 * y + middle_y[d]
                    n += 1
                before = way % 8
                sides[r] += 1
                y, x, d = next_y, next_x, next_d
                if y == first[r, 0] and x == first[r, 1] and d == 0:
                    break
        start[r + 1] = n
    return vertex[:n], start, sides

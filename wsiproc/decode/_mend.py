"""Inner loops that make each nucleus one piece without holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel


@kernel
def _joined(run: NDArray[np.int32]) -> tuple[NDArray[np.int32], bool]:
    """The pieces that runs of one nucleus form by pixel sides (``[r]``, numbered by one of their
    runs), and whether any has a hole.

    Runs are the nodes of a graph whose edges join runs that share sides.  A hole is a cycle of it:
    an edge between runs that were joined before.
    """
    root = np.arange(len(run)).astype(np.int32)
    hole = False
    above = 0
    for r in range(len(run)):
        y, x0, x1 = run[r]
        while run[above, 0] < y - 1 or (run[above, 0] == y - 1 and run[above, 2] <= x0):
            above += 1
        other = above
        while run[other, 0] == y - 1 and run[other, 1] < x1:
            a, b = root[other], root[r]
            while root[a] != a:
                a = root[a]
            while root[b] != b:
                b = root[b]
            if a == b:
                hole = True
            root[max(a, b)] = min(a, b)
            other += 1
    for r in range(len(run)):
        root[r] = root[root[r]]
    return root, hole


@kernel
def _outside(run: NDArray[np.int32]) -> tuple[NDArray[np.bool_], int, int]:
    """What the runs of one nucleus do not enclose, over their box with one pixel more on every
    side; and the box's top and left.  Outside hangs together by corners too."""
    top, left = run[0, 0] - 1, run[:, 1].min() - 1
    rows, columns = run[-1, 0] + 2 - top, run[:, 2].max() + 1 - left
    inside = np.zeros((rows, columns), np.bool_)
    for y, x0, x1 in run:
        inside[y - top, x0 - left : x1 - left] = True
    outside = np.zeros((rows, columns), np.bool_)
    stack = np.empty((rows * columns, 2), np.int32)
    stack[0] = 0
    size = 1
    outside[0, 0] = True
    while size:
        size -= 1
        b, a = stack[size]
        for j in range(max(0, b - 1), min(rows, b + 2)):
            for i in range(max(0, a - 1), min(columns, a + 2)):
                if not outside[j, i] and not inside[j, i]:
                    outside[j, i] = True
                    stack[size, 0] = j
                    stack[size, 1] = i
                    size += 1
    return outside, top, left


@kernel
def mend(
    run: NDArray[np.int32], start: NDArray[np.int64], seed: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Leave each nucleus the piece with its seed, and give it all that it encloses.

    Parameters
    ----------
    run, start
        Runs of nuclei, grouped by nucleus.
    seed
        ``[n, 2]`` (y, x), in raster order.

    Returns
    -------
    run, start
        Likewise.  Nuclei that lay inside another are part of it, and have no runs.
    """
    n = len(start) - 1
    whole = np.empty((len(run) + 64, 3), np.int32)
    whole_start = np.zeros(n + 1, np.int64)
    swallowed = np.zeros(n, np.bool_)
    size = 0
    for g in range(n):
        own = run[start[g] : start[g + 1]]
        if size + len(own) > len(whole):
            longer = np.empty((2 * len(whole) + len(own), 3), np.int32)
            longer[:size] = whole[:size]
            whole = longer
        root, hole = _joined(own)
        y, x = seed[g]
        at = 0
        for r in range(len(own)):
            if own[r, 0] == y and own[r, 1] <= x < own[r, 2]:
                at = root[r]
        first = size
        for r in range(len(own)):
            if root[r] == at:
                whole[size] = own[r]
                size += 1
        if hole:
            outside, top, left = _outside(whole[first:size])
            size = first  # filling holes leaves no more runs than there were
            for j in range(1, len(outside) - 1):
                open_ = False
                for i in range(1, outside.shape[1]):
                    if outside[j, i] == open_:
                        if open_:
                            whole[size, 2] = left + i
                            size += 1
                        else:
                            whole[size, 0] = top + j
                            whole[size, 1] = left + i
                        open_ = not open_
            low = np.searchsorted(seed[:, 0], top)
            high = np.searchsorted(seed[:, 0], top + len(outside))
            for other in range(low, high):
                b, a = seed[other, 0] - top, seed[other, 1] - left
                if other != g and 0 <= a < outside.shape[1]:
                    swallowed[other] |= not outside[b, a]
        whole_start[g + 1] = size
    kept = 0
    kept_start = np.zeros(n + 1, np.int64)
    for g in range(n):
        if not swallowed[g]:
            for r in range(whole_start[g], whole_start[g + 1]):
                whole[kept] = whole[r]
                kept += 1
        kept_start[g + 1] = kept
    return whole[:kept], kept_start


@kernel
def largest_pieces(run: NDArray[np.int32], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first pixel (y, x) of the largest piece, by pixel sides, of each nucleus, ``[n, 2]``.

    Of equally large ones the first in raster order counts; no nucleus is without runs.
    """
    n = len(start) - 1
    seed = np.empty((n, 2), np.int64)
    for g in range(n):
        own = run[start[g] : start[g + 1]]
        root, _ = _joined(own)
        area = np.zeros(len(own), np.int64)
        for r in range(len(own)):
            area[root[r]] += own[r, 2] - own[r, 1]
        best = 0
        for r in range(len(own)):
            if area[r] > area[best]:
                best = r
        seed[g, 0] = own[best, 0]
        seed[g, 1] = own[best, 1]
    return seed

"""Inner loops that find peaks and seeds.

Every answer at a pixel depends on pixels within a known distance, and ties are broken by position,
so that it is the same in whatever box the pixel is looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel

NECK = (9, 16)
"""Squared ratio, here (3/4)², under which a narrowing between two peaks of thickness is a neck."""
SEARCH = 3
"""How far a peak of thickness looks for a higher one without a neck between, in its own radii."""


@kernel
def disc_peaks(
    value: NDArray[np.float32],
    inside: NDArray[np.float32],
    area: tuple[int, int, int, int],
    threshold: float,
    floor: float,
    disc: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Pixels that are the largest of their disc, by (value, -y, -x).

    Parameters
    ----------
    value, inside
        ``[h, w]`` float32; only pixels where `inside` exceeds `floor` take part.
    area
        ``(x0, y0, x1, y1)``, the part of the arrays that lies on the slide; nothing else is read.
    threshold
        A peak's value exceeds this.
    disc
        ``[k, 2]`` offsets (dy, dx) of the disc without its centre, nearest first so that nearly
        every pixel is refused after a few looks.

    Returns
    -------
    ``[n, 2]`` int64 (y, x) in the arrays, in raster order.
    """
    x0, y0, x1, y1 = area
    found = np.empty((1024, 2), np.int64)
    n = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            v = value[y, x]
            if not (v > threshold and inside[y, x] > floor):
                continue
            largest = True
            for k in range(len(disc)):
                j, i = y + disc[k, 0], x + disc[k, 1]
                if j < y0 or j >= y1 or i < x0 or i >= x1:
                    continue
                u = value[j, i]
                if u < v or not inside[j, i] > floor:
                    continue
                if u > v or (u == v and (j < y or (j == y and i < x))):
                    largest = False
                    break
            if largest:
                if n == len(found):
                    grown = np.empty((2 * n, 2), np.int64)
                    grown[:n] = found
                    found = grown
                found[n, 0] = y
                found[n, 1] = x
                n += 1
    return found[:n]


@kernel
def highest_channel(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[C, h, w]`` to its maximum over C."""
    channels, height, width = maps.shape
    best: NDArray[np.float32] = maps[0].copy()
    for c in range(1, channels):
        for y in range(height):
            for x in range(width):
                if maps[c, y, x] > best[y, x]:
                    best[y, x] = maps[c, y, x]
    return best


@kernel
def thickness(labels: NDArray[np.int32], cap: int) -> NDArray[np.int32]:
    """Squared distance of each foreground pixel to the nearest pixel that is none, at most cap².

    `labels` is not 0 in the foreground and has a border of 0.  Two passes, along columns and then
    along rows (Felzenszwalb and Huttenlocher 2012 without the envelope, which the cap makes
    needless): exact, in integers, and looking no further than `cap`.
    """
    height, width = labels.shape
    column = np.zeros((height, width), np.int32)
    for y in range(1, height):
        for x in range(width):
            if labels[y, x] != 0:
                column[y, x] = min(column[y - 1, x] + 1, cap)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            column[y, x] = min(column[y, x], column[y + 1, x] + 1)
    squared = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if column[y, x] == 0:
                continue
            best = column[y, x] * column[y, x]
            dx = 1
            while dx * dx < best:
                g = min(column[y, x - dx], column[y, x + dx])
                best = min(best, dx * dx + g * g)
                dx += 1
            squared[y, x] = best
    return squared


@kernel
def thick_seeds(squared: NDArray[np.int32], near: float, far: int) -> NDArray[np.int64]:
    """Pixels ``[n, 2]`` (y, x), in raster order, that seed a nucleus by their thickness.

    A local maximum by (thickness, -y, -x) is a seed unless a higher one lies within `near`, or
    within three of its own radii (at most `far`) with no neck on the straight way there.  The
    second half keeps an elongated nucleus whole; it asks only which peak is higher, never which
    one became a seed, so it needs no order.
    """
    height, width = squared.shape
    peak = np.empty((1024, 2), np.int64)
    row = np.zeros(height + 1, np.int64)
    n = 0
    for y in range(1, height - 1):
        row[y] = n
        for x in range(1, width - 1):
            v = squared[y, x]
            if v == 0:
                continue
            if (
                squared[y - 1, x] >= v
                or squared[y, x - 1] >= v
                or squared[y - 1, x - 1] >= v
                or squared[y - 1, x + 1] >= v
                or squared[y, x + 1] > v
                or squared[y + 1, x] > v
                or squared[y + 1, x - 1] > v
                or squared[y + 1, x + 1] > v
            ):
                continue
            if n == len(peak):
                grown = np.empty((2 * n, 2), np.int64)
                grown[:n] = peak
                peak = grown
            peak[n, 0] = y
            peak[n, 1] = x
            n += 1
    row[height - 1 :] = n
    seed = np.empty((n, 2), np.int64)
    count = 0
    reach = max(int(near), far)
    for p in range(n):
        y, x = peak[p]
        v = squared[y, x]
        kept = True
        for q in range(row[max(0, y - reach)], row[min(height, y + reach + 1)]):
            j, i = peak[q]
            if abs(i - x) > reach:
                continue
            u = squared[j, i]
            if u < v or (u == v and q >= p):
                continue
            apart = (j - y) * (j - y) + (i - x) * (i - x)
            if apart <= near * near:
                kept = False
                break
            if apart > far * far or apart > SEARCH * SEARCH * v:
                continue
            steps = max(abs(j - y), abs(i - x))
            neck = False
            for k in range(1, steps):
                b = y + (2 * k * (j - y) + steps) // (2 * steps)
                a = x + (2 * k * (i - x) + steps) // (2 * steps)
                if NECK[1] * squared[b, a] < NECK[0] * v:
                    neck = True
                    break
            if not neck:
                kept = False
                break
        if kept:
            seed[count, 0] = y
            seed[count, 1] = x
            count += 1
    return seed[:count]

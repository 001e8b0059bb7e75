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
    run: NDArray[np.int32],
    inside: NDArray[np.float32],
    floor: float,
    threshold: float,
    disc: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Pixels of the foreground that are the largest of their disc, by (value, -y, -x).

    Parameters
    ----------
    value
        ``[h, w]`` float32.
    run, inside, floor
        Foreground is where `inside`, ``[h, w]``, exceeds `floor`; these are its runs.  Nothing else
        takes part.
    threshold
        A peak's value exceeds this.
    disc
        ``[k, 2]`` offsets (dy, dx) of the disc without its centre, nearest first so that nearly
        every pixel is refused after a few looks.

    Returns
    -------
    ``[n, 2]`` int64 (y, x), in raster order.
    """
    height, width = value.shape
    near = disc[:, 0].max()
    values, insides = value.reshape(-1), inside.reshape(-1)
    offset = disc[:, 0] * width + disc[:, 1]
    found = np.empty((1024, 2), np.int64)
    n = 0
    for y, x0, x1 in run:
        for x in range(x0, x1):
            p = y * width + x
            v = values[p]
            if not v > threshold:
                continue
            free = near <= y < height - near and near <= x < width - near
            largest = True
            for k in range(len(offset)):
                if not free and not (0 <= y + disc[k, 0] < height and 0 <= x + disc[k, 1] < width):
                    continue
                q = p + offset[k]
                u = values[q]
                # NaN is neither; of equal values the first in raster order is the larger.
                if (u > v or (u == v and q < p)) and insides[q] > floor:
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
def thickness(run: NDArray[np.int32], height: int, width: int, cap: int) -> NDArray[np.int32]:
    """Squared distance of each pixel of the foreground to the nearest pixel that is none, at most
    cap²; ``[h + 2, w + 2]``, with a border of 0.

    Two passes, along columns and then along rows (Felzenszwalb and Huttenlocher 2012 without the
    envelope, which the cap makes needless): exact, in integers, and looking no further than `cap`.
    """
    column = np.zeros((height + 2, width + 2), np.int32)
    for y, x0, x1 in run:
        for x in range(x0 + 1, x1 + 1):
            column[y + 1, x] = min(column[y, x] + 1, cap)
    for r in range(len(run) - 1, -1, -1):
        y, x0, x1 = run[r]
        for x in range(x0 + 1, x1 + 1):
            column[y + 1, x] = min(column[y + 1, x], column[y + 2, x] + 1)
    squared = np.zeros((height + 2, width + 2), np.int32)
    for y, x0, x1 in run:
        row = column[y + 1]
        for x in range(x0 + 1, x1 + 1):
            best = row[x] * row[x]
            dx = 1
            while dx * dx < best:
                g = min(row[x - dx], row[x + dx])
                best = min(best, dx * dx + g * g)
                dx += 1
            squared[y + 1, x] = best
    return squared


@kernel
def thick_seeds(
    run: NDArray[np.int32], squared: NDArray[np.int32], near: float, far: int
) -> NDArray[np.int64]:
    """Pixels ``[n, 2]`` (y, x), in raster order, that seed a nucleus by their thickness.

    A local maximum by (thickness, -y, -x) is a seed unless a higher one lies within `near`, or
    within three of its own radii (at most `far`) with no neck on the straight way there.  The
    second half keeps an elongated nucleus whole; it asks only which peak is higher, never which
    one became a seed, so it needs no order.

    `squared` is the thickness, with a border.
    """
    height = len(squared)
    peak = np.empty((1024, 2), np.int64)
    row = np.zeros(height + 1, np.int64)
    n = 0
    last = 0
    for r in range(len(run)):
        y, x0, x1 = run[r]
        y += 1
        if y != last:
            row[last + 1 : y + 1] = n
            last = y
        for x in range(x0 + 1, x1 + 1):
            v = squared[y, x]
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
    row[last + 1 :] = n
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
            seed[count, 0] = y - 1
            seed[count, 1] = x - 1
            count += 1
    return seed[:count]

"""Inner loops that lay small masks into their boxes, and settle who keeps which pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel


@kernel
def pasted(
    boxes: NDArray[np.float64],
    masks: NDArray[np.float32],
    corner: NDArray[np.int64],
    clip: NDArray[np.int64],
    threshold: float,
    disc: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Runs of the pixels at whose centres a mask exceeds the threshold, grouped by mask.

    Between the centres of its cells a mask is interpolated linearly, and it is 0 from half a cell
    outside of the box on, as in Mask R-CNN (He et al. 2017, sec. 3).

    Parameters
    ----------
    boxes
        ``[n, 4]`` (x0, y0, x1, y1), counted from `corner`.
    masks
        ``[n, s, s]``.
    corner
        ``[n, 2]`` (x, y).
    clip
        ``[n, 4]`` where pixels may lie, in the frame of `corner`.
    disc
        ``[k, 2]`` offsets (dy, dx) by which masks are made larger; empty leaves them as they are.

    Returns
    -------
    run, start
        In the frame of `corner`.
    """
    n, cells, _ = masks.shape
    far = 0
    for k in range(len(disc)):
        far = max(far, abs(disc[k, 0]))
    found = np.empty((32 * n + 256, 3), np.int32)
    start = np.zeros(n + 1, np.int64)
    size = 0
    for m in range(n):
        left, top = boxes[m, 0], boxes[m, 1]
        wide, high = boxes[m, 2] - left, boxes[m, 3] - top
        x0, x1 = int(np.ceil(left - 0.5)), int(np.ceil(boxes[m, 2] - 0.5))
        y0, y1 = int(np.ceil(top - 0.5)), int(np.ceil(boxes[m, 3] - 0.5))
        rows, columns = y1 - y0, x1 - x0
        sheet = np.zeros((rows + 2 * far, columns + 2 * far), np.uint8)
        for j in range(rows):
            v = (y0 + j + 0.5 - top) / high * cells - 0.5
            b = int(np.floor(v))
            v -= b
            for i in range(columns):
                u = (x0 + i + 0.5 - left) / wide * cells - 0.5
                a = int(np.floor(u))
                u -= a
                value = 0.0
                if b >= 0:
                    if a >= 0:
                        value += (1 - v) * (1 - u) * masks[m, b, a]
                    if a + 1 < cells:
                        value += (1 - v) * u * masks[m, b, a + 1]
                if b + 1 < cells:
                    if a >= 0:
                        value += v * (1 - u) * masks[m, b + 1, a]
                    if a + 1 < cells:
                        value += v * u * masks[m, b + 1, a + 1]
                if value > threshold:
                    sheet[far + j, far + i] = 1
                    for k in range(len(disc)):
                        sheet[far + j + disc[k, 0], far + i + disc[k, 1]] = 1
        dx, dy = corner[m, 0] + x0 - far, corner[m, 1] + y0 - far
        low, high_x = max(0, clip[m, 0] - dx), min(columns + 2 * far, clip[m, 2] - dx)
        for j in range(max(0, clip[m, 1] - dy), min(rows + 2 * far, clip[m, 3] - dy)):
            inside = False
            for i in range(low, high_x):
                if sheet[j, i]:
                    if not inside:
                        if size == len(found):
                            longer = np.empty((2 * size, 3), np.int32)
                            longer[:size] = found[:size]
                            found = longer
                        found[size, 0] = dy + j
                        found[size, 1] = dx + i
                        size += 1
                        inside = True
                    found[size - 1, 2] = dx + i + 1
                else:
                    inside = False
        start[m + 1] = size
    return found[:size], start


@kernel
def rivals(
    run: NDArray[np.int32],
    start: NDArray[np.int64],
    window: NDArray[np.int64],
    share: float,
) -> NDArray[np.int64]:
    """Pairs ``[p, 2]`` of masks from different windows, none of them empty, that share at least
    `share` of the smaller one's pixels."""
    n = len(start) - 1
    edge = np.empty((n, 4), np.int64)  # top, bottom, left, right
    area = np.zeros(n, np.int64)
    for g in range(n):
        edge[g, 0], edge[g, 1] = run[start[g], 0], run[start[g + 1] - 1, 0]
        edge[g, 2], edge[g, 3] = run[start[g], 1], run[start[g], 2]
        for r in range(start[g], start[g + 1]):
            edge[g, 2] = min(edge[g, 2], run[r, 1])
            edge[g, 3] = max(edge[g, 3], run[r, 2])
            area[g] += run[r, 2] - run[r, 1]
    order = np.argsort(edge[:, 0])
    found = np.empty((n + 64, 2), np.int64)
    size = 0
    for p in range(n):
        g = order[p]
        for q in range(p + 1, n):
            h = order[q]
            if edge[h, 0] > edge[g, 1]:
                break
            if window[g] == window[h] or edge[h, 2] >= edge[g, 3] or edge[g, 2] >= edge[h, 3]:
                continue
            common = 0
            r, s = start[g], start[h]
            while r < start[g + 1] and s < start[h + 1]:
                if run[r, 0] == run[s, 0]:
                    common += max(0, min(run[r, 2], run[s, 2]) - max(run[r, 1], run[s, 1]))
                if run[r, 0] < run[s, 0] or (run[r, 0] == run[s, 0] and run[r, 2] <= run[s, 2]):
                    r += 1
                else:
                    s += 1
            if common > 0 and common >= share * min(area[g], area[h]):
                if size == len(found):
                    longer = np.empty((2 * size, 2), np.int64)
                    longer[:size] = found[:size]
                    found = longer
                found[size, 0] = g
                found[size, 1] = h
                size += 1
    return found[:size]


@kernel
def best_at(
    run: NDArray[np.int32],
    start: NDArray[np.int64],
    rank: NDArray[np.int64],
    height: int,
    width: int,
) -> NDArray[np.int32]:
    """The smallest rank among the masks that have a pixel, ``[h, w]``; a large number elsewhere."""
    best = np.full((height, width), np.int32(2147483647), np.int32)
    for g in range(len(start) - 1):
        for r in range(start[g], start[g + 1]):
            y, x0, x1 = run[r]
            for x in range(x0, x1):
                if rank[g] < best[y, x]:
                    best[y, x] = rank[g]
    return best


@kernel
def left_of(
    run: NDArray[np.int32],
    start: NDArray[np.int64],
    rank: NDArray[np.int64],
    best: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Runs of the pixels of each mask at which none has a smaller rank, grouped by mask."""
    found = np.empty((len(run) + 64, 3), np.int32)
    left = np.zeros(len(start), np.int64)
    size = 0
    for g in range(len(start) - 1):
        for r in range(start[g], start[g + 1]):
            y, x0, x1 = run[r]
            inside = False
            for x in range(x0, x1):
                if best[y, x] >= rank[g]:
                    if not inside:
                        if size == len(found):
                            longer = np.empty((2 * size, 3), np.int32)
                            longer[:size] = found[:size]
                            found = longer
                        found[size, 0] = y
                        found[size, 1] = x
                        size += 1
                        inside = True
                    found[size - 1, 2] = x + 1
                else:
                    inside = False
        left[g + 1] = size
    return found[:size], left

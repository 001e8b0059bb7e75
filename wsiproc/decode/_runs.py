"""Inner loops over the foreground as runs.

Foreground is sparse, so it is kept as runs, ``[r, 3]`` int32 (y, x0, x1) in the maps, x1 excluded,
in raster order: all work after the first look at a map grows with the nuclei, not with the slide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel


@kernel
def foreground(prob: NDArray[np.float32], threshold: float) -> NDArray[np.int32]:
    """Runs of ``[h, w]`` where it exceeds the threshold."""
    height, width = prob.shape
    run = np.empty((4096, 3), np.int32)
    n = 0
    for y in range(height):
        if n + width // 2 + 1 > len(run):
            grown = np.empty((2 * len(run) + width, 3), np.int32)
            grown[:n] = run[:n]
            run = grown
        x = 0
        while x < width:
            if not prob[y, x] > threshold:
                x += 1
                continue
            run[n, 0] = y
            run[n, 1] = x
            while x < width and prob[y, x] > threshold:
                x += 1
            run[n, 2] = x
            n += 1
    return run[:n]


@kernel
def labelled(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Runs of equal positive labels in ``[h, w]``, and each run's label less 1."""
    height, width = labels.shape
    run = np.empty((4096, 3), np.int32)
    member = np.empty(4096, np.int32)
    n = 0
    for y in range(height):
        if n + width > len(run):
            grown = np.empty((2 * len(run) + width, 3), np.int32)
            grown[:n] = run[:n]
            run = grown
            more = np.empty(len(run), np.int32)
            more[:n] = member[:n]
            member = more
        x = 0
        while x < width:
            v = labels[y, x]
            if v <= 0:
                x += 1
                continue
            run[n, 0] = y
            run[n, 1] = x
            while x < width and labels[y, x] == v:
                x += 1
            run[n, 2] = x
            member[n] = v - 1
            n += 1
    return run[:n], member[:n]


@kernel
def parts(run: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """Number the pieces of foreground, pixels joined by sides or corners: ``[r]`` and how many.

    No nucleus grows from one piece into another, so each can be dealt with while it is in the
    processor's cache.
    """
    parent = np.arange(len(run)).astype(np.int32)
    above = 0
    for r in range(len(run)):
        while run[above, 0] < run[r, 0] - 1 or (
            run[above, 0] == run[r, 0] - 1 and run[above, 2] < run[r, 1]
        ):
            above += 1
        other = above
        while run[other, 0] == run[r, 0] - 1 and run[other, 1] <= run[r, 2]:
            a, b = other, r
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a < b:
                parent[b] = a
            elif b < a:
                parent[a] = b
            other += 1
    part = np.empty(len(run), np.int32)
    n = 0
    for r in range(len(run)):
        if parent[r] == r:
            part[r] = n
            n += 1
        else:
            part[r] = part[parent[r]]
    return part, n


@kernel
def home(
    run: NDArray[np.int32], part: NDArray[np.int32], seed: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The part that each seed ``[n, 2]`` (y, x; raster order) lies in."""
    found = np.empty(len(seed), np.int32)
    r = 0
    for s in range(len(seed)):
        while run[r, 0] < seed[s, 0] or run[r, 2] <= seed[s, 1]:
            r += 1
        found[s] = part[r]
    return found


@kernel
def grouped(group: NDArray[np.int32], n: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Indices by group 0 to n - 1, each in their order, and where each group begins ``[n + 1]``."""
    start = np.zeros(n + 1, np.int64)
    for g in group:
        start[g + 1] += 1
    start = np.cumsum(start)
    fill = start[:-1].copy()
    member = np.empty(len(group), np.int32)
    for i in range(len(group)):
        member[fill[group[i]]] = i
        fill[group[i]] += 1
    return member, start


@kernel
def sums(run: NDArray[np.int32], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of pixels, sums of y and of x of each group of runs: ``[n, 3]``."""
    n = len(start) - 1
    whole = np.zeros((n, 3), np.int64)
    for g in range(n):
        for r in range(start[g], start[g + 1]):
            y, x0, x1 = run[r]
            pixels = np.int64(x1 - x0)
            whole[g, 0] += pixels
            whole[g, 1] += y * pixels
            whole[g, 2] += (x0 + x1 - 1) * pixels // 2
    return whole


@kernel
def measure(
    run: NDArray[np.int32],
    start: NDArray[np.int64],
    prob: NDArray[np.float32],
    classes: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of `prob` ``[n]`` and of each map of `classes` ``[n, C]``, float64, over each group of
    runs: pixel by pixel in raster order."""
    n = len(start) - 1
    prob_sum = np.zeros(n, np.float64)
    class_sum = np.zeros((n, len(classes)), np.float64)
    for g in range(n):
        total = 0.0
        for r in range(start[g], start[g + 1]):
            y, x0, x1 = run[r]
            for x in range(x0, x1):
                total += prob[y, x]
            for c in range(len(classes)):
                for x in range(x0, x1):
                    class_sum[g, c] += classes[c, y, x]
        prob_sum[g] = total
    return prob_sum, class_sum

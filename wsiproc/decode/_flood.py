"""Inner loops that grow nuclei from their seeds.

One array carries the state, with a border of one pixel around it:

======  =====================================================================
0       never part of a nucleus
-k      foreground that may be taken from stage k on (1, 2, ...)
n > 0   belongs to nucleus n; nuclei are numbered in the raster order of seeds
======  =====================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel

ODD, EVEN = 1 << 29, 1 << 30
"""Set on the pixels taken in the current step, by the clock's parity."""


@kernel
def foreground(
    prob: NDArray[np.float32],
    centre: NDArray[np.float32],
    area: tuple[int, int, int, int],
    threshold: float,
    levels: NDArray[np.float64],
) -> NDArray[np.int32]:
    """The state before any seed: stage of each foreground pixel inside `area`, bordered."""
    x0, y0, x1, y1 = area
    state = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.int32)
    for y in range(y0, y1):
        for x in range(x0, x1):
            if prob[y, x] > threshold:
                stage = 1
                for level in levels:
                    if centre[y, x] > level:
                        break
                    stage += 1
                state[y - y0 + 1, x - x0 + 1] = -stage
    return state


@kernel
def plant(state: NDArray[np.int32], seed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each seed its pixel; returns the flat indices of the pixels taken."""
    taken = np.empty(len(seed), np.int64)
    for n in range(len(seed)):
        state[seed[n, 0], seed[n, 1]] = n + 1
        taken[n] = seed[n, 0] * state.shape[1] + seed[n, 1]
    return taken


@kernel
def plant_discs(
    state: NDArray[np.int32], seed: NDArray[np.int64], squared: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Give each seed the largest disc of foreground around it; returns the pixels taken.

    Where discs overlap, a pixel goes to the smaller power, distance² - radius²: the border is the
    chord through the points where the two circles cross, which is the neck between two nuclei.
    """
    width = state.shape[1]
    total = 0
    for n in range(len(seed)):
        total += 4 * squared[seed[n, 0], seed[n, 1]] + 4
    taken = np.empty(total, np.int64)
    size = 0
    for n in range(len(seed)):
        y, x = seed[n]
        radius2 = squared[y, x]
        radius = int(np.sqrt(radius2))
        for j in range(y - radius, y + radius + 1):
            for i in range(x - radius, x + radius + 1):
                power = (j - y) * (j - y) + (i - x) * (i - x) - radius2
                if power >= 0:
                    continue
                other = state[j, i]
                if other < 0:
                    taken[size] = j * width + i
                    size += 1
                else:
                    b, a = seed[other - 1]
                    if (j - b) * (j - b) + (i - a) * (i - a) - squared[b, a] <= power:
                        continue
                state[j, i] = n + 1
    for n in range(len(seed)):  # a seed always keeps its own pixel
        state[seed[n, 0], seed[n, 1]] = n + 1
    return taken[:size]


@kernel
def flood(
    state: NDArray[np.int32],
    seed: NDArray[np.int64],
    taken: NDArray[np.int64],
    steps: NDArray[np.int64],
    radius: int,
) -> None:
    """Grow all nuclei at once, ``steps[k - 1]`` steps in stage k, in place.

    Steps go to 4 and to 8 neighbours in turn, so that a free front is an octagon; a pixel wanted
    by several nuclei in one step goes to the one whose seed comes first; none is taken further
    than `radius` from its seed.  Where the state at a pixel after t steps can have come from lies
    within t pixels of it, along each axis: this is what makes decoding local.
    """
    flat = state.reshape(-1)
    width = state.shape[1]
    offset = np.array([-width, -1, 1, width, -width - 1, -width + 1, width - 1, width + 1])
    room = len(taken)
    for p in range(len(flat)):
        if flat[p] < 0:
            room += 1
    queue = np.empty(room, np.int32)
    waiting = np.empty(room, np.int32)
    later = np.empty(room, np.int32)
    n_waiting = len(taken)
    waiting[:n_waiting] = taken
    tail = 0
    clock = 0
    for stage in range(1, len(steps) + 1):
        n_later = 0
        begin = tail
        finish = clock + steps[stage - 1]
        front, low, high = waiting, 0, n_waiting
        while clock < finish and high > low:
            clock += 1
            tag = ODD if clock % 2 else EVEN
            far = 3 * clock > 2 * radius or len(taken) != len(seed)
            end = tail
            for index in range(low, high):
                p = front[index]
                label = flat[p] & (ODD - 1)
                flat[p] = label
                blocked = False
                for k in range(4 if clock % 2 else 8):
                    q = p + offset[k]
                    v = flat[q]
                    if v < 0:
                        if v < -stage:
                            blocked = True
                            continue
                    elif not (v & tag and label < v & (ODD - 1)):
                        continue
                    if far:
                        dy = q // width - seed[label - 1, 0]
                        dx = q % width - seed[label - 1, 1]
                        if dy * dy + dx * dx > radius * radius:
                            continue
                    flat[q] = label | tag
                    if v < 0:
                        queue[tail] = q
                        tail += 1
                if blocked:
                    later[n_later] = p
                    n_later += 1
            begin = end
            front, low, high = queue, end, tail
        clock = finish
        for index in range(begin, tail):  # the front that the stage's last step left
            p = queue[index]
            flat[p] &= ODD - 1
            later[n_later] = p
            n_later += 1
        waiting, later = later, waiting
        n_waiting = n_later


@kernel
def first_and_sides(
    state: NDArray[np.int32], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each nucleus, the first pixel in raster order (flat, -1 for none) and the number of
    pixel sides between it and anything else."""
    height, width = state.shape
    first = np.full(n, -1, np.int64)
    sides = np.zeros(n, np.int64)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            v = state[y, x]
            if v <= 0:
                continue
            if first[v - 1] < 0:
                first[v - 1] = y * width + x
            sides[v - 1] += (
                (state[y - 1, x] != v)
                + (state[y + 1, x] != v)
                + (state[y, x - 1] != v)
                + (state[y, x + 1] != v)
            )
    return first, sides


@kernel
def cut_loose(state: NDArray[np.int32], seed: NDArray[np.int64], label: int, radius: int) -> None:
    """Leave nucleus `label` only what hangs together with its seed by pixel sides."""
    height, width = state.shape
    flat = state.reshape(-1)
    y, x = seed[label - 1]
    y0, y1 = max(1, y - radius), min(height - 1, y + radius + 1)
    x0, x1 = max(1, x - radius), min(width - 1, x + radius + 1)
    stack = np.empty((y1 - y0) * (x1 - x0), np.int64)
    stack[0] = y * width + x
    size = 1
    flat[stack[0]] = label | ODD
    while size:
        size -= 1
        p = stack[size]
        for q in (p - width, p - 1, p + 1, p + width):
            if flat[q] == label:
                flat[q] = label | ODD
                stack[size] = q
                size += 1
    for j in range(y0, y1):
        for i in range(x0, x1):
            if state[j, i] == label:
                state[j, i] = 0
            elif state[j, i] == label | ODD:
                state[j, i] = label


@kernel
def fill_holes(state: NDArray[np.int32], seed: NDArray[np.int64], label: int, radius: int) -> None:
    """Give nucleus `label` all that it encloses, other nuclei too."""
    height, width = state.shape
    y, x = seed[label - 1]
    y0, y1 = max(1, y - radius), min(height - 1, y + radius + 1)
    x0, x1 = max(1, x - radius), min(width - 1, x + radius + 1)
    rows, columns = y1 - y0 + 2, x1 - x0 + 2
    outside = np.zeros((rows, columns), np.bool_)
    stack = np.empty((rows * columns, 2), np.int64)
    stack[0] = 0
    size = 1
    outside[0, 0] = True
    while size:
        size -= 1
        b, a = stack[size]
        for j in range(max(0, b - 1), min(rows, b + 2)):
            for i in range(max(0, a - 1), min(columns, a + 2)):
                framed = j == 0 or i == 0 or j == rows - 1 or i == columns - 1
                if not outside[j, i] and (framed or state[y0 + j - 1, x0 + i - 1] != label):
                    outside[j, i] = True
                    stack[size, 0] = j
                    stack[size, 1] = i
                    size += 1
    for j in range(1, rows - 1):
        for i in range(1, columns - 1):
            if not outside[j, i]:
                state[y0 + j - 1, x0 + i - 1] = label


@kernel
def measure(
    state: NDArray[np.int32],
    n: int,
    prob: NDArray[np.float32],
    classes: NDArray[np.float32],
    x0: int,
    y0: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Sums over each nucleus' pixels, in raster order.

    `x0`, `y0` say where in the maps the state's pixel (1, 1) lies.

    Returns
    -------
    label
        ``[m]``, the nuclei that have pixels, in the order of their first ones.
    whole
        ``[m, 5]`` int64: y and x of the first pixel, number of pixels, sums of y and x; all of
        the state's array.
    prob_sum
        ``[m]`` float64.
    class_sum
        ``[m, C]`` float64.
    """
    height, width = state.shape
    row = np.full(n + 1, -1, np.int64)
    label = np.empty(n, np.int64)
    whole = np.zeros((n, 5), np.int64)
    prob_sum = np.zeros(n, np.float64)
    class_sum = np.zeros((n, len(classes)), np.float64)
    m = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            v = state[y, x]
            if v <= 0:
                continue
            r = row[v]
            if r < 0:
                r = m
                row[v] = m
                label[m] = v
                whole[m, 0] = y
                whole[m, 1] = x
                m += 1
            whole[r, 2] += 1
            whole[r, 3] += y
            whole[r, 4] += x
            prob_sum[r] += prob[y0 + y - 1, x0 + x - 1]
            for c in range(len(classes)):
                class_sum[r, c] += classes[c, y0 + y - 1, x0 + x - 1]
    return label[:m], whole[:m], prob_sum[:m], class_sum[:m]

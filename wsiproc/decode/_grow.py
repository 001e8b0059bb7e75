"""Inner loops that grow nuclei from their seeds, one part of the foreground after the other.

The state of a part is an array with a border of one pixel around it:

======  =====================================================================
0       not of this part
-k      foreground that may be taken from stage k on (1, 2, ...)
n > 0   belongs to the part's nucleus n, numbered in the raster order of seeds
======  =====================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._compile import kernel

ODD, EVEN = 1 << 29, 1 << 30
"""Set on the pixels taken in the current step, by the clock's parity.  Both are set in every small
negative number, so one test tells what a front may want."""
NO_MARKERS = (np.empty((0, 3), np.int32), np.zeros(1, np.int64))
"""Where seeds start with a disc or with their own pixel."""


@kernel
def _simple(
    run: NDArray[np.int32], member: NDArray[np.int32], seed: NDArray[np.int64], radius: int
) -> int:
    """How many of a part's runs its only seed is sure to get, these first in `member`; 0 if unsure.

    Growth gets all that hangs together with the seed by sides if no pixel is more than `radius`
    steps away.  The steps are bounded from above, run by run: those to the far end of the run, one
    more to the next row, and what that row sticks out.
    """
    n = len(member)
    if n > 2 * radius + 1:
        return 0
    steps = np.full(n, -1, np.int32)
    queue = np.empty(n, np.int32)
    size = 0
    for m in range(n):
        y, x0, x1 = run[member[m]]
        if y == seed[0] and x0 <= seed[1] < x1:
            queue[0] = m
            size = 1
            steps[m] = max(seed[1] - x0, x1 - 1 - seed[1])
    head = 0
    while head < size:
        m = queue[head]
        head += 1
        if steps[m] > radius:
            return 0
        y, x0, x1 = run[member[m]]
        for k in range(n):
            if steps[k] >= 0:
                continue
            j, i0, i1 = run[member[k]]
            if abs(j - y) == 1 and i0 < x1 and x0 < i1:
                steps[k] = steps[m] + 1 + max(x0 - i0, i1 - x1, 0)
                queue[size] = k
                size += 1
    kept = 0
    for k in range(n):
        if steps[k] >= 0:
            member[kept] = member[k]
            kept += 1
    return kept


@kernel
def _plant_discs(
    state: NDArray[np.int32],
    width: int,
    seed: NDArray[np.int64],
    thick: NDArray[np.int32],
    taken: NDArray[np.int32],
) -> int:
    """Give each seed the largest disc of foreground around it; returns how many pixels are taken.

    Where discs overlap, a pixel goes to the smaller power, distance² - radius²: the border is the
    chord through the points where the two circles cross, which is the neck between two nuclei.
    """
    size = 0
    for n in range(len(seed)):
        y, x = seed[n]
        radius = int(np.sqrt(thick[n]))
        for j in range(y - radius, y + radius + 1):
            for i in range(x - radius, x + radius + 1):
                power = (j - y) * (j - y) + (i - x) * (i - x) - thick[n]
                if power >= 0:
                    continue
                p = j * width + i
                other = state[p]
                if other < 0:
                    taken[size] = p
                    size += 1
                else:
                    b, a = seed[other - 1]
                    if (j - b) * (j - b) + (i - a) * (i - a) - thick[other - 1] <= power:
                        continue
                state[p] = n + 1
    for n in range(len(seed)):  # a seed always keeps its own pixel
        state[seed[n, 0] * width + seed[n, 1]] = n + 1
    return size


@kernel
def _plant_markers(
    state: NDArray[np.int32],
    width: int,
    corner: tuple[int, int],
    seed: NDArray[np.int64],
    own: NDArray[np.int32],
    run: NDArray[np.int32],
    start: NDArray[np.int64],
    radius: int,
    taken: NDArray[np.int32],
) -> int:
    """Give each seed the pixels of its marker that are within `radius` of it; returns how many.

    `corner` is the (y, x) of the part's border, from where `seed` is counted; `own` are the
    numbers of the seeds among all markers.
    """
    size = 0
    for n in range(len(seed)):
        for r in range(start[own[n]], start[own[n] + 1]):
            y = run[r, 0] - corner[0]
            dy = y - seed[n, 0]
            for x in range(run[r, 1] - corner[1], run[r, 2] - corner[1]):
                dx = x - seed[n, 1]
                if dy * dy + dx * dx <= radius * radius:
                    taken[size] = y * width + x
                    state[taken[size]] = n + 1
                    size += 1
    return size


@kernel
def _flood(
    state: NDArray[np.int32],
    width: int,
    seed: NDArray[np.int64],
    steps: NDArray[np.int64],
    radius: int,
    discs: bool,
    waiting: NDArray[np.int32],
    n_waiting: int,
    later: NDArray[np.int32],
    queue: NDArray[np.int32],
) -> None:
    """Grow the nuclei of one part all at once, ``steps[k - 1]`` steps in stage k, in place.

    `waiting` has the pixels taken so far, and room like `later` and `queue` for all of the part.
    """
    offset = (-width, -1, 1, width, -width - 1, -width + 1, width - 1, width + 1)
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
            neighbours = 4 if clock % 2 else 8
            # The octagon of so many steps does not reach out of the disc yet.
            far = discs or 3 * clock > 2 * radius
            end = tail
            for index in range(low, high):
                p = front[index]
                label = state[p] & (ODD - 1)
                state[p] = label
                blocked = False
                for k in range(neighbours):
                    q = p + offset[k]
                    v = state[q]
                    if not v & tag:
                        continue
                    if v < -stage:
                        blocked = True
                        continue
                    if v > 0 and label >= v & (ODD - 1):
                        continue
                    if far:
                        dy = q // width - seed[label - 1, 0]
                        dx = q % width - seed[label - 1, 1]
                        if dy * dy + dx * dx > radius * radius:
                            continue
                    state[q] = label | tag
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
            state[p] &= ODD - 1
            later[n_later] = p
            n_later += 1
        waiting, later = later, waiting
        n_waiting = n_later


@kernel
def grow(
    run: NDArray[np.int32],
    parts: tuple[NDArray[np.int32], NDArray[np.int64]],
    seeds: tuple[NDArray[np.int32], NDArray[np.int64]],
    seed: NDArray[np.int64],
    thick: NDArray[np.int32],
    markers: tuple[NDArray[np.int32], NDArray[np.int64]],
    centre: NDArray[np.float32],
    levels: NDArray[np.float64],
    steps: NDArray[np.int64],
    radius: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Grow all nuclei over the runs.

    Steps go to 4 and to 8 neighbours in turn, so that a free front is an octagon; a pixel wanted
    by several nuclei in one step goes to the one whose seed comes first; none is taken further
    than `radius` from its seed.  Where the state at a pixel after t steps can have come from lies
    within t pixels of it, along each axis: this is what makes decoding local.

    Parameters
    ----------
    run
        Foreground.
    parts, seeds
        Runs and seeds grouped by the part of the foreground they lie in.
    seed
        ``[n, 2]`` (y, x), in raster order.
    thick
        ``[n]`` squared thickness at the seeds, that start with a disc of it; or empty, where they
        start with their marker or their own pixel.
    markers
        Runs ``[r, 3]`` that the seeds start with, grouped by seed, and where each begins
        ``[n + 1]``; or `NO_MARKERS`.
    centre, levels
        A pixel may be taken in stage k where `centre` exceeds the k-th level, and in the last
        stage anyway.
    steps
        Of each stage.

    Returns
    -------
    run
        Runs of nuclei, of each in raster order; those of different ones are mixed.
    nucleus
        The index of each run's seed.
    """
    member_of, part_start = parts
    seed_of, seed_start = seeds
    marker_run, marker_start = markers
    discs = len(thick) > 0 or len(marker_start) > 1
    found = np.empty((2 * len(run) + 64, 3), np.int32)
    owner = np.empty(len(found), np.int32)
    n = 0
    state = np.zeros(0, np.int32)
    waiting = np.empty(0, np.int32)
    later = np.empty(0, np.int32)
    queue = np.empty(0, np.int32)
    for part in range(len(part_start) - 1):
        own = seed_of[seed_start[part] : seed_start[part + 1]]
        if len(own) == 0:
            continue
        member = member_of[part_start[part] : part_start[part + 1]].copy()
        pixels = 0
        top, bottom, left, right = 1 << 30, 0, 1 << 30, 0
        for r in member:
            y, x0, x1 = run[r]
            pixels += x1 - x0
            top, bottom, left, right = min(top, y), max(bottom, y), min(left, x0), max(right, x1)
        if n + pixels > len(found):
            wider = np.empty((2 * len(found) + pixels, 3), np.int32)
            wider[:n] = found[:n]
            found = wider
            longer = np.empty(len(found), np.int32)
            longer[:n] = owner[:n]
            owner = longer
        if len(own) == 1:
            kept = _simple(run, member, seed[own[0]], radius)
            for k in range(kept):
                found[n] = run[member[k]]
                owner[n] = own[0]
                n += 1
            if kept:
                continue
        top, left = top - 1, left - 1
        width = right - left + 1
        if width * (bottom - top + 2) > len(state):
            state = np.zeros(2 * width * (bottom - top + 2), np.int32)
        if pixels > len(queue):
            waiting = np.empty(2 * pixels, np.int32)
            later = np.empty(2 * pixels, np.int32)
            queue = np.empty(2 * pixels, np.int32)
        for r in member:
            y, x0, x1 = run[r]
            for x in range(x0, x1):
                stage = 1
                for level in levels:
                    stage += not centre[y, x] > level
                state[(y - top) * width + x - left] = -stage
        at = np.empty((len(own), 2), np.int64)
        for k in range(len(own)):
            at[k, 0] = seed[own[k], 0] - top
            at[k, 1] = seed[own[k], 1] - left
        if len(thick):
            size = _plant_discs(state, width, at, thick[own], waiting)
        elif discs:
            size = _plant_markers(
                state, width, (top, left), at, own, marker_run, marker_start, radius, waiting
            )
        else:
            size = len(own)
            for k in range(size):
                waiting[k] = at[k, 0] * width + at[k, 1]
                state[waiting[k]] = k + 1
        _flood(state, width, at, steps, radius, discs, waiting, size, later, queue)
        for r in member:
            y, x0, x1 = run[r]
            before = 0
            for x in range(x0, x1):
                p = (y - top) * width + x - left
                v = state[p]
                state[p] = 0  # leave a clean sheet for the next part
                if v > 0:
                    if v != before:
                        found[n, 0] = y
                        found[n, 1] = x
                        owner[n] = own[v - 1]
                        n += 1
                    found[n - 1, 2] = x + 1
                before = v
    return found[:n], owner[:n]

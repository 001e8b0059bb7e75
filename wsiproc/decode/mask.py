"""A foreground map, with or without a map of centres, becomes outlines (kind `mask`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import MaskPost
from wsiproc.decode import _flood
from wsiproc.decode._peaks import disc_peaks, thick_seeds, thickness
from wsiproc.decode._trace import walk
from wsiproc.decode.contour import rings
from wsiproc.decode.points import disc, radius_px
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei

State = NDArray[np.int32]


def stage_steps(post: MaskPost, radius: int) -> tuple[int, ...]:
    """Steps of growth above each level of `centre`, and in the whole foreground, for nuclei of at
    most `radius`: the levels share one radius among them, the rest gets another."""
    return (*([math.ceil(radius / (len(post.levels) + 1))] * len(post.levels)), radius)


def mask_reach(post: MaskPost, mpp: float, radius: int, *, centre: bool) -> int:
    """See `wsiproc.decode.reach_px`; here in output px."""
    near = radius_px(post.seed_radius_um / mpp)
    if centre:
        return 2 * radius + sum(stage_steps(post, radius)) + near
    # Growth without levels; then the disc that a seed starts from, the distance at which a higher
    # seed undoes it (a local maximum, hence one more), and that at which thickness is settled.
    return 2 * radius + radius + radius + (max(near, radius) + 1) + radius


def decode_mask(
    post: MaskPost,
    mpp: float,
    radius: int,
    maps: tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32] | None],
    area: Box,
    whole: Box,
    origin: tuple[int, int],
) -> Nuclei:
    """Grow nuclei from seeds over the foreground.

    1. Foreground is where `prob` exceeds the threshold, inside the slide.
    2. Seeds are the peaks of `centre` in the foreground.  Without such a map they are the peaks of
       the foreground's thickness (`_peaks.thick_seeds`), each with the largest disc around it.
    3. All grow at once (`_flood.flood`): over the pixels above the first level of `centre`, then
       the second, ..., then the rest, never further than `radius` from the seed.  Foreground that
       none reaches is dropped; so is all that hangs at a nucleus by a corner alone.
    4. A nucleus gets what it encloses, other nuclei included.
    5. Nuclei under the least area are dropped.

    Parameters
    ----------
    mpp
        µm per output px.
    radius
        Of the largest nucleus, output px.
    maps
        `prob` ``[h, w]``, `centre` ``[h, w]`` or None, `class` ``[C, h, w]`` or None.
    area, whole
        The part of the maps that lies on the slide, and the slide, in pixels of the maps.
    origin
        (x, y) of the maps' first pixel in global output px.

    Returns
    -------
    Nuclei
        In global output px, in the order of their reference pixels; class 0 without a class map.
    """
    prob, centre, classes = maps
    if area.empty:
        return Nuclei.none(polygons=True)
    state, seed = _grown(post, mpp, radius, prob, centre, area)
    _mend(state, seed, radius)
    if classes is None:
        classes = np.empty((0, 1, 1), np.float32)
    label, sums, prob_sum, class_sum = _flood.measure(
        state, len(seed), prob, classes, area.x0, area.y0
    )
    kept = sums[:, 2] * mpp**2 >= post.min_area_um2
    label, sums = label[kept], sums[kept]
    pixels = sums[:, 2]
    corner_x, corner_y = origin[0] + area.x0, origin[1] + area.y0
    shift_x, shift_y = corner_x - 1, corner_y - 1  # of the bordered state
    ring, ring_start = rings(state, np.ascontiguousarray(sums[:, :2]), (corner_x, corner_y))
    return Nuclei(
        ref_x=sums[:, 1] + shift_x,
        ref_y=sums[:, 0] + shift_y,
        # Whole numbers until the division, so that every box gives the same bits.
        x=(sums[:, 4] + pixels * shift_x) / pixels + 0.5,
        y=(sums[:, 3] + pixels * shift_y) / pixels + 0.5,
        class_id=(
            np.argmax(class_sum[kept], axis=1).astype(np.int16)
            if len(classes)
            else np.zeros(len(label), np.int16)
        ),
        score=(prob_sum[kept] / pixels).astype(np.float32),
        cut=np.isin(label, _at_edge(state, area, whole)),
        ring=ring,
        ring_start=ring_start,
    )


def _grown(
    post: MaskPost,
    mpp: float,
    radius: int,
    prob: NDArray[np.float32],
    centre: NDArray[np.float32] | None,
    area: Box,
) -> tuple[State, NDArray[np.int64]]:
    """The state after growth, with a border around `area`, and the seeds (y, x) in it."""
    near = post.seed_radius_um / mpp
    if centre is None:
        state = _flood.foreground(prob, prob, area.as_tuple(), post.threshold, np.empty(0))
        squared = thickness(state, radius)
        seed = thick_seeds(squared, near, radius)
        taken = _flood.plant_discs(state, seed, squared)
        steps = np.array([radius])
    else:
        levels = np.array(post.levels, np.float64)
        state = _flood.foreground(prob, centre, area.as_tuple(), post.threshold, levels)
        seed = disc_peaks(
            centre, prob, area.as_tuple(), post.seed_threshold, post.threshold, disc(near)
        ) + np.array([1 - area.y0, 1 - area.x0])
        taken = _flood.plant(state, seed)
        steps = np.array(stage_steps(post, radius))
    _flood.flood(state, seed, taken, steps, radius)
    return state, seed


def _mend(state: State, seed: NDArray[np.int64], radius: int) -> None:
    """Make every nucleus one piece without holes.

    Walking around a nucleus passes all of its sides only if it is such a piece already; nearly all
    are, so the few others can be mended one by one.
    """
    first, sides = _flood.first_and_sides(state, len(seed))
    corner = np.stack(np.divmod(first, state.shape[1]), axis=1)
    _, _, walked = walk(state, corner)
    broken = [int(row) + 1 for row in np.flatnonzero(walked != sides)]
    for label in broken:
        _flood.cut_loose(state, seed, label, radius)
    for label in broken:
        if state[tuple(seed[label - 1])] == label:  # not taken in by one around it
            _flood.fill_holes(state, seed, label, radius)


def _at_edge(state: State, area: Box, whole: Box) -> NDArray[np.int32]:
    """Labels on those edges of `area` that are not edges of the slide."""
    edges = (
        (state[1:-1, 1], area.x0 == whole.x0),
        (state[1, 1:-1], area.y0 == whole.y0),
        (state[1:-1, -2], area.x1 == whole.x1),
        (state[-2, 1:-1], area.y1 == whole.y1),
    )
    cut = [np.unique(labels) for labels, slides_own in edges if not slides_own]
    return np.concatenate([np.empty(0, np.int32), *cut])

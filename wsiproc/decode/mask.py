"""A foreground map, with or without a map of centres, becomes outlines (kind `mask`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import MaskPost
from wsiproc.decode._grow import grow
from wsiproc.decode._mend import mend
from wsiproc.decode._peaks import disc_peaks, thick_seeds, thickness
from wsiproc.decode._runs import foreground, grouped, home, measure, parts
from wsiproc.decode._trace import trace
from wsiproc.decode.points import disc, radius_px
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei

Map = NDArray[np.float32]
Runs = NDArray[np.int32]


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
    maps: tuple[Map, Map | None, Map | None],
    origin: tuple[int, int],
    slide: Box,
) -> Nuclei:
    """Grow nuclei from seeds over the foreground.

    1. Foreground is where `prob` exceeds the threshold, inside the slide.
    2. Seeds are the peaks of `centre` in the foreground.  Without such a map they are the peaks of
       the foreground's thickness (`_peaks.thick_seeds`), each with the largest disc around it.
    3. All grow at once (`_grow.grow`): over the pixels above the first level of `centre`, then
       the second, ..., then the rest, never further than `radius` from the seed.  Foreground that
       none reaches is dropped; so is all that hangs at a nucleus by a corner alone.
    4. A nucleus gets what it encloses, other nuclei included.
    5. Nuclei under the least area are dropped.

    A seed lies in the middle of its nucleus only roughly, so a nucleus as long as the card's
    largest may lose a tip: the card's length wants some slack.

    Parameters
    ----------
    mpp
        µm per output px.
    radius
        Of the largest nucleus, output px.
    maps
        `prob` ``[h, w]``, `centre` ``[h, w]`` or None, `class` ``[C, h, w]`` or None; float32, all
        of it on the slide.
    origin
        (x, y) of the maps' first pixel in global output px.
    slide
        Global output px; a nucleus at an edge of the maps that is not the slide's is marked `cut`.

    Returns
    -------
    Nuclei
        In global output px, in the order of their reference pixels; class 0 without a class map.
    """
    prob, _, classes = maps
    run, start = _grown(post, mpp, radius, maps)
    pixels = np.concatenate([[0], np.cumsum(run[:, 2] - run[:, 1], dtype=np.int64)])
    area = np.diff(pixels[start])
    large = np.flatnonzero((area > 0) & (area * mpp**2 >= post.min_area_um2))
    first = run[start[large]].astype(np.int64)
    order = np.lexsort((first[:, 1], first[:, 0]))
    first, large = first[order], large[order]
    run, start = _taken(run, start, large)
    if classes is None:
        classes = np.empty((0, 1, 1), np.float32)
    sums, prob_sum, class_sum = measure(run, start, prob, classes)
    area, x0, y0 = sums[:, 0], *origin
    ring, ring_start = trace(run, start, x0, y0)
    return Nuclei(
        ref_x=first[:, 1] + x0,
        ref_y=first[:, 0] + y0,
        # Whole numbers until the division, so that every box gives the same bits.
        x=(sums[:, 2] + area * x0) / area + 0.5,
        y=(sums[:, 1] + area * y0) / area + 0.5,
        class_id=(
            np.argmax(class_sum, axis=1).astype(np.int16)
            if len(classes)
            else np.zeros(len(large), np.int16)
        ),
        score=(prob_sum / area).astype(np.float32),
        cut=_cut(run, start, Box.of_size(x0, y0, prob.shape[1], prob.shape[0]), slide),
        ring=ring,
        ring_start=ring_start,
    )


def _grown(
    post: MaskPost, mpp: float, radius: int, maps: tuple[Map, Map | None, Map | None]
) -> tuple[Runs, NDArray[np.int64]]:
    """Runs of pixels of the finished nuclei, grouped by nucleus, and where each begins."""
    prob, centre, _ = maps
    near = post.seed_radius_um / mpp
    run = foreground(prob, post.threshold)
    if centre is None:
        squared = thickness(run, prob.shape[0], prob.shape[1], radius)
        seed = thick_seeds(run, squared, near, radius)
        thick = squared[seed[:, 0] + 1, seed[:, 1] + 1]
        levels, steps, centre = np.empty(0), np.array([radius]), prob
    else:
        seed = disc_peaks(centre, run, prob, post.threshold, post.seed_threshold, disc(near))
        thick = np.empty(0, np.int32)
        levels, steps = np.array(post.levels, np.float64), np.array(stage_steps(post, radius))
    part, n = parts(run)
    grouped_runs = grouped(part, n)
    grouped_seeds = grouped(home(run, part, seed), n)
    grown, owner = grow(
        run, grouped_runs, grouped_seeds, seed, thick, centre, levels, steps, radius
    )
    member, start = grouped(owner, len(seed))
    return mend(grown[member], start, seed)


def _taken(
    run: Runs, start: NDArray[np.int64], nuclei: NDArray[np.int64]
) -> tuple[Runs, NDArray[np.int64]]:
    """The runs of some nuclei, in their order."""
    begin, count = start[nuclei], np.diff(start)[nuclei]
    taken = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    return run[np.arange(taken[-1]) - np.repeat(taken[:-1] - begin, count)], taken


def _cut(run: Runs, start: NDArray[np.int64], seen: Box, slide: Box) -> NDArray[np.bool_]:
    """Which nuclei have pixels on an edge of the maps that is not the slide's."""
    edge = np.zeros(len(run), np.bool_)
    if seen.x0 > slide.x0:
        edge |= run[:, 1] == 0
    if seen.y0 > slide.y0:
        edge |= run[:, 0] == 0
    if seen.x1 < slide.x1:
        edge |= run[:, 2] == seen.width
    if seen.y1 < slide.y1:
        edge |= run[:, 0] == seen.height - 1
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(edge, dtype=np.int64)])
    cut: NDArray[np.bool_] = np.diff(before[start]) > 0
    return cut

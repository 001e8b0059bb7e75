"""Nuclear pixels and distances to the centre become outlines (kind `hover`).

After HoVer-Net (Graham et al. 2019, sec. 3.2).  Its maps say of each pixel of a nucleus how far to
the left or right (`hv[0]`) and above or below (`hv[1]`) of the centre it lies, -1 to 1 from edge to
edge.  They rise through a nucleus and fall between one and the next, so where they fall steeply is
a border; what is left of the foreground without its borders are the markers of a watershed.

HoVer-Net stretches the slopes of each tile to 0 to 1 by that tile's extremes, so that one strange
pixel changes all nuclei.  Here a slope has a unit.  With G the Gaussian of `slope_um` and h the map
of one direction, the border along x is

    e(x, y) = -(G' * h) / (2 G(0)),

the derivative taken along x.  A fall from 1 to -1 from one pixel to the next, as between two
touching nuclei, gives 1; one from 1 to 0, as between a nucleus and nothing, one half; a steady fall
of s per µm gives s times `slope_um` times the root of pi / 2; and the inside of a nucleus, where
the maps rise, less than 0.  The border at a pixel is the larger of the two directions.
"""

from __future__ import annotations

import math

import numpy as np

from wsiproc.card import HoverPost
from wsiproc.decode._grow import grow
from wsiproc.decode._markers import calm, deeper, middles
from wsiproc.decode._mend import mend
from wsiproc.decode._nuclei import Map, Place, Runs, Starts, large_enough, outlined, taken, voted
from wsiproc.decode._peaks import thick_seeds, thickness
from wsiproc.decode._runs import foreground, grouped, home, parts
from wsiproc.nuclei import Nuclei

STAGES = 4
"""Levels of the border between that of markers and 1, at which nuclei grow one after the other."""
SEEN = 3
"""Where the Gaussian ends, in sigmas."""


def slope_filters(sigma: float) -> tuple[Map, Map]:
    """The Gaussian of `sigma` px (sum 1), and the filter of the falls along it: ``[2 r + 1]`` each.

    The second is minus the Gaussian's derivative as a correlation, over its answer to a fall of 2
    between two neighbours, so that such a fall gives 1.
    """
    reach = filter_reach(sigma)
    at = np.arange(-reach, reach + 1)
    bell = np.exp(-0.5 * (at / sigma) ** 2)
    fall = -at * bell
    return (
        (bell / bell.sum()).astype(np.float32),
        (fall / np.abs(fall).sum()).astype(np.float32),
    )


def filter_reach(sigma: float) -> int:
    """How far those filters look, px."""
    return max(1, math.ceil(SEEN * sigma))


def stage_steps(radius: int) -> tuple[int, ...]:
    """Steps of growth over each level of the border, half of `radius` among them, and over the
    whole foreground."""
    return (*([math.ceil(radius / (2 * STAGES))] * STAGES), radius)


def hover_reach(post: HoverPost, mpp: float, radius: int) -> int:
    """See `wsiproc.decode.reach_px`; here in output px."""
    widest, depth = 2 * radius + 1, _depth(post, mpp)
    # A marker is known by the pixels it may have, and these by the depth at which they lie.  In
    # one that is too wide, a seed is settled by its rivals, and these by their thickness.
    marker = max(widest + depth, max(depth, radius) + 1 + max(depth, radius))
    return 2 * radius + sum(stage_steps(radius)) + marker + filter_reach(post.slope_um / mpp)


def decode_hover(
    post: HoverPost, mpp: float, radius: int, maps: tuple[Map, Map, Map | None], place: Place
) -> Nuclei:
    """Grow nuclei from markers over the foreground.

    1. Foreground is where `np` exceeds the threshold, inside the slide.
    2. Markers are the pieces of foreground that are less of a border than `marker_threshold`, and
       lie deeper than `marker_depth_um` in it.  One whose bounding box is larger than the largest
       nucleus is several that ran together: the peaks of its thickness (`_peaks.thick_seeds`)
       take its place.
    3. All grow at once (`_grow.grow`): over the pixels that are the least of a border, then the
       next, ..., then all of the foreground, never further than `radius` from the middle of their
       marker.  Foreground that none reaches is dropped.
    4. A nucleus gets what it encloses, other nuclei included.
    5. Nuclei under the least area are dropped.

    Parameters
    ----------
    mpp
        µm per output px.
    radius
        Of the largest nucleus, output px.
    maps
        `np` ``[h, w]``, `hv` ``[2, h, w]`` (along x, along y), `tp` ``[C, h, w]`` or None;
        float32, all of it on the slide.
    place
        Of the maps.

    Returns
    -------
    Nuclei
        In global output px, in the order of their reference pixels.  The score is the mean of
        `np`, the class has the largest sum of `tp`.
    """
    prob, _, types = maps
    run, start = _grown(post, mpp, radius, maps)
    run, start, _ = large_enough(run, start, post.min_area_um2 / mpp**2)
    return outlined(run, start, *voted(run, start, prob, types), place)


def _grown(
    post: HoverPost, mpp: float, radius: int, maps: tuple[Map, Map, Map | None]
) -> tuple[Runs, Starts]:
    """Runs of pixels of the finished nuclei, grouped by nucleus, and where each begins."""
    prob, hv, _ = maps
    run = foreground(prob, post.threshold)
    inner = calm(hv, run, *slope_filters(post.slope_um / mpp))
    seed, markers = _markers(inner, post, mpp, radius)
    levels = np.linspace(1 - post.marker_threshold, 0, STAGES, endpoint=False)
    steps = np.array(stage_steps(radius))
    part, n = parts(run)
    seeds = grouped(home(run, part, seed), n)
    nothing = np.empty(0, np.int32)
    grown, owner = grow(
        run, grouped(part, n), seeds, seed, nothing, markers, inner, levels, steps, radius
    )
    member, start = grouped(owner, len(seed))
    return mend(grown[member], start, seed)


def _markers(
    inner: Map, post: HoverPost, mpp: float, radius: int
) -> tuple[Starts, tuple[Runs, Starts]]:
    """Seeds ``[n, 2]`` (y, x) in raster order, and the runs of their markers."""
    run = foreground(inner, 1 - post.marker_threshold)
    height, width = inner.shape
    squared = thickness(run, height, width, max(radius, _depth(post, mpp)))
    core = deeper(run, squared, (post.marker_depth_um / mpp) ** 2)
    part, n = parts(core)
    seed, small = middles(core, part, n, 2 * radius + 1)
    member, start = grouped(part, n)
    kept = np.flatnonzero(small)
    marker, marker_start = taken(core[member], start, kept)
    seed = seed[kept]
    if not small.all():
        split = thick_seeds(core, squared, _depth(post, mpp), radius)
        split = split[~small[home(core, part, split)]]
        points = np.column_stack([split, split[:, 1] + 1]).astype(np.int32)
        seed = np.concatenate([seed, split])
        marker = np.concatenate([marker, points])
        ends = marker_start[-1] + np.arange(1, len(split) + 1)
        marker_start = np.concatenate([marker_start, ends])
    order = np.lexsort((seed[:, 1], seed[:, 0]))
    return seed[order], taken(marker, marker_start, order)


def _depth(post: HoverPost, mpp: float) -> int:
    """How far what is taken off a marker makes a pixel look, px."""
    return math.ceil(post.marker_depth_um / mpp) + 1

"""A foreground map, with or without a map of centres, becomes outlines (kind `mask`)."""

from __future__ import annotations

import math

import numpy as np

from wsiproc.card import MaskPost
from wsiproc.decode._grow import NO_MARKERS, grow
from wsiproc.decode._mend import mend
from wsiproc.decode._nuclei import Map, Place, Runs, Starts, large_enough, outlined, voted
from wsiproc.decode._peaks import disc_peaks, thick_seeds, thickness
from wsiproc.decode._runs import foreground, grouped, home, parts
from wsiproc.decode.points import disc, radius_px
from wsiproc.nuclei import Nuclei


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
    place: Place,
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
    place
        Of the maps.

    Returns
    -------
    Nuclei
        In global output px, in the order of their reference pixels; class 0 without a class map.
    """
    prob, _, classes = maps
    run, start = _grown(post, mpp, radius, maps)
    run, start, _ = large_enough(run, start, post.min_area_um2 / mpp**2)
    return outlined(run, start, *voted(run, start, prob, classes), place)


def _grown(
    post: MaskPost, mpp: float, radius: int, maps: tuple[Map, Map | None, Map | None]
) -> tuple[Runs, Starts]:
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
        run, grouped_runs, grouped_seeds, seed, thick, NO_MARKERS, centre, levels, steps, radius
    )
    member, start = grouped(owner, len(seed))
    return mend(grown[member], start, seed)

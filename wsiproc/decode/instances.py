"""Boxes with small masks, found in windows, become outlines (kind `instances`).

Networks of this kind look at their whole window: attention and the largest k of a list see all of
it.  So no window may move.  Windows lie on one lattice of the slide, and every tile that asks for
one is told the same; what remains is to settle what several windows say of one place, by rules that
look no further than `instances_reach`, ask for no order, and know no tile:

1. A window speaks of nuclei whose box has its middle in the window's valid part, or within a
   quarter of the largest nucleus around it.  With a margin of the largest nucleus, it sees all
   of these whole; what lies at its edge is a neighbour's to say.
2. Two views from different windows that share half of the smaller one are of one nucleus.  The
   better one is that whose middle is nearer its window's middle, then the more certain one, then
   the first in raster order.  A view that no better one contests stays and undoes those that it
   contests; the same once more for what is still open; what is open then is dropped.
3. Pixels that several nuclei want go to the most certain one.  A nucleus that loses more than
   `most_lost` of them is dropped, and its pixels go to the next.
4. A nucleus keeps its largest piece, and gets what that encloses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card, InstancesPost
from wsiproc.decode._mend import largest_pieces, mend
from wsiproc.decode._nuclei import Place, Runs, Starts, large_enough, outlined, taken
from wsiproc.decode._paste import best_at, left_of, pasted, rivals
from wsiproc.decode._runs import sums
from wsiproc.decode.points import disc
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei
from wsiproc.tiling import Window

SAME = 0.5
"""Share of the smaller of two views, from which on they are of one nucleus; as at the seams."""
ROUNDS = 2
"""How often views of one nucleus are compared: once settles a pair, twice a row of three."""
_NOTHING = np.empty((0, 2), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """What windows say of nuclei; a row is one window's word on one of them.

    Parameters
    ----------
    box
        ``[n, 4]`` float32 (x0, y0, x1, y1), px of the window.
    score
        ``[n]`` float32.
    class_id
        ``[n]`` int16.
    mask
        ``[n, s, s]`` float32, probabilities over the box.
    read
        ``[n, 4]`` int64: the window, global model px.
    """

    box: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int16]
    mask: NDArray[np.float32]
    read: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Views:
        """Some of them, in the order asked for."""
        return Views(*(getattr(self, field.name)[rows] for field in fields(self)))


def concat_views(parts: Sequence[Views]) -> Views:
    """All views, one part after the other; at least one part."""
    return Views(
        *(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Views))
    )


def views_of(
    card: Card, outputs: Mapping[str, NDArray[np.float32]], windows: Sequence[Window]
) -> Views:
    """What a session's outputs for some windows say of the nuclei that these may speak of.

    Parameters
    ----------
    outputs
        `boxes`, `scores`, `labels`, `masks` and `tile`, the index of a row's window.
    windows
        In the order in which the session was given them.  One whose valid part is all that it
        reads speaks of everything that it sees.
    """
    assert isinstance(card.post, InstancesPost)
    box = outputs["boxes"].astype(np.float64)
    class_id = outputs["labels"].astype(np.int64) - card.post.first_label
    read = np.array([window.read.as_tuple() for window in windows], np.int64)
    valid = np.array([window.valid.as_tuple() for window in windows], np.int64)
    of = outputs["tile"].astype(np.int64)
    far = _slack(card)
    middle = (box[:, :2] + box[:, 2:]) / 2 + read[of, :2] - valid[of, :2]
    size = (valid[of, 2:] - valid[of, :2]).astype(np.float64)
    spread = 2 * (card.post.dilation_um / card.mpp)
    length = box[:, 2:] - box[:, :2]
    kept = outputs["scores"] > card.post.score_threshold
    kept &= (class_id >= 0) & (class_id < len(card.classes))
    # Comparisons with what is no number are false.
    kept &= ((length > 0) & (length + spread <= card.largest_nucleus_px)).all(axis=1)
    kept &= ((middle >= -far) & (middle < size + far)).all(axis=1)
    return Views(
        box=outputs["boxes"][kept].astype(np.float32),
        score=outputs["scores"][kept].astype(np.float32),
        class_id=class_id[kept].astype(np.int16),
        mask=np.ascontiguousarray(outputs["masks"][kept, 0], np.float32),
        read=read[of[kept]],
    )


def instances_reach(card: Card) -> int:
    """See `wsiproc.decode.reach_px`.

    With E the largest nucleus, no two pixels of a view are further than E apart along an axis.  A
    nucleus stands or falls with views in a row behind it, each sharing pixels with the next: two
    rounds of views of one nucleus, 3; loss of pixels, 1; the pixels of those that are left, 1; and
    being enclosed by another, 1.  So all of it lies within (6 + 1) E, in windows whose valid parts
    are no further from it than a view may stick out of them.
    """
    largest = card.largest_nucleus_px
    links = (2 * ROUNDS - 1) + 1 + 1 + 1
    return (links + 1) * largest + _slack(card) + largest // 2 + 1


def _slack(card: Card) -> int:
    """How far outside of its valid part a window speaks of nuclei: two windows may put the middle
    of one nucleus on different sides of their border."""
    return math.ceil(card.largest_nucleus_px / 4)


def decode_instances(card: Card, views: Views, box: Box, slide: Box) -> Nuclei:
    """Settle what windows say; see above.

    Parameters
    ----------
    views
        Of all windows whose valid part touches `box`, and any others; in any order of windows, the
        rows of one window in the order of its output.
    box, slide
        Global model px; `box` on the slide.

    Returns
    -------
    Nuclei
        Those with their reference pixel in `box`, in the order of these.
    """
    post = card.post
    assert isinstance(post, InstancesPost)
    around = _hull(views, post.dilation_um / card.mpp) & slide
    if around.empty:
        return Nuclei.none(polygons=True)
    run, start, views = _laid(card, views, around)
    best = np.flatnonzero(_best_views(run, start, views))
    run, start = taken(run, start, best)
    views = views.take(best)
    run, start, views = _without_the_hidden(run, start, views, post.most_lost, around)
    seed = largest_pieces(run, start)
    order = np.lexsort((seed[:, 1], seed[:, 0]))
    run, start = mend(*taken(run, start, order), seed[order])
    run, start, large = large_enough(run, start, post.min_area_um2 / card.mpp**2)
    views = views.take(order[large])
    shift = np.array([around.y0 - box.y0, around.x0 - box.x0, around.x0 - box.x0], np.int32)
    place = Place((box.x0, box.y0), (box.height, box.width), slide)
    found = outlined(run + shift, start, views.class_id, views.score, place)
    return found.take(box.holds(found.ref_x, found.ref_y))


def _hull(views: Views, more: float) -> Box:
    """A box that holds all views, made larger by `more` px."""
    if not len(views):
        return Box(0, 0, 0, 0)
    far = math.ceil(more)
    low = np.floor(views.box[:, :2]).astype(np.int64) + views.read[:, :2] - far
    high = np.ceil(views.box[:, 2:]).astype(np.int64) + views.read[:, :2] + far
    return Box(*(int(v) for v in (*low.min(axis=0), *high.max(axis=0))))


def _laid(card: Card, views: Views, around: Box) -> tuple[Runs, Starts, Views]:
    """Runs of the views' pixels, in the px of `around`; and the views that have any there."""
    post = card.post
    assert isinstance(post, InstancesPost)
    origin = np.array([around.x0, around.y0], np.int64)
    clip = np.empty_like(views.read)
    clip[:, :2] = np.maximum(views.read[:, :2] - origin, 0)
    clip[:, 2:] = np.minimum(views.read[:, 2:] - origin, (around.width, around.height))
    grown = disc(post.dilation_um / card.mpp) if post.dilation_um >= card.mpp else _NOTHING
    corner = views.read[:, :2] - origin
    run, start = pasted(
        views.box.astype(np.float64), views.mask, corner, clip, post.mask_threshold, grown
    )
    there = np.flatnonzero(np.diff(start))
    # Masks are most of a view's memory, and are laid now.
    light = replace(views, mask=np.empty((len(views), 0, 0), np.float32))
    return *taken(run, start, there), light.take(there)


def _best_views(run: Runs, start: Starts, views: Views) -> NDArray[np.bool_]:
    """Which views stay, one of each nucleus."""
    size = views.read[:, 2:] - views.read[:, :2]
    off = np.abs(views.box[:, :2].astype(np.float64) + views.box[:, 2:] - size).max(axis=1)
    rank = _rank(run, start, views, first=off)
    _, window = np.unique(views.read, axis=0, return_inverse=True)
    pair = rivals(run, start, window.reshape(-1).astype(np.int64), SAME)
    swapped = rank[pair[:, 0]] > rank[pair[:, 1]]
    better, worse = np.where(swapped[:, None], pair[:, ::-1], pair).T
    stays = np.zeros(len(views), np.bool_)
    open_ = np.ones(len(views), np.bool_)
    for _ in range(ROUNDS):
        contested = np.zeros(len(views), np.bool_)
        contested[worse[open_[better]]] = True
        stays |= open_ & ~contested
        open_ &= contested
        open_[worse[stays[better]]] = False
    return stays


def _without_the_hidden(
    run: Runs, start: Starts, views: Views, most_lost: float, around: Box
) -> tuple[Runs, Starts, Views]:
    """Leave each pixel to the most certain, and leave out who loses too many."""
    _, shown = _shown(run, start, views, around)
    area = sums(run, start)[:, 0]
    kept = np.flatnonzero(area - shown <= most_lost * area)
    views = views.take(kept)
    own, _ = _shown(*taken(run, start, kept), views, around)
    return *own, views


def _shown(
    run: Runs, start: Starts, views: Views, around: Box
) -> tuple[tuple[Runs, Starts], NDArray[np.int64]]:
    """Runs of the pixels that each has as the most certain, and how many these are."""
    rank = _rank(run, start, views)
    own = left_of(run, start, rank, best_at(run, start, rank, around.height, around.width))
    return own, sums(*own)[:, 0]


def _rank(
    run: Runs, start: Starts, views: Views, first: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """0 for the best: by `first`, rising, where there is one, then the most certain, then the
    first by reference pixel, by window, and by place in its window's output."""
    at = run[start[:-1]]
    foremost = np.zeros(len(views)) if first is None else first
    order = np.lexsort(
        (views.read[:, 0], views.read[:, 1], at[:, 1], at[:, 0], -views.score, foremost)
    )
    rank = np.empty(len(views), np.int64)
    rank[order] = np.arange(len(views))
    return rank

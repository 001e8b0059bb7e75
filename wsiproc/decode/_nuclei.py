"""Finished masks, as runs, become columns of nuclei: the last step of every kind that outlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._runs import measure, sums
from wsiproc.decode._trace import trace
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei

Map = NDArray[np.float32]
Runs = NDArray[np.int32]
Starts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where the maps of a box lie.

    Parameters
    ----------
    origin
        (x, y) of their first pixel in global output px.
    size
        (height, width) in px.
    slide
        Global output px; a nucleus at an edge of the maps that is not the slide's is marked `cut`.
    """

    origin: tuple[int, int]
    size: tuple[int, int]
    slide: Box

    @property
    def box(self) -> Box:
        """Global output px."""
        return Box.of_size(*self.origin, self.size[1], self.size[0])


def taken(run: Runs, start: Starts, nuclei: NDArray[np.int64]) -> tuple[Runs, Starts]:
    """The runs of some nuclei, in their order."""
    begin, count = start[nuclei], np.diff(start)[nuclei]
    place = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    return run[np.arange(place[-1]) - np.repeat(place[:-1] - begin, count)], place


def large_enough(
    run: Runs, start: Starts, least_px: float
) -> tuple[Runs, Starts, NDArray[np.int64]]:
    """Runs of the nuclei that have any pixel, and `least_px` of them, by reference pixel; and
    which nuclei these are."""
    area = np.diff(np.concatenate([[0], np.cumsum(run[:, 2] - run[:, 1], dtype=np.int64)])[start])
    large = np.flatnonzero((area > 0) & (area >= least_px))
    first = run[start[large]]
    large = large[np.lexsort((first[:, 1], first[:, 0]))]
    return *taken(run, start, large), large


def voted(
    run: Runs, start: Starts, prob: Map, classes: Map | None
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Class and score of each nucleus from the maps over its pixels.

    The score is the mean of `prob`; the class has the largest sum of probabilities (the first of
    equal ones), and is 0 without a map ``[C, h, w]``.
    """
    if classes is None:
        classes = np.empty((0, 1, 1), np.float32)
    prob_sum, class_sum = measure(run, start, prob, classes)
    score = (prob_sum / sums(run, start)[:, 0]).astype(np.float32)
    if not len(classes):
        return np.zeros(len(score), np.int16), score
    return np.argmax(class_sum, axis=1).astype(np.int16), score


def outlined(
    run: Runs,
    start: Starts,
    class_id: NDArray[np.int16],
    score: NDArray[np.float32],
    place: Place,
) -> Nuclei:
    """Nuclei in global output px, from runs in the px of the maps; in the order they come in."""
    x0, y0 = place.origin
    first = run[start[:-1]].astype(np.int64)
    whole = sums(run, start)
    area = whole[:, 0]
    ring, ring_start = trace(run, start, x0, y0)
    return Nuclei(
        ref_x=first[:, 1] + x0,
        ref_y=first[:, 0] + y0,
        # Whole numbers until the division, so that every box gives the same bits.
        x=(whole[:, 2] + area * x0) / area + 0.5,
        y=(whole[:, 1] + area * y0) / area + 0.5,
        class_id=class_id,
        score=score,
        cut=_cut(run, start, place.box, place.slide),
        ring=ring,
        ring_start=ring_start,
    )


def _cut(run: Runs, start: Starts, seen: Box, slide: Box) -> NDArray[np.bool_]:
    """Which nuclei have pixels on or past an edge of the maps that is not the slide's."""
    edge = np.zeros(len(run), np.bool_)
    if seen.x0 > slide.x0:
        edge |= run[:, 1] <= 0
    if seen.y0 > slide.y0:
        edge |= run[:, 0] <= 0
    if seen.x1 < slide.x1:
        edge |= run[:, 2] >= seen.width
    if seen.y1 < slide.y1:
        edge |= run[:, 0] >= seen.height - 1
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(edge, dtype=np.int64)])
    cut: NDArray[np.bool_] = np.diff(before[start]) > 0
    return cut

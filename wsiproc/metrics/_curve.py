"""Precision and recall at every score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsiproc.metrics._matching import Floats, Ints
from wsiproc.metrics._points import as_points, pairs_within


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision and recall at each distinct score, falling: all at least `threshold` count."""

    threshold: Floats
    precision: Floats
    recall: Floats

    @property
    def average_precision(self) -> float:
        """Area under the steps: precision times the recall gained at each threshold."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))


def ranked_hits(
    true_xy: ArrayLike, pred_xy: ArrayLike, score: ArrayLike, radius: float
) -> NDArray[np.bool_]:
    """Which points ``[n]`` each raise the number of true positives, taken by falling score.

    For every threshold, the hits at or above it are as many as the ``hungarian`` rule finds
    among the points at or above it: each new point is matched along an augmenting path, and one
    that can't be now never can be later.
    """
    true, pred = as_points(true_xy), as_points(pred_xy)
    i, j, d = pairs_within(pred, true, radius)
    nearest = np.lexsort((d, i))
    targets = np.split(j[nearest], np.searchsorted(i, np.arange(1, len(pred)))) if len(pred) else []
    holder: dict[int, int] = {}
    hits = np.zeros(len(pred), np.bool_)
    for point in np.argsort(-np.asarray(score, np.float64), kind="stable"):
        hits[point] = _augment(int(point), targets, holder)
    return hits


def _augment(point: int, targets: list[Ints], holder: dict[int, int]) -> bool:
    """Match `point`, moving others aside where that frees a target.  Breadth first."""
    came_from: dict[int, tuple[int, int | None]] = {}
    waiting: list[tuple[int, int | None]] = [(point, None)]
    for seeker, via in waiting:
        for target in targets[seeker].tolist():
            if target in came_from:
                continue
            came_from[target] = (seeker, via)
            if target in holder:
                waiting.append((holder[target], target))
                continue
            free: int | None = target
            while free is not None:
                taker, free_next = came_from[free]
                holder[free] = taker
                free = free_next
            return True
    return False


def precision_recall(score: ArrayLike, hits: ArrayLike, true: int) -> Curve:
    """The curve of points of any number of images.

    Parameters
    ----------
    score, hits
        ``[n]``, the images' points one after the other (`ranked_hits` of each image).
    true
        How many true points all images have.
    """
    scores, found = np.asarray(score, np.float64), np.asarray(hits, np.bool_)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    tp = np.cumsum(found[order])[last]
    recall = tp / true if true else np.zeros(len(last))
    return Curve(scores[order][last], tp / (last + 1), recall)

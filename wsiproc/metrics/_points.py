"""Points against points: found, invented and missed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from wsiproc.metrics._matching import Floats, Ints, firsts, heaviest

Match = Literal["hungarian", "qu_code", "qu_paper", "many"]


@dataclass(frozen=True, slots=True)
class DetectionCounts:
    """Points found, invented and missed; adding two pools images.

    Parameters
    ----------
    tp, fp, fn
        Numbers of points.
    distance, distance_squared
        Sums over the true positives, in the points' unit and its square.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    distance: float = 0.0
    distance_squared: float = 0.0

    def __add__(self, other: DetectionCounts) -> DetectionCounts:
        return DetectionCounts(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )

    def _of(self, part: float, whole: float) -> float:
        if not self.tp + self.fp + self.fn:
            return math.nan
        return part / whole if whole else 0.0

    @property
    def precision(self) -> float:
        """0 if nothing was found though there was something, NaN if there was nothing at all."""
        return self._of(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return self._of(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return self._of(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mean_distance(self) -> float:
        """mu_d of Qu 2020, eq. 11; NaN without true positives."""
        return self.distance / self.tp if self.tp else math.nan

    @property
    def std_distance(self) -> float:
        """sigma_d of Qu 2020, eq. 11: of the population (ddof = 0)."""
        if not self.tp:
            return math.nan
        return math.sqrt(max(0.0, self.distance_squared / self.tp - self.mean_distance**2))


def detection(
    true_xy: ArrayLike, pred_xy: ArrayLike, radius: float, *, match: Match = "hungarian"
) -> DetectionCounts:
    """Compare points ``[m, 2]`` with points ``[n, 2]``, in any one unit that `radius` is in too.

    Parameters
    ----------
    radius
        Up to which distance a point is found.  Choose it in µm, and convert it with the image's
        mpp.  `qu_code` alone takes it exclusively.
    match
        ``hungarian``: one to one, as many pairs as possible and among these the shortest.
        ``qu_code``: true points in raster order each take the nearest that is left, as the public
        code of Qu 2020 does.  ``qu_paper``: of the points nearest to a true one only the closest
        counts, as its text says.  ``many``: any point within reach of a true one counts (Tian
        2022 taken literally), which inflates precision; a diagnostic.

    Raises
    ------
    ValueError
        If `radius` is not positive, or `match` unknown.
    """
    true, pred = as_points(true_xy), as_points(pred_xy)
    if not radius > 0:
        raise ValueError(f"radius must be positive, not {radius}")
    if match not in _MATCHES:
        raise ValueError(f"match {match!r} is unknown; there are {', '.join(_MATCHES)}")
    i, j, d = pairs_within(true, pred, radius)
    rows = _MATCHES[match](true, i, j, d, radius)
    found = len(np.unique(i)) if match == "many" else len(rows)
    return DetectionCounts(
        tp=len(rows),
        fp=len(pred) - len(rows),
        fn=len(true) - found,
        distance=float(d[rows].sum()),
        distance_squared=float((d[rows] ** 2).sum()),
    )


def as_points(xy: ArrayLike) -> Floats:
    points = np.asarray(xy, np.float64)
    return points.reshape(-1, 2) if points.size == 0 or points.ndim == 1 else points


def pairs_within(true: Floats, pred: Floats, radius: float) -> tuple[Ints, Ints, Floats]:
    """All pairs (true i, predicted j) at most `radius` apart, and their distances; by i, then j."""
    if not len(true) or not len(pred):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    near = cKDTree(true).sparse_distance_matrix(cKDTree(pred), radius, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"]))
    return near["i"][order].astype(np.int64), near["j"][order].astype(np.int64), near["v"][order]


def _hungarian(true: Floats, i: Ints, j: Ints, d: Floats, radius: float) -> Ints:
    # A weight above the sum of all distances makes one more pair worth any detour.
    return heaviest(i, j, radius * (1 + min(len(np.unique(i)), len(np.unique(j)))) + 1.0 - d)


def _qu_code(true: Floats, i: Ints, j: Ints, d: Floats, radius: float) -> Ints:
    taken: set[int] = set()
    rows: list[int] = []
    begin, end = (
        np.searchsorted(i, np.arange(len(true)), "left"),
        np.searchsorted(i, np.arange(len(true)), "right"),
    )
    for point in np.lexsort((true[:, 0], true[:, 1])):
        free = [
            (d[row], row)
            for row in range(begin[point], end[point])
            if d[row] < radius and j[row] not in taken
        ]
        if free:
            row = min(free)[1]
            taken.add(int(j[row]))
            rows.append(row)
    return np.array(rows, np.int64)


def _qu_paper(true: Floats, i: Ints, j: Ints, d: Floats, radius: float) -> Ints:
    rows = _nearest(true, i, j, d, radius)
    return rows[firsts(i[rows], d[rows])]


def _nearest(true: Floats, i: Ints, j: Ints, d: Floats, radius: float) -> Ints:
    """Each prediction's nearest true point."""
    return firsts(j, d)


_MATCHES: dict[str, Callable[[Floats, Ints, Ints, Floats, float], Ints]] = {
    "hungarian": _hungarian,
    "qu_code": _qu_code,
    "qu_paper": _qu_paper,
    "many": _nearest,
}

"""Label maps and points to numbers.

Every score is computed from counts that add up, so that both ways of averaging are at hand:
*micro* (sum the counts over images, then take the ratio) and *macro* (take the ratio of each
image, then `mean_over_images`).  Which one a published number is decides what it may be compared
with, so name it wherever one is printed.

Label maps are integer arrays with 0 for background; a label is one instance, connected or not.
All scores of a pair of maps come from one sparse table of intersections.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Match = Literal["hungarian", "qu_code", "qu_paper", "many"]
_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


# --- Counts that add up


@dataclass(frozen=True, slots=True)
class Ratio:
    """A sum over a sum; adding two pools them."""

    part: float = 0.0
    whole: float = 0.0

    def __add__(self, other: Ratio) -> Ratio:
        return Ratio(self.part + other.part, self.whole + other.whole)

    @property
    def value(self) -> float:
        """part / whole, NaN if there is nothing."""
        return self.part / self.whole if self.whole else math.nan


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


DSB_THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""IoU thresholds of the Kaggle 2018 Data Science Bowl."""


@dataclass(frozen=True, slots=True)
class InstanceCounts:
    """What the scores of instances are ratios of; adding two pools images.

    Parameters
    ----------
    true, predicted
        Numbers of instances.
    aji, aji_plus, aji_qu_code, aji_lou
        Four readings of the aggregated Jaccard index, see `instances`.
    dice_true, dice_predicted
        The two halves of the object Dice, weighted by area.
    ncs
        Nucleus coverage score (Feng 2019, eq. 4).
    hits
        Pairs with an IoU above each of `DSB_THRESHOLDS`; the first counts for PQ.
    iou
        Sum of IoU over the pairs above .5.
    """

    true: int = 0
    predicted: int = 0
    aji: Ratio = Ratio()
    aji_plus: Ratio = Ratio()
    aji_qu_code: Ratio = Ratio()
    aji_lou: Ratio = Ratio()
    dice_true: Ratio = Ratio()
    dice_predicted: Ratio = Ratio()
    ncs: Ratio = Ratio()
    hits: tuple[int, ...] = (0,) * len(DSB_THRESHOLDS)
    iou: float = 0.0

    def __add__(self, other: InstanceCounts) -> InstanceCounts:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        sums["hits"] = tuple(a + b for a, b in zip(self.hits, other.hits, strict=True))
        return InstanceCounts(**sums)

    @property
    def dq(self) -> float:
        """Detection quality, TP / (TP + FP / 2 + FN / 2) at IoU > .5; NaN without instances."""
        return Ratio(2 * self.hits[0], self.true + self.predicted).value

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the true positives, 0 if there are none."""
        return self.iou / self.hits[0] if self.hits[0] else 0.0

    @property
    def pq(self) -> float:
        """Panoptic quality (Kirillov 2019; Graham 2019, eq. 8)."""
        return self.dq * self.sq

    def ap(self, threshold: int) -> float:
        """TP / (TP + FP + FN) at the IoU of ``DSB_THRESHOLDS[threshold]``."""
        tp = self.hits[threshold]
        return Ratio(tp, self.true + self.predicted - tp).value

    @property
    def dsb_map(self) -> float:
        """Mean of `ap` over all thresholds (Feng 2019, eq. 2); not COCO's AP, nothing is ranked."""
        return float(np.mean([self.ap(k) for k in range(len(self.hits))]))

    @property
    def precision(self) -> float:
        """At IoU > .5."""
        return self.detection.precision

    @property
    def recall(self) -> float:
        """At IoU > .5."""
        return self.detection.recall

    @property
    def detection(self) -> DetectionCounts:
        """Pairs with IoU > .5 as found, without distances."""
        tp = self.hits[0]
        return DetectionCounts(tp, self.predicted - tp, self.true - tp)

    @property
    def object_dice(self) -> float:
        """Qu 2020, eq. 12, as its code and GlaS have it; 0 if only one side has instances."""
        if self.true and self.predicted:
            return (self.dice_true.value + self.dice_predicted.value) / 2
        return 0.0 if self.true or self.predicted else math.nan

    def scores(self) -> dict[str, float]:
        """All scores by name; the AJI of two empty maps is 1, by convention."""
        aji = {
            name: 1.0 if self.true == self.predicted == 0 else getattr(self, name).value
            for name in ("aji", "aji_plus", "aji_qu_code", "aji_lou")
        }
        return aji | {
            "object_dice": self.object_dice,
            "pq": self.pq,
            "dq": self.dq,
            "sq": self.sq,
            "dsb_map": self.dsb_map,
            "ncs": self.ncs.value,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.detection.f1,
        }


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """The 2 x 2 confusion of pixels, ``n_ab`` of true class a predicted b; adding two pools.

    Pooled over a test set it gives the pixel metrics of MCF (2022), whose "IoU" is that of the
    foreground.
    """

    n00: int = 0
    n01: int = 0
    n10: int = 0
    n11: int = 0

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.n00 + other.n00,
            self.n01 + other.n01,
            self.n10 + other.n10,
            self.n11 + other.n11,
        )

    @property
    def accuracy(self) -> float:
        """Share of pixels that are right (PA)."""
        return Ratio(self.n00 + self.n11, self.n00 + self.n01 + self.n10 + self.n11).value

    @property
    def mean_accuracy(self) -> float:
        """Mean over both classes of the share that is right (MPA)."""
        background = Ratio(self.n00, self.n00 + self.n01).value
        return (background + Ratio(self.n11, self.n10 + self.n11).value) / 2

    @property
    def iou(self) -> float:
        """Of the foreground."""
        return Ratio(self.n11, self.n11 + self.n10 + self.n01).value

    @property
    def iou_background(self) -> float:
        return Ratio(self.n00, self.n00 + self.n10 + self.n01).value

    @property
    def weighted_iou(self) -> float:
        """IoU of both classes, weighted by how frequent each truly is (FWIoU)."""
        parts = [
            (self.n00 + self.n01, self.iou_background),
            (self.n10 + self.n11, self.iou),
        ]
        there = [(weight, iou) for weight, iou in parts if weight]
        return Ratio(sum(w * iou for w, iou in there), sum(w for w, _ in there)).value

    @property
    def dice(self) -> float:
        """Of the foreground; the same as pixel F1, and as 2 IoU / (1 + IoU)."""
        return Ratio(2 * self.n11, 2 * self.n11 + self.n10 + self.n01).value

    def scores(self) -> dict[str, float]:
        """All scores by name."""
        return {
            "pixel_accuracy": self.accuracy,
            "mean_pixel_accuracy": self.mean_accuracy,
            "iou": self.iou,
            "iou_background": self.iou_background,
            "weighted_iou": self.weighted_iou,
            "dice": self.dice,
        }


def mean_over_images(values: Sequence[float]) -> float:
    """The macro average; images for which a score does not exist (NaN) are left out."""
    there = [value for value in values if not math.isnan(value)]
    return math.fsum(there) / len(there) if there else math.nan


# --- Points


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
    true, pred = _points(true_xy), _points(pred_xy)
    if not radius > 0:
        raise ValueError(f"radius must be positive, not {radius}")
    if match not in _MATCHES:
        raise ValueError(f"match {match!r} is unknown; there are {', '.join(_MATCHES)}")
    i, j, d = _within(true, pred, radius)
    rows = _MATCHES[match](true, i, j, d, radius)
    found = len(np.unique(i)) if match == "many" else len(rows)
    return DetectionCounts(
        tp=len(rows),
        fp=len(pred) - len(rows),
        fn=len(true) - found,
        distance=float(d[rows].sum()),
        distance_squared=float((d[rows] ** 2).sum()),
    )


def _points(xy: ArrayLike) -> _Floats:
    points = np.asarray(xy, np.float64)
    return points.reshape(-1, 2) if points.size == 0 or points.ndim == 1 else points


def _within(true: _Floats, pred: _Floats, radius: float) -> tuple[_Ints, _Ints, _Floats]:
    """All pairs (true i, predicted j) at most `radius` apart, and their distances; by i, then j."""
    if not len(true) or not len(pred):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    near = cKDTree(true).sparse_distance_matrix(cKDTree(pred), radius, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"]))
    return near["i"][order].astype(np.int64), near["j"][order].astype(np.int64), near["v"][order]


def _hungarian(true: _Floats, i: _Ints, j: _Ints, d: _Floats, radius: float) -> _Ints:
    # A weight above the sum of all distances makes one more pair worth any detour.
    return _heaviest(i, j, radius * (1 + min(len(np.unique(i)), len(np.unique(j)))) + 1.0 - d)


def _qu_code(true: _Floats, i: _Ints, j: _Ints, d: _Floats, radius: float) -> _Ints:
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


def _qu_paper(true: _Floats, i: _Ints, j: _Ints, d: _Floats, radius: float) -> _Ints:
    rows = _nearest(true, i, j, d, radius)
    return rows[_firsts(i[rows], d[rows])]


def _nearest(true: _Floats, i: _Ints, j: _Ints, d: _Floats, radius: float) -> _Ints:
    """Each prediction's nearest true point."""
    return _firsts(j, d)


_MATCHES: dict[str, Callable[[_Floats, _Ints, _Ints, _Floats, float], _Ints]] = {
    "hungarian": _hungarian,
    "qu_code": _qu_code,
    "qu_paper": _qu_paper,
    "many": _nearest,
}


def _firsts(group: _Ints, key: NDArray[np.float64] | _Ints) -> _Ints:
    """Row of the smallest `key` of each group, the first of equal ones; by group."""
    order = np.lexsort((key, group))
    return order[np.flatnonzero(np.diff(group[order], prepend=-1))].astype(np.int64)


def _heaviest(i: _Ints, j: _Ints, weight: _Floats) -> _Ints:
    """Rows of the one-to-one choice among pairs (i, j) with the largest total weight (> 0).

    Solved one connected part of the graph at a time; these are tiny, which is what makes a whole
    slide cheap.
    """
    if not len(i):
        return np.empty(0, np.int64)
    left, right = int(i.max()) + 1, int(j.max()) + 1
    graph = coo_array((np.ones(len(i), np.bool_), (i, left + j)), (left + right, left + right))
    part = connected_components(graph, directed=False)[1][i]
    order = np.argsort(part, kind="stable")
    chosen: list[_Ints] = []
    for rows in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        if len(rows) == 1:
            chosen.append(rows)
            continue
        a, at_a = np.unique(i[rows], return_inverse=True)
        b, at_b = np.unique(j[rows], return_inverse=True)
        dense = np.zeros((len(a), len(b)))
        dense[at_a, at_b] = weight[rows]
        row_of = np.full(dense.shape, -1, np.int64)
        row_of[at_a, at_b] = rows
        picked = row_of[linear_sum_assignment(dense, maximize=True)]
        chosen.append(picked[picked >= 0])
    return np.concatenate(chosen).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision and recall at each distinct score, falling: all at least `threshold` count."""

    threshold: _Floats
    precision: _Floats
    recall: _Floats

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
    true, pred = _points(true_xy), _points(pred_xy)
    i, j, d = _within(pred, true, radius)
    nearest = np.lexsort((d, i))
    targets = np.split(j[nearest], np.searchsorted(i, np.arange(1, len(pred)))) if len(pred) else []
    holder: dict[int, int] = {}
    hits = np.zeros(len(pred), np.bool_)
    for point in np.argsort(-np.asarray(score, np.float64), kind="stable"):
        hits[point] = _augment(int(point), targets, holder)
    return hits


def _augment(point: int, targets: list[_Ints], holder: dict[int, int]) -> bool:
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


# --- Instances


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """How two label maps lie on each other; labels are renumbered from 0, in rising order.

    Parameters
    ----------
    true_area, pred_area
        ``[m]`` and ``[n]`` int64, px.
    i, j
        ``[k]`` int64, true and predicted instance of each pair that meets, by i, then j.
    common
        ``[k]`` int64, px of their intersection.
    """

    true_area: _Ints
    pred_area: _Ints
    i: _Ints
    j: _Ints
    common: _Ints

    @property
    def union(self) -> _Ints:
        """``[k]`` int64, px."""
        return self.true_area[self.i] + self.pred_area[self.j] - self.common

    @property
    def iou(self) -> _Floats:
        """``[k]`` float64."""
        return np.asarray(self.common / self.union, np.float64)


def overlaps(true: NDArray[np.integer], pred: NDArray[np.integer]) -> Overlaps:
    """The table of intersections of two label maps of one shape.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if true.shape != pred.shape:
        raise ValueError(f"label maps differ in shape: {true.shape} and {pred.shape}")
    (a, m), (b, n) = _renumbered(true), _renumbered(pred)
    pair, common = np.unique(a * (n + 1) + b, return_counts=True)
    i, j = pair // (n + 1) - 1, pair % (n + 1) - 1
    both = (i >= 0) & (j >= 0)
    return Overlaps(
        true_area=np.bincount(a, minlength=m + 1)[1:],
        pred_area=np.bincount(b, minlength=n + 1)[1:],
        i=i[both],
        j=j[both],
        common=common[both].astype(np.int64),
    )


def _renumbered(labels: NDArray[np.integer]) -> tuple[_Ints, int]:
    """The flat map with labels 1..n, and n."""
    flat = labels.reshape(-1)
    there = np.unique(flat)
    there = there[there != 0]
    if len(there) and there[0] < 0:
        raise ValueError("labels must not be negative; take unknown pixels out first")
    return np.where(flat != 0, np.searchsorted(there, flat) + 1, 0).astype(np.int64), len(there)


def instances(true: NDArray[np.integer], pred: NDArray[np.integer]) -> InstanceCounts:
    """Compare two label maps of one shape.

    The Jaccard indices differ in the prediction j that a true instance i is held against, and in
    which predictions are charged in full:

    ===============  ===================================  ==========================================
    `aji`            largest IoU, may be used again       those never chosen (Kumar 2017)
    `aji_plus`       one to one, largest sum of IoU       those not chosen (Graham 2019)
    `aji_qu_code`    as `aji`, but an instance that was   those never chosen; the first counts as
                     missed is held against the first     chosen (public code of Qu 2020)
    `aji_lou`        largest intersection                 those that meet no instance (Lou 2022)
    ===============  ===================================  ==========================================

    Raises
    ------
    ValueError
        If the shapes differ, or a label is negative.
    """
    table = overlaps(true, pred)
    iou, i, j = table.iou, table.i, table.j
    m, n = len(table.true_area), len(table.pred_area)
    best = _firsts(i, -iou)
    largest = _firsts(i, -table.common)
    matched = _heaviest(i, j, iou)
    best_iou = np.zeros(m)
    best_iou[i[best]] = iou[best]
    return InstanceCounts(
        true=m,
        predicted=n,
        aji=_aji(table, best, j[best]),
        aji_plus=_aji(table, matched, j[matched]),
        aji_qu_code=_aji_qu_code(table, best),
        aji_lou=_aji(table, largest, j),
        dice_true=_object_dice(i, table, table.true_area),
        dice_predicted=_object_dice(j, table, table.pred_area),
        ncs=Ratio(float(table.true_area @ best_iou), float(table.true_area.sum())),
        hits=tuple(int((iou > t).sum()) for t in DSB_THRESHOLDS),
        iou=float(iou[iou > 0.5].sum()),
    )


def _aji(table: Overlaps, rows: _Ints, used: _Ints) -> Ratio:
    """From the chosen pairs `rows`, and the predictions `used` that are not charged."""
    missed = np.ones(len(table.true_area), np.bool_)
    missed[table.i[rows]] = False
    charged = np.ones(len(table.pred_area), np.bool_)
    charged[used] = False
    whole = table.union[rows].sum() + table.true_area[missed].sum() + table.pred_area[charged].sum()
    return Ratio(float(table.common[rows].sum()), float(whole))


def _aji_qu_code(table: Overlaps, best: _Ints) -> Ratio:
    missed = len(table.true_area) - len(best)
    used = table.j[best]
    if not missed or not len(table.pred_area):
        return _aji(table, best, used)
    plain = _aji(table, best, np.append(used, 0))
    return plain + Ratio(0.0, float(missed * table.pred_area[0]))


def _object_dice(side: _Ints, table: Overlaps, area: _Ints) -> Ratio:
    """Dice of each instance of one side with what it has most in common with, by its area."""
    rows = _firsts(side, -table.common)
    sizes = table.true_area[table.i[rows]] + table.pred_area[table.j[rows]]
    dice = 2 * table.common[rows] / sizes
    return Ratio(float(area[side[rows]] @ dice), float(area.sum()))


def instances_by_class(
    true: NDArray[np.integer],
    true_class: NDArray[np.integer],
    pred: NDArray[np.integer],
    pred_class: NDArray[np.integer],
    classes: int,
) -> tuple[InstanceCounts, ...]:
    """`instances` of each class alone; the mean of their PQ, pooled, is mPQ+ (CoNIC 2022).

    Parameters
    ----------
    true_class, pred_class
        Class of each label, indexed by label; entry 0 is not looked at.
    """
    return tuple(
        instances(
            np.where(true_class[true] == c, true, 0), np.where(pred_class[pred] == c, pred, 0)
        )
        for c in range(classes)
    )


def pixels(true: NDArray[np.generic], pred: NDArray[np.generic]) -> PixelCounts:
    """Compare masks, or label maps by what is not 0.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if true.shape != pred.shape:
        raise ValueError(f"masks differ in shape: {true.shape} and {pred.shape}")
    a, b = true.reshape(-1).astype(np.bool_), pred.reshape(-1).astype(np.bool_)
    n11, t1, p1 = (int(np.count_nonzero(mask)) for mask in (a & b, a, b))
    return PixelCounts(n00=a.size - t1 - p1 + n11, n01=p1 - n11, n10=t1 - n11, n11=n11)


# --- Between methods


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of two methods on the same images.

    `difference` is the mean of first minus second, `low` and `high` its 95 % interval by
    resampling images, `t_test` and `wilcoxon` the two-sided P-values of the paired tests.
    """

    images: int
    difference: float
    low: float
    high: float
    t_test: float
    wilcoxon: float


def compare(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> Comparison:
    """Paired tests of two methods' scores ``[n]``, one an image.

    Images without a score from either are left out.

    Raises
    ------
    ValueError
        If the numbers of images differ, or fewer than two are left.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.size} scores cannot be paired with {b.size}")
    difference = (a - b)[~np.isnan(a - b)]
    if len(difference) < 2:
        raise ValueError("two methods cannot be compared on fewer than two images")
    low, high = bootstrap_interval(difference, seed=seed)
    equal = not difference.any()
    return Comparison(
        images=len(difference),
        difference=float(difference.mean()),
        low=low,
        high=high,
        t_test=1.0 if equal else float(stats.ttest_1samp(difference, 0.0).pvalue),
        wilcoxon=1.0 if equal else float(stats.wilcoxon(difference).pvalue),
    )


def bootstrap_interval(
    values: ArrayLike, *, level: float = 0.95, repeats: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean over images, by drawing images with replacement."""
    there = np.asarray(values, np.float64)
    there = there[~np.isnan(there)]
    if not len(there):
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(0, len(there), (repeats, len(there)))
    low, high = np.quantile(there[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

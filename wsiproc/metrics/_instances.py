"""Label maps against label maps, from one sparse table of intersections."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wsiproc.metrics._counts import NOTHING, Ratio
from wsiproc.metrics._matching import Floats, Ints, firsts, heaviest
from wsiproc.metrics._points import DetectionCounts

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
    aji: Ratio = NOTHING
    aji_plus: Ratio = NOTHING
    aji_qu_code: Ratio = NOTHING
    aji_lou: Ratio = NOTHING
    dice_true: Ratio = NOTHING
    dice_predicted: Ratio = NOTHING
    ncs: Ratio = NOTHING
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

    true_area: Ints
    pred_area: Ints
    i: Ints
    j: Ints
    common: Ints

    @property
    def union(self) -> Ints:
        """``[k]`` int64, px."""
        return self.true_area[self.i] + self.pred_area[self.j] - self.common

    @property
    def iou(self) -> Floats:
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


def _renumbered(labels: NDArray[np.integer]) -> tuple[Ints, int]:
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
    best = firsts(i, -iou)
    largest = firsts(i, -table.common)
    matched = heaviest(i, j, iou)
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


def _aji(table: Overlaps, rows: Ints, used: Ints) -> Ratio:
    """From the chosen pairs `rows`, and the predictions `used` that are not charged."""
    missed = np.ones(len(table.true_area), np.bool_)
    missed[table.i[rows]] = False
    charged = np.ones(len(table.pred_area), np.bool_)
    charged[used] = False
    whole = table.union[rows].sum() + table.true_area[missed].sum() + table.pred_area[charged].sum()
    return Ratio(float(table.common[rows].sum()), float(whole))


def _aji_qu_code(table: Overlaps, best: Ints) -> Ratio:
    missed = len(table.true_area) - len(best)
    used = table.j[best]
    if not missed or not len(table.pred_area):
        return _aji(table, best, used)
    plain = _aji(table, best, np.append(used, 0))
    return plain + Ratio(0.0, float(missed * table.pred_area[0]))


def _object_dice(side: Ints, table: Overlaps, area: Ints) -> Ratio:
    """Dice of each instance of one side with what it has most in common with, by its area."""
    rows = firsts(side, -table.common)
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

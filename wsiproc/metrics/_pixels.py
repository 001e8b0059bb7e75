"""Masks against masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.metrics._counts import Ratio


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

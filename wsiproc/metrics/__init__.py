"""Label maps and points to numbers.

Every score is computed from counts that add up, so that both ways of averaging are at hand:
*micro* (sum the counts over images, then take the ratio) and *macro* (take the ratio of each
image, then `mean_over_images`).  Which one a published number is decides what it may be compared
with, so name it wherever one is printed.

Label maps are integer arrays with 0 for background; a label is one instance, connected or not.
All scores of a pair of maps come from one sparse table of intersections.
"""

from wsiproc.metrics._comparison import Comparison, bootstrap_interval, compare
from wsiproc.metrics._counts import Ratio, mean_over_images
from wsiproc.metrics._curve import Curve, precision_recall, ranked_hits
from wsiproc.metrics._instances import (
    DSB_THRESHOLDS,
    InstanceCounts,
    Overlaps,
    instances,
    instances_by_class,
    overlaps,
)
from wsiproc.metrics._pixels import PixelCounts, pixels
from wsiproc.metrics._points import DetectionCounts, Match, detection, pairs_within

__all__ = [
    "DSB_THRESHOLDS",
    "Comparison",
    "Curve",
    "DetectionCounts",
    "InstanceCounts",
    "Match",
    "Overlaps",
    "PixelCounts",
    "Ratio",
    "bootstrap_interval",
    "compare",
    "detection",
    "instances",
    "instances_by_class",
    "mean_over_images",
    "overlaps",
    "pairs_within",
    "pixels",
    "precision_recall",
    "ranked_hits",
]

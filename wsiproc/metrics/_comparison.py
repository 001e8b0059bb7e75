"""One method against another, image by image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


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

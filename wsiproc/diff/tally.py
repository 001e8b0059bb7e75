"""What is counted of a comparison: of a region, of a slide, of many slides."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsiproc.metrics import Ratio


@dataclass(frozen=True, slots=True)
class Spread:
    """Sums over pairs of how a measurement of B differs from A's; adding two pools them.

    Parameters
    ----------
    pairs
        How many.
    of_a
        Sum of A's values.
    difference, squared
        Sums of B minus A, and of its square.
    """

    pairs: int = 0
    of_a: float = 0.0
    difference: float = 0.0
    squared: float = 0.0

    @classmethod
    def of(cls, a: NDArray[np.floating], b: NDArray[np.floating]) -> Self:
        """Of the values of both nuclei of each pair."""
        one, two = np.asarray(a, np.float64), np.asarray(b, np.float64)
        apart = two - one
        return cls(len(one), float(one.sum()), float(apart.sum()), float((apart**2).sum()))

    def __add__(self, other: Spread) -> Spread:
        return Spread(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def bias(self) -> float:
        """Mean of B minus A; NaN without pairs."""
        return self.difference / self.pairs if self.pairs else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of B minus A (of the population); NaN without pairs."""
        if not self.pairs:
            return math.nan
        return math.sqrt(max(0.0, self.squared / self.pairs - self.bias**2))

    @property
    def limits_of_agreement(self) -> tuple[float, float]:
        """Where 95 % of the differences lie if they are normal (Bland and Altman 1986)."""
        return self.bias - 1.96 * self.sd, self.bias + 1.96 * self.sd

    @property
    def change(self) -> float:
        """The bias as a share of A's mean; NaN where that is nothing."""
        return self.difference / self.of_a if self.of_a else math.nan

    def to_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        low, high = self.limits_of_agreement
        return {
            "pairs": self.pairs,
            "mean_a": number(self.of_a / self.pairs if self.pairs else math.nan),
            "bias": number(self.bias),
            "change": number(self.change),
            "agreement_low": number(low),
            "agreement_high": number(high),
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """Two results of one slide, or of one part of it, in numbers; adding two pools them.

    Parameters
    ----------
    a, b
        Nuclei of each.
    matched, moved, reclassified
        Pairs, see `difference.CHANGES`.
    identical
        Pairs of one class with the same outline, or the same point, to the last bit.
    halves
        Pairs whose outlines have an IoU above one half, and
    iou
        the sum of that.
    common, area_a, area_b
        Area that both nuclei of a pair cover, and of all nuclei of each result, µm²; 0 for points.
    area_um2, score
        How these differ in pairs.
    distance_um
        From A's centroids to B's, as if A's were 0.
    """

    a: int = 0
    b: int = 0
    matched: int = 0
    moved: int = 0
    reclassified: int = 0
    identical: int = 0
    halves: int = 0
    iou: float = 0.0
    common: float = 0.0
    area_a: float = 0.0
    area_b: float = 0.0
    area_um2: Spread = Spread()
    score: Spread = Spread()
    distance_um: Spread = Spread()

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    @property
    def pairs(self) -> int:
        """Nuclei that both have."""
        return self.matched + self.moved + self.reclassified

    @property
    def gained(self) -> int:
        """Nuclei that only B has."""
        return self.b - self.pairs

    @property
    def lost(self) -> int:
        """Nuclei that only A has."""
        return self.a - self.pairs

    @property
    def changed(self) -> int:
        """All that is not matched."""
        return self.moved + self.reclassified + self.gained + self.lost

    @property
    def f1(self) -> float:
        """2 pairs / (a + b); NaN where there is no nucleus at all."""
        return Ratio(2 * self.pairs, self.a + self.b).value

    @property
    def overlap(self) -> float:
        """Area that pairs have in common over the area of all nuclei, as in AJI+; NaN of points."""
        return Ratio(self.common, self.area_a + self.area_b - self.common).value

    @property
    def mean_iou(self) -> float:
        """Of the pairs above one half: the SQ of panoptic quality; NaN without any."""
        return Ratio(self.iou, self.halves).value

    @property
    def count_change(self) -> float:
        """(b - a) / a; NaN where A has none."""
        return Ratio(self.b - self.a, self.a).value

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        outlined = self.area_a + self.area_b > 0
        return {
            "nuclei_a": self.a,
            "nuclei_b": self.b,
            "matched": self.matched,
            "moved": self.moved,
            "reclassified": self.reclassified,
            "gained": self.gained,
            "lost": self.lost,
            "identical": self.identical,
            "count_change": number(self.count_change),
            "f1": number(self.f1),
            "overlap": number(self.overlap),
            "mean_iou": number(self.mean_iou),
            "distance_um": number(self.distance_um.bias),
            "area_um2": self.area_um2.to_dict() if outlined else None,
            "score": self.score.to_dict(),
        }


def number(value: float) -> float | None:
    """Six digits after the point; None for NaN."""
    return None if math.isnan(value) else round(float(value), 6)

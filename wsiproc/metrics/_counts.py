"""Sums over sums, and the mean of what they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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


NOTHING = Ratio()


def mean_over_images(values: Sequence[float]) -> float:
    """The macro average; images for which a score does not exist (NaN) are left out."""
    there = [value for value in values if not math.isnan(value)]
    return math.fsum(there) / len(there) if there else math.nan

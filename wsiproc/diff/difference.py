"""What became of each nucleus of two results, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wsiproc.diff.pairing import SAME_IOU, Floats, Ints, Pairs
from wsiproc.diff.tally import Spread, Tally
from wsiproc.results.stored import StoredResult

MATCHED, MOVED, RECLASSIFIED, GAINED, LOST = range(5)
CHANGES: Final = ("matched", "moved", "reclassified", "gained", "lost")
"""What can become of a nucleus; the index of each is its code.

``matched``: both have it, of one class, in its place.  ``moved``: both have it by its centroid, but
the outlines share no more than half of what they cover (of points: the centroids are more than half
the radius apart).  ``reclassified``: both have it, of different classes.  ``gained``: only B has
it.  ``lost``: only A has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of two results, by row of its file.

    Parameters
    ----------
    x, y
        ``[n]`` centroids, µm.
    class_index
        ``[n]`` int16 into `Difference.classes`.
    score
        ``[n]`` float32.
    area
        ``[n]`` float32, µm²; 0 of points.
    change
        ``[n]`` int8, index into `CHANGES`.
    partner
        ``[n]`` int64, row of the same nucleus in the other result, or -1.
    """

    x: Floats
    y: Floats
    class_index: NDArray[np.int16]
    score: NDArray[np.float32]
    area: NDArray[np.float32]
    change: NDArray[np.int8]
    partner: Ints

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """What became of each nucleus; see `comparing.compare`.

    Parameters
    ----------
    a, b
        The results.
    radius_um
        As given.
    outlined
        Whether outlines were compared; centroids otherwise.
    classes
        Names of the classes of both.
    classes_compared
        Whether they were; not where a model tells but one class, unless both tell the same one.
    side_a, side_b
        Their nuclei.
    pairs
        Nuclei that both have, by A's rows.
    """

    a: StoredResult
    b: StoredResult
    radius_um: float
    outlined: bool
    classes: tuple[str, ...]
    classes_compared: bool
    side_a: Side
    side_b: Side
    pairs: Pairs

    def tally(self) -> Tally:
        """In numbers."""
        lost = np.flatnonzero(self.side_a.change == LOST)
        gained = np.flatnonzero(self.side_b.change == GAINED)
        return self._counted(self.pairs, lost, gained)

    def tallies(self, of_a: Ints, of_b: Ints, parts: int) -> list[Tally]:
        """In numbers for each of some parts of the slide.

        Parameters
        ----------
        of_a, of_b
            ``[n]`` the part in which each nucleus lies, -1 for none.  A pair counts with its
            nucleus of A.
        parts
            How many there are.
        """
        lost = np.flatnonzero(self.side_a.change == LOST)
        gained = np.flatnonzero(self.side_b.change == GAINED)
        each = (
            _grouped(of_a[self.pairs.a], parts),
            _grouped(of_a[lost], parts),
            _grouped(of_b[gained], parts),
        )
        return [
            self._counted(self.pairs.take(pair), lost[gone], gained[new])
            for pair, gone, new in zip(*each, strict=True)
        ]

    def _counted(self, pairs: Pairs, lost: Ints, gained: Ints) -> Tally:
        a, b = self.side_a, self.side_b
        became = np.bincount(a.change[pairs.a], minlength=len(CHANGES))
        half = pairs.iou > SAME_IOU
        still = pairs.iou == 1.0 if self.outlined else pairs.distance == 0.0
        if self.classes_compared:
            still &= a.class_index[pairs.a] == b.class_index[pairs.b]
        return Tally(
            a=len(pairs) + len(lost),
            b=len(pairs) + len(gained),
            matched=int(became[MATCHED]),
            moved=int(became[MOVED]),
            reclassified=int(became[RECLASSIFIED]),
            identical=int(still.sum()),
            halves=int(half.sum()),
            iou=float(pairs.iou[half].sum()),
            common=float(pairs.common.sum()),
            area_a=_area(a, pairs.a) + _area(a, lost),
            area_b=_area(b, pairs.b) + _area(b, gained),
            area_um2=Spread.of(a.area[pairs.a], b.area[pairs.b]),
            score=Spread.of(a.score[pairs.a], b.score[pairs.b]),
            distance_um=Spread.of(np.zeros(len(pairs)), pairs.distance),
        )

    def confusion(self) -> Ints:
        """``[c + 1, c + 1]`` pairs by class in A and in B; last: nuclei without a partner."""
        a, b, n = self.side_a, self.side_b, len(self.classes)
        table = np.zeros((n + 1, n + 1), np.int64)
        pair = (a.class_index[self.pairs.a], b.class_index[self.pairs.b])
        np.add.at(table, pair, 1)
        table[:n, n] = np.bincount(a.class_index[a.change == LOST], minlength=n)
        table[n, :n] = np.bincount(b.class_index[b.change == GAINED], minlength=n)
        return table


def _area(side: Side, rows: Ints) -> float:
    return float(side.area[rows].sum(dtype=np.float64))


def _grouped(part: Ints, parts: int) -> list[Ints]:
    """Where each part stands, in order."""
    order = np.argsort(part, kind="stable")
    edges = np.searchsorted(part[order], np.arange(parts + 1))
    return [order[first:end] for first, end in pairwise(edges.tolist())]

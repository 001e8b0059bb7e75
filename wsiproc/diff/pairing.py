"""Which nucleus of one result is which of the other.

Two outlines are one nucleus where their intersection over union exceeds one half: outlines of one
result don't overlap, so no outline has two such partners.  Of the nuclei that are left, and of
those that are points, two are one where each is the nearest of the other's kind and they lie within
a radius; this is said again of the nuclei that are left then, until no two of them are in reach.

Every decision rests on the nuclei around it alone, ties are broken by place, and neither result
is preferred: B against A gives the same pairs as A against B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.metrics import pairs_within

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SAME_IOU = 0.5
"""Outlines above it are of one nucleus."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Nuclei of one result in one place.

    Parameters
    ----------
    row
        ``[n]`` int64, their rows in the result.
    x, y
        ``[n]`` centroids, µm.
    outline
        ``[n]`` valid shapely polygons in µm, or None for points.
    """

    row: Ints
    x: Floats
    y: Floats
    outline: NDArray[np.object_] | None

    def take(self, keep: Bools) -> Place:
        """Those that are wanted."""
        outline = None if self.outline is None else self.outline[keep]
        return Place(self.row[keep], self.x[keep], self.y[keep], outline)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of a nucleus of A and one of B; see `candidates` and `settled`.

    Parameters
    ----------
    a, b
        ``[k]`` int64, rows in their results.
    distance
        ``[k]`` between centroids, µm.
    middle_x, middle_y
        ``[k]`` twice the point between them, µm: what breaks ties.
    common
        ``[k]`` area that both outlines cover, µm²; 0 for points.
    iou
        ``[k]`` intersection over union; 0 for points.
    """

    a: Ints
    b: Ints
    distance: Floats
    middle_x: Floats
    middle_y: Floats
    common: Floats
    iou: Floats

    def __len__(self) -> int:
        return len(self.a)

    @classmethod
    def none(cls) -> Self:
        """No pairs."""
        ids, floats = np.empty(0, np.int64), np.empty(0)
        return cls(ids, ids, floats, floats, floats, floats, floats)

    def take(self, rows: Ints | Bools) -> Pairs:
        """Those that are wanted."""
        return Pairs(
            self.a[rows],
            self.b[rows],
            self.distance[rows],
            self.middle_x[rows],
            self.middle_y[rows],
            self.common[rows],
            self.iou[rows],
        )


def joined(parts: list[Pairs]) -> Pairs:
    """All pairs of many places."""
    parts = parts or [Pairs.none()]
    return Pairs(
        np.concatenate([p.a for p in parts]),
        np.concatenate([p.b for p in parts]),
        np.concatenate([p.distance for p in parts]),
        np.concatenate([p.middle_x for p in parts]),
        np.concatenate([p.middle_y for p in parts]),
        np.concatenate([p.common for p in parts]),
        np.concatenate([p.iou for p in parts]),
    )


def candidates(a: Place, b: Place, radius: float) -> Pairs:
    """All pairs that may be one nucleus: within `radius` µm, or outlines that share over half."""
    if not len(a.row) or not len(b.row):
        return Pairs.none()
    if a.outline is None or b.outline is None:
        one, other = (np.column_stack([place.x, place.y]) for place in (a, b))
        i, j, _ = pairs_within(one, other, radius)
        return _pairs(a, b, i, j, np.zeros(len(i)), np.zeros(len(i)))
    left, top, right, below = shapely.bounds(a.outline).T
    boxes = shapely.box(left - radius, top - radius, right + radius, below + radius)
    i, j = shapely.STRtree(b.outline).query(boxes)
    common, iou = np.zeros(len(i)), np.zeros(len(i))
    wanted = (_distance(a, b, i, j) <= radius) | (_most_iou(a.outline, b.outline, i, j) > SAME_IOU)
    i, j, common, iou = i[wanted], j[wanted], common[wanted], iou[wanted]
    common = _common(a.outline[i], b.outline[j])
    union = shapely.area(a.outline)[i] + shapely.area(b.outline)[j] - common
    np.divide(common, union, out=iou, where=union > 0)
    near = (iou > SAME_IOU) | (_distance(a, b, i, j) <= radius)
    return _pairs(a, b, i[near], j[near], common[near], iou[near])


def settled(pairs: Pairs, radius: float) -> Pairs:
    """One partner for a nucleus at most, of all candidates of two results; by A's rows.

    No two nuclei that are left without a partner are within `radius` of each other.
    """
    same = _mutual(pairs, np.flatnonzero(pairs.iou > SAME_IOU), by_iou=True)
    taken = np.isin(pairs.a, pairs.a[same]) | np.isin(pairs.b, pairs.b[same])
    near = _mutual(pairs, np.flatnonzero(~taken & (pairs.distance <= radius)), by_iou=False)
    chosen = np.concatenate([same, near])
    return pairs.take(chosen[np.argsort(pairs.a[chosen], kind="stable")])


def _mutual(pairs: Pairs, rows: Ints, *, by_iou: bool) -> Ints:
    """Of `rows` those pairs of which each is the best of the other; so on with what is left."""
    best = (-pairs.iou[rows],) if by_iou else ()
    # Two pairs with one nucleus in common have different middles: no tie is left.
    ties = (pairs.middle_x[rows], pairs.middle_y[rows], pairs.distance[rows])
    left = rows[np.lexsort((*ties, *best))]
    chosen = [np.empty(0, np.int64)]
    while len(left):
        a, b = pairs.a[left], pairs.b[left]
        mutual = _first(a) & _first(b)
        chosen.append(left[mutual])
        left = left[~(np.isin(a, a[mutual]) | np.isin(b, b[mutual]))]
    return np.concatenate(chosen)


def _first(values: Ints) -> Bools:
    """Where each value stands for the first time."""
    first = np.zeros(len(values), np.bool_)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _pairs(a: Place, b: Place, i: Ints, j: Ints, common: Floats, iou: Floats) -> Pairs:
    return Pairs(
        a.row[i],
        b.row[j],
        _distance(a, b, i, j),
        a.x[i] + b.x[j],
        a.y[i] + b.y[j],
        common,
        iou,
    )


def _distance(a: Place, b: Place, i: Ints, j: Ints) -> Floats:
    return np.asarray(np.hypot(a.x[i] - b.x[j], a.y[i] - b.y[j]), np.float64)


def _most_iou(a: NDArray[np.object_], b: NDArray[np.object_], i: Ints, j: Ints) -> Floats:
    """What the intersection over union can be at most, from boxes and areas alone."""
    one, other = shapely.bounds(a)[i], shapely.bounds(b)[j]
    edges = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    area_a, area_b = shapely.area(a)[i], shapely.area(b)[j]
    common = np.minimum(np.prod(np.maximum(edges, 0), axis=1), np.minimum(area_a, area_b))
    return np.asarray(common / (area_a + area_b - common), np.float64)


def _common(a: NDArray[np.object_], b: NDArray[np.object_]) -> Floats:
    """Areas of intersections; most outlines of two runs are the same to the last bit."""
    same = shapely.equals_exact(a, b, 0.0)
    common = shapely.area(a)
    differ = np.flatnonzero(~same)
    common[differ] = shapely.area(shapely.intersection(a[differ], b[differ]))
    return np.asarray(common, np.float64)

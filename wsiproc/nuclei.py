"""The nuclei of one tile or of one slide, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Y_BITS, X_BITS, CLASS_BITS = 27, 27, 8
"""How `nucleus_id` is packed, most significant first: reference y, reference x, class."""


def pack_id(
    ref_x: NDArray[np.int64], ref_y: NDArray[np.int64], class_id: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The int64 name of a nucleus: its reference pixel (global model px) and its class.

    No two nuclei of a slide and class share a reference pixel, so the name is unique, and it is
    the same whatever tile or region the nucleus was found in.
    """
    y, x, c = (np.asarray(a, np.int64) for a in (ref_y, ref_x, class_id))
    return (y << (X_BITS + CLASS_BITS)) | (x << CLASS_BITS) | c


@dataclass(frozen=True, slots=True, eq=False)
class Nuclei:
    """Columns of ``n`` nuclei; lengths in global model px, pixel centres at +.5.

    Parameters
    ----------
    ref_x, ref_y
        ``[n]`` int64, the reference pixel: the smallest (y, x) of the nucleus' mask, or its peak.
        It decides which tile owns the nucleus and is half of its name.
    x, y
        ``[n]`` float64, the centroid.
    class_id
        ``[n]`` int16, index into the card's classes.
    score
        ``[n]`` float32 in [0, 1].
    cut
        ``[n]`` bool, true where the nucleus reaches the edge of what its tile decoded (not the
        edge of the slide), so that it may not have been seen whole.
    ring
        ``[v, 2]`` float64, the outlines' vertices (x, y), one nucleus after the other, each ring
        counter-clockwise in numbers, starting at its smallest (y, x), not closed.  None for
        points.
    ring_start
        ``[n + 1]`` int64, where each nucleus' vertices begin in `ring`.  None for points.
    """

    ref_x: NDArray[np.int64]
    ref_y: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    class_id: NDArray[np.int16]
    score: NDArray[np.float32]
    cut: NDArray[np.bool_]
    ring: NDArray[np.float64] | None = None
    ring_start: NDArray[np.int64] | None = None

    @classmethod
    def none(cls, *, polygons: bool) -> Self:
        """No nuclei, with or without the polygon columns."""
        return cls(
            ref_x=np.empty(0, np.int64),
            ref_y=np.empty(0, np.int64),
            x=np.empty(0, np.float64),
            y=np.empty(0, np.float64),
            class_id=np.empty(0, np.int16),
            score=np.empty(0, np.float32),
            cut=np.empty(0, np.bool_),
            ring=np.empty((0, 2), np.float64) if polygons else None,
            ring_start=np.zeros(1, np.int64) if polygons else None,
        )

    def __len__(self) -> int:
        return len(self.ref_x)

    @property
    def polygons(self) -> bool:
        """Whether the nuclei have outlines."""
        return self.ring is not None

    @property
    def ids(self) -> NDArray[np.int64]:
        """``[n]`` int64, see `pack_id`."""
        return pack_id(self.ref_x, self.ref_y, self.class_id.astype(np.int64))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Nuclei:
        """The nuclei at `rows` (indices or a mask), in that order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.intp)
        columns = {name: getattr(self, name)[index] for name in _PLAIN}
        if self.ring is None or self.ring_start is None:
            return Nuclei(**columns)
        begin, count = self.ring_start[index], np.diff(self.ring_start)[index]
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
        vertex = np.arange(start[-1]) - np.repeat(start[:-1] - begin, count)
        return Nuclei(**columns, ring=self.ring.take(vertex, axis=0), ring_start=start)

    def in_order(self) -> Nuclei:
        """The same nuclei sorted by reference pixel (y, then x), then class."""
        return self.take(np.argsort(self.ids, kind="stable"))


_PLAIN = tuple(f.name for f in fields(Nuclei) if not f.name.startswith("ring"))


def concat(parts: Sequence[Nuclei]) -> Nuclei:
    """The nuclei of all `parts`, one after the other; all with outlines or all without.

    Raises
    ------
    ValueError
        If `parts` is empty, or mixes outlines and points.
    """
    if not parts:
        raise ValueError("nothing to join: say Nuclei.none(polygons=...) instead")
    if len({part.polygons for part in parts}) > 1:
        raise ValueError("cannot join nuclei with outlines and nuclei without")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PLAIN}
    if not parts[0].polygons:
        return Nuclei(**columns)
    rings = [part.ring for part in parts if part.ring is not None]
    counts = [np.diff(part.ring_start) for part in parts if part.ring_start is not None]
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])
    return Nuclei(**columns, ring=np.concatenate(rings), ring_start=start)

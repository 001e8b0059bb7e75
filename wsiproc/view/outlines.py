"""Outlines by chunks of rows, as flat arrays that a browser draws as they are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.errors import StoreError
from wsiproc.query.results import NUCLEI, TISSUE, StoredResult, opened, tables
from wsiproc.store.geoparquet import ROW_GROUP

CHUNK: Final = 2_000
"""Rows of a chunk.  They lie together on the slide, in less than half a mm² of dense tissue."""
_KEPT_GROUPS: Final = 6
"""Row groups whose outlines are kept decoded: about 10 MB each."""


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Rings one after the other, not closed: float32 ``[v, 2]`` in µm, exact on the 1/16 µm grid,
    and int64 ``[n + 1]``, where each begins."""

    xy: NDArray[np.float32]
    start: NDArray[np.int64]

    def packed(self, first: int, stop: int) -> bytes:
        """Some of the rings: uint32 n, uint32 ``[n + 1]``, float32 ``[v, 2]``; little-endian."""
        start = self.start[first : stop + 1]
        head = np.concatenate([[len(start) - 1], start - start[0]]).astype("<u4")
        return head.tobytes() + self.xy[start[0] : start[-1]].astype("<f4").tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """The outlines of a result.

    A chunk is a part of a row group, which is decoded whole: the last few are kept, since a window
    asks for many chunks of one.
    """

    result: StoredResult
    _kept: OrderedDict[int, _Rings] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def chunk(self, number: int) -> bytes:
        """The outlines of the rows ``number * CHUNK`` and on; see `_Rings.packed`.

        Raises
        ------
        StoreError
            If the result has no outlines, or no such rows.
        """
        first = number * CHUNK
        if not 0 <= first < self.result.nuclei:
            raise StoreError(f"the result has no chunk {number}")
        group, at = divmod(first, ROW_GROUP)
        rings = self._group(group)
        return rings.packed(at, min(at + CHUNK, len(rings.start) - 1))

    def _group(self, number: int) -> _Rings:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            with opened(self.result.file(NUCLEI)) as file:
                rings = _rings(file.read_row_group(number, columns=["geometry"])["geometry"])
            self._kept[number] = rings
            if len(self._kept) > _KEPT_GROUPS:
                self._kept.popitem(last=False)
            return rings


def tissue_rings(result: StoredResult) -> bytes:
    """The rims of the regions that were searched, holes as well; see `_Rings.packed`.

    Raises
    ------
    StoreError
        If the result has none, or they cannot be read.
    """
    parts = [_rings(table["geometry"]) for table in tables(result.file(TISSUE), columns=["geometry"])]
    ends = np.cumsum([0, *(len(part.xy) for part in parts)])
    start = [part.start[:-1] + end for part, end in zip(parts, ends, strict=False)]
    rings = _Rings(
        np.concatenate([np.empty((0, 2), np.float32), *(part.xy for part in parts)]),
        np.concatenate([*start, ends[-1:]]).astype(np.int64),
    )
    return rings.packed(0, len(rings.start) - 1)


def _rings(wkb: Any) -> _Rings:
    """All rings of a column of WKB polygons, without the vertex that closes each."""
    polygons = shapely.from_wkb(wkb.to_numpy())
    _, points, (ends, *_) = shapely.to_ragged_array(polygons)
    keep = np.ones(len(points), np.bool_)
    keep[ends[1:] - 1] = False
    start = np.asarray(ends, np.int64) - np.arange(len(ends))
    return _Rings(points[keep].astype(np.float32), start)

"""Outlines by chunks of rows, as flat arrays that a browser draws as they are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsiproc.errors import StoreError
from wsiproc.results.stored import NUCLEI, TISSUE, StoredResult, opened, row_groups, tables
from wsiproc.store.rings import rings_of_wkb
from wsiproc.store.schema import GRID_UM

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

    def part(self, first: int, stop: int) -> _Rings:
        """Some of them."""
        start = self.start[first : stop + 1]
        return _Rings(self.xy[start[0] : start[-1]], start - start[0])

    def packed(self) -> bytes:
        """As they are sent: uint32 n, uint32 ``[n + 1]``, float32 ``[v, 2]``; little-endian."""
        head = np.concatenate([[len(self.start) - 1], self.start]).astype("<u4")
        return head.tobytes() + self.xy.astype("<f4").tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """The outlines of a result.

    Row groups are decoded whole: the last few are kept, since a window asks for many chunks of one.
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
        first, stop = number * CHUNK, (number + 1) * CHUNK
        groups = [
            group
            for group in row_groups(self.result.file(NUCLEI))
            if group.first < stop and group.first + group.rows > first
        ]
        if number < 0 or not groups:
            raise StoreError(f"the result has no chunk {number}")
        return _joined(
            [
                self._group(group.number).part(
                    max(0, first - group.first), min(group.rows, stop - group.first)
                )
                for group in groups
            ]
        ).packed()

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
    found = tables(result.file(TISSUE), columns=["geometry"])
    return _joined([_rings(table["geometry"]) for table in found]).packed()


def _rings(wkb: pa.ChunkedArray) -> _Rings:
    """All rings of a column of WKB polygons, without the vertex that closes each."""
    own = rings_of_wkb(wkb.combine_chunks())
    if own is not None:
        xy = np.stack([own.x, own.y], axis=1) * GRID_UM
        return _Rings(xy.astype(np.float32), own.start)
    _, points, (ends, *_) = shapely.to_ragged_array(shapely.from_wkb(wkb.to_numpy()))
    keep = np.ones(len(points), np.bool_)
    keep[ends[1:] - 1] = False
    start = np.asarray(ends, np.int64) - np.arange(len(ends))
    return _Rings(points[keep].astype(np.float32), start)


def _joined(parts: list[_Rings]) -> _Rings:
    end = np.cumsum([0, *(len(part.xy) for part in parts)])
    start = [part.start[:-1] + at for part, at in zip(parts, end[:-1], strict=True)]
    return _Rings(
        np.concatenate([np.empty((0, 2), np.float32), *(part.xy for part in parts)]),
        np.concatenate([*start, end[-1:]]).astype(np.int64),
    )

"""Two results side by side, a square of the slide at a time.

Rows of a result lie along a Hilbert curve.  Squares that are visited along the same curve find
their rows in a few row groups, which are kept while they are of use: so each is read about once,
and memory depends on how crowded a square is, never on the slide.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from wsiproc.diff.pairing import Bools, Floats, Ints, Place
from wsiproc.results.stored import (
    CENTROIDS,
    NUCLEI,
    BoxUm,
    RowGroup,
    StoredResult,
    opened,
    row_groups,
)
from wsiproc.store.order import CELL_UM, ORDER, hilbert

SQUARE_UM: Final = 2048.0
"""Edge of a square: a whole quadrant of the curve.  No tissue has more than some ten thousand
nuclei in it."""
KEPT: Final = 4
"""Row groups of a result that are kept."""
_ORDER: Final = ORDER - round(np.log2(SQUARE_UM / CELL_UM))
_LIGHT: Final = ("x_um", "y_um", "class_id", "score")
_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some nuclei of one result.

    Parameters
    ----------
    place
        Where they are.
    at_x, at_y
        ``[n]`` the point that decides which square owns each, µm: the centroid, brought into the
        bounding box.  It is in there but for outlines of which only a part could be kept.
    own
        ``[n]`` which of them the square owns that was asked for.
    table
        Their columns.
    """

    place: Place
    at_x: Floats
    at_y: Floats
    own: Bools
    table: pa.Table

    def where(self, keep: Bools) -> Rows:
        """Those that are wanted."""
        return Rows(
            self.place.take(keep),
            self.at_x[keep],
            self.at_y[keep],
            self.own[keep],
            self.table.filter(pa.array(keep)),
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """A result's nuclei, to be asked for a place; see `reading`."""

    file: pq.ParquetFile
    groups: Sequence[RowGroup]
    columns: Sequence[str]
    outlined: bool
    kept: OrderedDict[int, pa.Table] = field(default_factory=OrderedDict)

    @property
    def rows(self) -> int:
        """All nuclei."""
        return sum(group.rows for group in self.groups)

    def near(self, box: BoxUm, square: tuple[int, int]) -> Rows:
        """Nuclei whose bounding box meets `box` (µm), which covers the square."""
        tables, rows, corners = [], [], [np.empty((4, 0))]
        for group in self.groups:
            if not group.touches(box):
                continue
            table = self._group(group)
            sides = dict(zip(_SIDES, table["bbox"].combine_chunks().flatten(), strict=True))
            found = np.stack([sides[side].to_numpy() for side in _SIDES])
            left, top, right, below = found
            meets = (left <= box[2]) & (right >= box[0]) & (top <= box[3]) & (below >= box[1])
            at = np.flatnonzero(meets)
            tables.append(table.take(pa.array(at)))
            rows.append(at + group.first)
            corners.append(found[:, at])
        empty = self.file.schema_arrow.empty_table().select(self.columns)
        table = pa.concat_tables(tables) if tables else empty
        x, y = (np.asarray(table[name].to_numpy(), np.float64) for name in ("x_um", "y_um"))
        left, top, right, below = np.concatenate(corners, axis=1)
        at_x, at_y = np.clip(x, left, right), np.clip(y, top, below)
        own = (_number(at_x) == square[0]) & (_number(at_y) == square[1])
        row = np.concatenate(rows) if rows else np.empty(0, np.int64)
        outline = None
        if self.outlined:
            outline = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
        return Rows(Place(row, x, y, outline), at_x, at_y, own, table)

    def _group(self, group: RowGroup) -> pa.Table:
        if group.number in self.kept:
            self.kept.move_to_end(group.number)
            return self.kept[group.number]
        while len(self.kept) >= KEPT:
            self.kept.popitem(last=False)
        table = self.file.read_row_group(group.number, columns=list(self.columns))
        self.kept[group.number] = table.select(self.columns)
        return self.kept[group.number]


@contextmanager
def reading(
    a: StoredResult, b: StoredResult, *, outlined: bool, more: Sequence[str] = ()
) -> Iterator[tuple[Reader, Reader]]:
    """Both results open.

    Parameters
    ----------
    outlined
        Whether outlines are wanted, or centroids.
    more
        Columns beyond those that comparing needs.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    columns = (*_LIGHT, *(("area_um2",) if outlined else ()), *more, "geometry", "bbox")
    with ExitStack() as files:
        readers = []
        for result in (a, b):
            path = result.file(NUCLEI if outlined else CENTROIDS)
            file = files.enter_context(opened(path))
            readers.append(Reader(file, row_groups(path), columns, outlined))
        yield readers[0], readers[1]


def squares(*readers: Reader) -> list[tuple[tuple[int, int], BoxUm]]:
    """All squares that may hold a nucleus: (column, row) and extent in µm, along the curve."""
    found: set[tuple[int, int]] = set()
    for reader in readers:
        for group in reader.groups:
            assert group.box is not None, "what the store writes has statistics"
            (left, right), (top, below) = (
                _number(np.array(edge)) for edge in (group.box[0::2], group.box[1::2])
            )
            found |= {(c, r) for c in range(left, right + 1) for r in range(top, below + 1)}
    numbers = np.array(sorted(found), np.uint32).reshape(-1, 2)
    along = np.argsort(hilbert(numbers[:, 0], numbers[:, 1], _ORDER))
    return [((c, r), _extent(c, r)) for c, r in numbers[along].astype(int).tolist()]


def around(place: Place, margin: float) -> BoxUm | None:
    """The box of some nuclei with a margin, µm; None without any."""
    if not len(place.row):
        return None
    if place.outline is None:
        left, top, right, below = place.x.min(), place.y.min(), place.x.max(), place.y.max()
    else:
        left, top, right, below = shapely.total_bounds(place.outline)
    return (left - margin, top - margin, right + margin, below + margin)


def _number(um: Floats) -> Ints:
    """Columns or rows of squares; what is off the curve's grid counts to its nearest square."""
    return np.clip(np.floor(um / SQUARE_UM), 0, 2**_ORDER - 1).astype(np.int64)


def _extent(column: int, row: int) -> BoxUm:
    """Of a square; those at the grid's rim have all that is beyond it."""
    last = 2**_ORDER - 1
    low = [-np.inf if n == 0 else n * SQUARE_UM for n in (column, row)]
    high = [np.inf if n == last else (n + 1) * SQUARE_UM for n in (column, row)]
    return (low[0], low[1], high[0], high[1])

"""What became of each nucleus, as GeoParquet: opens wherever a result does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsiproc.diff.cells import Rows, reading, squares
from wsiproc.diff.difference import CHANGES, LOST, Difference
from wsiproc.diff.pairing import Ints
from wsiproc.store.geoparquet import PIECE, writing
from wsiproc.store.order import key_of
from wsiproc.store.schema import TISSUE


def _field(name: str, kind: pa.DataType, unit: str = "", says: str = "") -> pa.Field:
    facts = {key: text for key, text in (("unit", unit), ("description", says)) if text}
    return pa.field(name, kind, metadata=facts or None)


SCHEMA: Final = pa.schema(
    [
        pa.field("change", pa.string(), nullable=False),
        pa.field("slide_id", pa.string(), nullable=False),
        _field("nucleus_id_a", pa.int64(), says="in A; null for gained ones"),
        _field("nucleus_id_b", pa.int64(), says="in B; null for lost ones"),
        _field("class_a", pa.string()),
        _field("class_b", pa.string()),
        _field("score_a", pa.float32(), "1"),
        _field("score_b", pa.float32(), "1"),
        _field("iou", pa.float32(), "1", "of the outlines of a pair"),
        _field("distance_um", pa.float32(), "µm", "between the centroids of a pair"),
        pa.field("x_um", pa.float64(), nullable=False, metadata={"unit": "µm"}),
        pa.field("y_um", pa.float64(), nullable=False, metadata={"unit": "µm"}),
        TISSUE.field("geometry"),
        TISSUE.field("bbox"),
    ]
)
"""A row a nucleus of either result, in the order of results.  Geometry and place are B's, of lost
nuclei A's."""


def write_table(path: Path, difference: Difference) -> int:
    """Write the table; gives its rows.  Outlines are read once more, a square at a time.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written; then nothing is left behind.
    """
    kind = "Polygon" if difference.outlined else "Point"
    rows = 0
    with writing(path, SCHEMA, _metadata(difference), kind) as file:
        for table in _pieces(_by_square(difference)):
            bounds = shapely.bounds(
                shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
            )
            columns = {name: table[name].combine_chunks() for name in table.column_names}
            file.write(columns, (bounds[:, 0], bounds[:, 1], bounds[:, 2], bounds[:, 3]))
            rows += len(table)
    return rows


def _metadata(difference: Difference) -> dict[str, str]:
    """What was compared; nothing that changes with time or place."""
    sides = {}
    for side, result in (("a", difference.a), ("b", difference.b)):
        manifest = result.manifest
        model = {"name": result.model.name, "version": result.model.version}
        sides[side] = {
            "job_key": manifest.job_key,
            "model": model | {"sha256": result.model.sha256},
        }
    told = sides | {"radius_um": difference.radius_um}
    return {
        "wsiproc:slide_id": difference.a.slide_id,
        "wsiproc:slide_sha256": difference.a.manifest.slide.sha256,
        "wsiproc:diff": json.dumps(told, separators=(",", ":"), ensure_ascii=False),
    }


def _by_square(difference: Difference) -> Iterator[pa.Table]:
    """The rows of each square along the curve, in the order of the curve."""
    described = _Described(difference)
    more = ["nucleus_id"]
    with reading(difference.a, difference.b, outlined=difference.outlined, more=more) as (one, two):
        ids_a = one.file.read(columns=more)["nucleus_id"].to_numpy()
        for square, box in squares(one, two):
            old, new = (reader.near(box, square) for reader in (one, two))
            gone = old.where(old.own & (difference.side_a.change[old.place.row] == LOST))
            there = new.where(new.own)
            table = pa.concat_tables([described.lost(gone), described.kept(there, ids_a)])
            x = np.concatenate([gone.at_x, there.at_x])
            y = np.concatenate([gone.at_y, there.at_y])
            yield table.take(pa.array(np.lexsort((x, y, key_of(x, y)))))


class _Described:
    """Rows of the table, of one difference."""

    def __init__(self, difference: Difference) -> None:
        self.of = difference
        self.names = pa.array(difference.classes, pa.string())
        self.pair_of_b = np.full(len(difference.side_b), -1, np.int64)
        self.pair_of_b[difference.pairs.b] = np.arange(len(difference.pairs))

    def lost(self, rows: Rows) -> pa.Table:
        side, row = self.of.side_a, rows.place.row
        told = {
            "nucleus_id_a": rows.table["nucleus_id"],
            "class_a": self._class(side.class_index[row]),
            "score_a": rows.table["score"],
        }
        return self._table(rows, side.change[row], told)

    def kept(self, rows: Rows, ids_a: Ints) -> pa.Table:
        """Of B: nuclei with a partner, and new ones."""
        a, b, row = self.of.side_a, self.of.side_b, rows.place.row
        partner, pair = b.partner[row], self.pair_of_b[row]
        new = partner < 0
        pairs = self.of.pairs
        told = {
            "nucleus_id_a": _where(ids_a, partner),
            "nucleus_id_b": rows.table["nucleus_id"],
            "class_a": self._class(np.where(new, -1, _at(a.class_index, partner))),
            "class_b": self._class(b.class_index[row]),
            "score_a": _where(a.score, partner),
            "score_b": rows.table["score"],
            "iou": _where(pairs.iou, pair) if self.of.outlined else None,
            "distance_um": _where(pairs.distance, pair),
        }
        return self._table(rows, b.change[row], told)

    def _class(self, index: NDArray[np.integer]) -> pa.Array:
        return self.names.take(pa.array(index, mask=index < 0))

    def _table(self, rows: Rows, change: NDArray[np.int8], told: Mapping[str, Any]) -> pa.Table:
        """With what all rows have; columns that are not told are null."""
        n = len(rows.place.row)
        columns = {
            "change": pa.array(CHANGES).take(pa.array(change)),
            "slide_id": pa.repeat(self.of.a.slide_id, n),
            "x_um": rows.place.x,
            "y_um": rows.place.y,
            "geometry": rows.table["geometry"],
            **told,
        }
        wanted = pa.schema([field for field in SCHEMA if field.name != "bbox"])
        arrays = [
            pa.nulls(n, field.type)
            if columns.get(field.name) is None
            else _cast(columns[field.name], field.type)
            for field in wanted
        ]
        return pa.table(arrays, schema=wanted)


def _cast(values: Any, kind: pa.DataType) -> Any:
    made = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return made.cast(kind)


def _at(values: NDArray[Any], index: Ints) -> NDArray[Any]:
    """Values at `index`; anything where it is -1."""
    return values[index] if len(values) else np.zeros(len(index), values.dtype)


def _where(values: NDArray[Any], index: Ints) -> pa.Array:
    """Values at `index`, null where it is -1."""
    return pa.array(_at(values, index), mask=index < 0)


def _pieces(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in pieces of exactly `PIECE`, but for the last."""
    left = None
    for table in tables:
        left = table if left is None else pa.concat_tables([left, table])
        while len(left) >= PIECE:
            yield left.slice(0, PIECE)
            left = left.slice(PIECE)
    if left is not None and len(left):
        yield left

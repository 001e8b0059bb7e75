"""TIAToolbox: an `AnnotationStore` (SQLite, its format 1.0.1), in level-0 px.

Written as TIAToolbox 2.1 lays its files out, without needing it: it does not install beside what
wsiproc trains with.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import shapely

from wsiproc.errors import ConfigError, StoreError
from wsiproc.export._names import nucleus_uuids
from wsiproc.export._shapes import shapes_px
from wsiproc.export._target import one_file
from wsiproc.results.stored import StoredResult, tables

PER_PX: Final = 64
"""Coordinates are rounded to 1/64 px: binary fractions pack better than others."""

_LEVEL: Final = 1
_PIECE: Final = 10_000
_LAYOUT: Final = """
CREATE TABLE metadata (key TEXT UNIQUE, value TEXT);
CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y);
CREATE TABLE annotations(
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, objtype TEXT, cx FLOAT NOT NULL, cy FLOAT NOT NULL,
    geometry BLOB, properties TEXT, area FLOAT NOT NULL
);
"""
_PROPERTIES: Final = (
    "score",
    "area_um2",
    "perimeter_um",
    "major_um",
    "minor_um",
    "orientation_rad",
    "solidity",
    "eccentricity",
)

Row = tuple[Any, ...]


def write_tiatoolbox(result: StoredResult, out: Path, *, replace: bool = False) -> int:
    """Write an SQLite store that `tiatoolbox.annotation.SQLiteStore` opens; gives the nuclei.

    Properties of a nucleus are `type` (its class, which the viewer colours by), `prob` (its
    score), and its shape under the names of the columns.

    Parameters
    ----------
    out
        ``.db``, as TIAToolbox' viewer wants.

    Raises
    ------
    ConfigError
        If the name says another format.
    AlreadyThereError, StoreError
        See `one_file`.
    """
    if out.suffix.lower() != ".db":
        raise ConfigError("TIAToolbox' viewer looks for stores by their name: --out X.db")
    about = {
        "version": "1.0.1",
        "compression": "zlib",
        "compression_level": _LEVEL,
        "wsiproc": {"slide_id": result.slide_id, "job_key": result.manifest.job_key},
    }
    first = 1
    with one_file(out, replace=replace) as temporary:
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as base:
                # What is written here has no name yet: it need not survive a crash.
                base.execute("PRAGMA journal_mode = OFF")
                base.execute("PRAGMA synchronous = OFF")
                base.executescript(_LAYOUT)
                base.execute("BEGIN")
                base.executemany(
                    "INSERT INTO metadata VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in about.items()],
                )
                for rows in _pieces(result):
                    annotations, boxes = _stored(rows, result, first)
                    base.executemany(
                        "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", annotations
                    )
                    base.executemany("INSERT INTO rtree VALUES (?, ?, ?, ?, ?)", boxes)
                    first += len(rows)
                base.execute("CREATE INDEX area ON annotations(area)")
                base.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StoreError(f"cannot write the export: {error}") from None
    return first - 1


def _pieces(result: StoredResult) -> Iterator[pa.Table]:
    for table in tables(result.table):
        for first in range(0, len(table), _PIECE):
            yield table.slice(first, _PIECE).combine_chunks()


def _stored(rows: pa.Table, result: StoredResult, first: int) -> tuple[list[Row], list[Row]]:
    """Rows of both tables; the first one's number is `first`."""
    shapes = shapes_px(rows, result, per_px=PER_PX)
    centre = shapely.get_coordinates(shapely.centroid(shapes))
    bounds = shapely.bounds(shapes)
    numbers = range(first, first + len(rows))
    packed: list[bytes | None] = [None] * len(rows)
    if result.outlined:
        packed = [zlib.compress(one, _LEVEL) for one in shapely.to_wkb(shapes, byte_order=1)]
    kind = "Polygon" if result.outlined else "Point"
    annotations = [
        (number, key, kind, x, y, blob, said, area)
        for number, key, (x, y), blob, said, area in zip(
            numbers,
            nucleus_uuids(result, rows["nucleus_id"].to_pylist()),
            centre.tolist(),
            packed,
            _properties(rows, result),
            shapely.area(shapes).tolist(),
            strict=True,
        )
    ]
    sides = bounds[:, [0, 2, 1, 3]].tolist()
    return annotations, [(n, *box) for n, box in zip(numbers, sides, strict=True)]


def _properties(rows: pa.Table, result: StoredResult) -> list[str]:
    """JSON of each row; numbers to the digits that float32 has."""
    names = [json.dumps(c.name) for c in result.classes]
    keys = [name for name in _PROPERTIES if name in rows.column_names]
    form = ",".join(f'"{"prob" if key == "score" else key}":%.7g' for key in keys)
    values = np.column_stack([rows[key].to_numpy() for key in keys])
    return [
        f'{{"type":{names[c]},"nucleus_id":{i},{form % tuple(numbers)}}}'
        for c, i, numbers in zip(
            rows["class_id"].to_pylist(),
            rows["nucleus_id"].to_pylist(),
            values.tolist(),
            strict=True,
        )
    ]

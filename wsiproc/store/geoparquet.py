"""GeoParquet 1.1 files that are the same bytes for the same rows.

A file is written in row groups of exactly `ROW_GROUP` rows, whatever pieces the rows come in:
small enough that a window of a slide touches two of them, large enough to compress.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsiproc.errors import StoreError
from wsiproc.store.disk import staged, storing
from wsiproc.store.rings import Floats
from wsiproc.store.schema import ENGINEERING_CRS_V1, geo_metadata

ROW_GROUP: Final = 50_000
PIECE: Final = 10_000
"""Rows that are worked out at once; a row group is a whole number of pieces."""
_DICTIONARY: Final = ["slide_id", "class_id", "class_name"]
_SPLIT: Final = (pa.float32(), pa.float64(), pa.int64())

Bounds = tuple[Floats, Floats, Floats, Floats]


@dataclass(slots=True)
class RowGroups:
    """An open file; see `writing`."""

    writer: pq.ParquetWriter
    schema: pa.Schema
    boxes: list[tuple[float, float, float, float]]
    """Extent of each piece."""
    gathered: list[pa.Table]
    """Pieces that don't fill a row group yet."""

    def write(self, columns: Mapping[str, pa.Array | NDArray[Any]], bounds: Bounds) -> None:
        """Add rows.

        Parameters
        ----------
        columns
            Every column of the schema but `bbox`; all pieces but the last have `PIECE` rows.
        bounds
            ``xmin, ymin, xmax, ymax`` of the rows, µm.
        """
        box = self.schema.field("bbox").type
        arrays = {
            **{name: pa.array(values) for name, values in columns.items()},
            "bbox": pa.StructArray.from_arrays(
                [pa.array(side) for side in bounds], fields=list(box)
            ),
        }
        piece = pa.table([arrays[name] for name in self.schema.names], schema=self.schema)
        self.gathered.append(piece)
        xmin, ymin, xmax, ymax = bounds
        self.boxes.append(
            (float(xmin.min()), float(ymin.min()), float(xmax.max()), float(ymax.max()))
        )
        if sum(map(len, self.gathered)) >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as one row group."""
        if self.gathered:
            self.writer.write_table(pa.concat_tables(self.gathered), row_group_size=ROW_GROUP)
            self.gathered.clear()


@contextmanager
def writing(
    path: Path, schema: pa.Schema, metadata: Mapping[str, str], geometry_type: str
) -> Iterator[RowGroups]:
    """A GeoParquet file that appears under its name when it is whole, or not at all.

    Parameters
    ----------
    schema
        With the columns `geometry` and `bbox`.
    metadata
        Key/value metadata of the file, beside ``geo``.
    geometry_type
        Of all rows, in GeoParquet's words.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written; then nothing is left behind.
    """
    with storing(path.name), staged(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        groups: list[tuple[float, float, float, float]] = []
        with pq.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=_DICTIONARY,
            use_byte_stream_split=_numbers(schema),
            store_schema=False,
        ) as writer:
            rows = RowGroups(writer, schema, groups, [])
            yield rows
            rows.flush()
            writer.add_key_value_metadata(_last(schema, metadata, geometry_type, groups))


def _last(
    schema: pa.Schema,
    metadata: Mapping[str, str],
    geometry_type: str,
    boxes: list[tuple[float, float, float, float]],
) -> dict[str, str]:
    """Metadata that is known when all rows are written: their extent stands in it.

    Arrow's own copy of the schema is made here as well: Arrow reads what it finds there (units of
    the fields, and ``geo``), and would have written it before the first row.
    """
    sides = list(zip(*boxes, strict=True))
    whole = (min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])) if sides else None
    told = {**metadata, "geo": geo_metadata([geometry_type] if boxes else [], whole)}
    arrow = schema.with_metadata(told).serialize().to_pybytes()
    return {**told, "ARROW:schema": base64.b64encode(arrow).decode()}


def check_file(path: Path) -> int:
    """Open a file that was written here, and count its rows.

    Raises
    ------
    StoreError
        If it is no GeoParquet file of this schema, or is cut short.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata.metadata or {}
            geo = json.loads(metadata.get(b"geo", b"{}"))
            groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            rows = int(file.metadata.num_rows)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path.name} cannot be read back: {type(error).__name__}") from None
    column = geo.get("columns", {}).get("geometry", {})
    if column.get("crs") != json.loads(ENGINEERING_CRS_V1) or "covering" not in column:
        raise StoreError(f"{path.name} lacks its GeoParquet metadata; run again")
    if any(n != ROW_GROUP for n in groups[:-1]) or sum(groups) != rows:
        raise StoreError(f"{path.name} has row groups that nothing here writes; run again")
    return rows


def _numbers(schema: pa.Schema) -> list[str]:
    """Columns whose bytes compress better when first bytes stand with first bytes, and so on."""
    sides = [f"bbox.{side.name}" for side in schema.field("bbox").type]
    return [
        *(f.name for f in schema if f.type in _SPLIT and f.name not in _DICTIONARY),
        *sides,
    ]

"""Columns of a result as the page holds them: plain arrays, one number a nucleus, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsiproc.errors import StoreError
from wsiproc.results.stored import StoredResult, opened, row_groups, schema_of, tables

_NO_MEASURE: Final = ("nucleus_id", "class_id")
_PLACES: Final = ("x_um", "y_um", "x_px", "y_px")
_NOT_TOLD: Final = ("geometry", "bbox")


def columns_of(result: StoredResult) -> dict[str, pa.Field]:
    """The columns that are numbers, by name: what may colour and filter, places last."""
    fields = {
        field.name: field
        for field in schema_of(result.table)
        if field.name not in _NO_MEASURE
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    }
    return dict(sorted(fields.items(), key=lambda item: item[0] in _PLACES))


def column_bytes(result: StoredResult, name: str) -> Iterator[bytes]:
    """A column of all rows, a row group at a time.

    Little-endian float32, but for ``class_id``: one byte, since a card has at most 255 classes.
    1/64 µm, the grid of centroids, is kept up to 26 cm from the origin.

    Raises
    ------
    StoreError
        If there is no such column, or it holds no numbers; before anything is given.
    """
    if name != "class_id" and name not in columns_of(result):
        raise StoreError(f"the result has no column of numbers called {name!r}")
    kind = np.dtype("u1" if name == "class_id" else "<f4")
    return (
        table[name].to_numpy().astype(kind).tobytes()
        for table in tables(result.table, columns=[name])
    )


def row_of(result: StoredResult, row: int) -> dict[str, Any]:
    """Everything that is stored of one nucleus, but its outline; the id as text.

    Raises
    ------
    StoreError
        If there is no such row.
    """
    for group in row_groups(result.table):
        if group.first <= row < group.first + group.rows:
            with opened(result.table) as file:
                names = [n for n in file.schema_arrow.names if n not in _NOT_TOLD]
                table = file.read_row_group(group.number, columns=names)
            values: dict[str, Any] = table.slice(row - group.first, 1).to_pylist()[0]
            # More than 53 bits: a number of JavaScript would be another nucleus.
            return values | {"nucleus_id": str(values["nucleus_id"])}
    raise StoreError(f"the result has no row {row}")


def row_with_id(result: StoredResult, nucleus_id: int) -> int:
    """The row of a nucleus.

    Raises
    ------
    StoreError
        If the result has no nucleus of that id.
    """
    first = 0
    for table in tables(result.table, columns=["nucleus_id"]):
        at = pc.index(table["nucleus_id"], nucleus_id).as_py()
        if at >= 0:
            return first + int(at)
        first += len(table)
    raise StoreError(f"the result has no nucleus {nucleus_id}")

"""QuPath: a nucleus a detection, in level-0 px, as GeoJSON that its own rules allow.

QuPath takes coordinates in px of the full image, x right and y down; ids that are UUIDs; an
``objectType``, without which each nucleus would become an annotation and a slide unusable; and of
a class either both its name and its colour, or the file is refused.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from wsiproc.errors import ConfigError
from wsiproc.export._names import nucleus_uuids
from wsiproc.export._shapes import Shapes, shapes_px
from wsiproc.export._target import one_file
from wsiproc.results.stored import TISSUE, StoredResult, tables

PER_PX: Final = 100
"""Coordinates are written to the hundredth of a px: less than any scanner's."""

_PIECE: Final = 10_000
"""Nuclei whose text is held at once."""

MEASUREMENTS: Final = {
    "score": "Score",
    "area_um2": "Area µm^2",
    "perimeter_um": "Perimeter µm",
    "major_um": "Major axis µm",
    "minor_um": "Minor axis µm",
    "orientation_rad": "Orientation rad",
    "solidity": "Solidity",
    "eccentricity": "Eccentricity",
}
"""What QuPath calls a column: with its unit, as it writes its own."""


def write_geojson(
    result: StoredResult, out: Path, *, tissue: bool = False, replace: bool = False
) -> int:
    """Write a GeoJSON FeatureCollection for QuPath; gives its features.

    The same result gives the same bytes.

    Parameters
    ----------
    out
        ``.geojson`` or ``.json``; ``.gz`` after it compresses.
    tissue
        Write the regions that were searched rather than the nuclei: as annotations, so that
        people can change them and run again with ``--roi``.

    Raises
    ------
    ConfigError
        If the name says another format.
    AlreadyThereError, StoreError
        See `one_file`.
    """
    packed = out.suffix.lower() == ".gz"
    if (out.with_suffix("") if packed else out).suffix.lower() not in (".geojson", ".json"):
        raise ConfigError("QuPath knows GeoJSON by its name: --out X.geojson.gz or X.geojson")
    source = result.file(TISSUE) if tissue else result.table
    with one_file(out, replace=replace) as temporary, _opened(temporary, packed) as file:
        file.write('{"type":"FeatureCollection","features":[')
        count, between = 0, "\n"
        for table in tables(source):
            for first in range(0, len(table), _PIECE):
                rows = table.slice(first, _PIECE).combine_chunks()
                texts = _regions(rows, result) if tissue else _detections(rows, result)
                file.write(between + ",\n".join(texts))
                count, between = count + len(rows), ",\n"
        file.write("\n]}\n")
    return count


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[IO[str]]:
    """A text file; packed without the time and the name that gzip would put in."""
    with path.open("xb") as raw:
        if not packed:
            with io.TextIOWrapper(raw, "utf-8", newline="\n") as text:
                yield text
            return
        with (
            gzip.GzipFile("", "wb", 1, raw, mtime=0) as squeezed,
            io.TextIOWrapper(squeezed, "utf-8", newline="\n") as text,
        ):
            yield text


def _detections(rows: pa.Table, result: StoredResult) -> list[str]:
    """A feature a nucleus."""
    ids = rows["nucleus_id"]
    texts = pc.binary_join_element_wise(
        '{"type":"Feature","id":"',
        pa.array(nucleus_uuids(result, ids.to_pylist()), pa.string()),
        '","geometry":',
        pa.array(_written(shapes_px(rows, result, per_px=PER_PX)), pa.string()),
        ',"properties":{"objectType":"detection","classification":',
        _classifications(result).take(rows["class_id"]),
        ',"measurements":{',
        _measured(rows),
        '},"metadata":{"nucleus_id":"',
        ids.cast(pa.string()),
        '"}}}',
        "",
    )
    listed: list[str] = texts.to_pylist()
    return listed


def _regions(rows: pa.Table, result: StoredResult) -> list[str]:
    """A feature a region that was searched."""
    shapes = _written(shapes_px(rows, result, per_px=PER_PX))
    names = nucleus_uuids(result, (-1 - i for i in rows["region_id"].to_pylist()))
    return [
        f'{{"type":"Feature","id":"{name}","geometry":{shape},"properties":'
        '{"objectType":"annotation","name":"Searched region","isLocked":false}}'
        for name, shape in zip(names, shapes, strict=True)
    ]


def _written(shapes: Shapes) -> list[str]:
    texts: list[str] = shapely.to_geojson(shapes).tolist()
    return texts


def _classifications(result: StoredResult) -> pa.Array:
    """By `class_id`."""
    return pa.array(
        [
            json.dumps({"name": c.name, "color": list(c.color)}, separators=(",", ":"))
            for c in result.classes
        ],
        pa.string(),
    )


def _measured(rows: pa.Table) -> pa.ChunkedArray:
    parts = [
        pc.binary_join_element_wise(
            json.dumps(name, ensure_ascii=False) + ":", rows[column].cast(pa.string()), ""
        )
        for column, name in MEASUREMENTS.items()
        if column in rows.column_names
    ]
    return pc.binary_join_element_wise(*parts, ",")

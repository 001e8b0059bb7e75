"""A selection as a file: GeoParquet as it was, CSV, or GeoJSON that QuPath opens."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import shapely

from wsiproc.errors import AlreadyThereError, ConfigError
from wsiproc.results.selection import Selection
from wsiproc.results.stored import NUCLEI, StoredResult, schema_of
from wsiproc.store.disk import staged, storing
from wsiproc.store.geoparquet import PIECE, writing

_PLACE: Final = ("geometry", "bbox")
_NAMES: Final = ("nucleus_id", "slide_id", "class_id", "class_name")
_GREY: Final = (128, 128, 128)


def write(selection: Selection, path: Path, *, replace: bool = False) -> int:
    """Write the rows of a selection, a row group at a time; gives how many.

    What it is follows from the name: ``.parquet``, ``.csv``, ``.geojson`` or ``.geojson.gz``.

    - GeoParquet has the CRS, the covering and the metadata of the results (of several, what they
      have in common), and always `geometry` and `bbox`.
    - CSV has units in its header, as the columns have in their names; `geometry`, if it is asked
      for, as WKT in µm.
    - GeoJSON is for QuPath: detections in level-0 px, with class, colour and measurements.  It is
      of one slide.

    Raises
    ------
    ConfigError
        If the name says nothing known, or several slides would go into one GeoJSON.
    AlreadyThereError
        If there is such a file, and `replace` is not given.
    StoreError
        If it cannot be written; then nothing is left behind.
    """
    writer = _writer(path)
    if path.exists() and not replace:
        raise AlreadyThereError(f"{path.name} is there already: --replace replaces it")
    return writer(selection, path)


def _writer(path: Path) -> Callable[[Selection, Path], int]:
    for ending, writer in _WRITERS.items():
        if path.name.endswith(ending):
            return writer
    raise ConfigError(f"{path.name}: what to write is told by the ending, {', '.join(_WRITERS)}")


def _parquet(selection: Selection, path: Path) -> int:
    wanted = selection.schema.names
    names = [*(name for name in wanted if name not in _PLACE), *_PLACE]
    whole = selection.only(*names)
    schema = pa.schema([selection.stored.field(name) for name in names])
    kind = "Polygon" if selection.file == NUCLEI else "Point"
    written = 0
    with writing(path, schema, _metadata(selection), kind) as file:
        for rows in _pieces(whole.tables(), PIECE):
            box = rows["bbox"].combine_chunks()
            x0, y0, x1, y1 = (np.asarray(side) for side in box.flatten())
            columns = {name: rows[name].combine_chunks() for name in names if name != "bbox"}
            file.write(columns, (x0, y0, x1, y1))
            written += len(rows)
    return written


def _csv(selection: Selection, path: Path) -> int:
    asked = selection.question.columns
    names = asked or tuple(name for name in selection.stored.names if name not in _PLACE)
    written = 0
    with _sink(path) as sink:
        writer: pa.csv.CSVWriter | None = None
        for rows in _one_at_least(selection.only(*names)):
            plain = _texts(rows).flatten()
            if writer is None:
                writer = pa.csv.CSVWriter(sink, plain.schema)
            writer.write_table(plain)
            written += len(rows)
        assert writer is not None
        writer.close()
    return written


def _geojson(selection: Selection, path: Path) -> int:
    slides = {result.slide_id for result in selection.results}
    if len(slides) > 1:
        raise ConfigError(
            f"GeoJSON is in px of one slide, and these are {len(slides)}: name one result, or "
            "write .parquet, which holds many"
        )
    names = tuple(dict.fromkeys((*selection.schema.names, *_NAMES, "geometry")))
    written = 0
    with _sink(path) as sink:
        sink.write(b'{"type":"FeatureCollection","features":[')
        for result, rows in selection.only(*names).by_result():
            for first in range(0, len(rows), PIECE):
                some = rows.slice(first, PIECE)
                text = ",\n".join(_features(result, some))
                sink.write((",\n" if written else "\n").encode() + text.encode())
                written += len(some)
        sink.write(b"\n]}\n")
    return written


_WRITERS: Final = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".geojson": _geojson,
    ".geojson.gz": _geojson,
}


def _features(result: StoredResult, rows: pa.Table) -> Iterator[str]:
    """Detections, as QuPath wants them: without a colour it refuses the class."""
    shapes = shapely.from_wkb(rows["geometry"].to_numpy())
    px = shapely.transform(shapes, lambda xy: np.round(result.to_px(xy), 2))
    colours = {c.name: list(c.color) for c in result.classes}
    numbers = {
        one.name: _rounded(rows[one.name])
        for one in rows.schema
        if one.name not in _NAMES and one.name not in _PLACE
    }
    names, ids = rows["class_name"].to_pylist(), rows["nucleus_id"].to_pylist()
    values = zip(*numbers.values(), strict=True) if numbers else repeat(())
    written = shapely.to_geojson(px)
    for shape, name, number, row in zip(written, names, ids, values, strict=bool(numbers)):
        said = {
            "objectType": "detection",
            "classification": {"name": name, "color": colours.get(name, list(_GREY))},
            "measurements": {k: v for k, v in zip(numbers, row, strict=True) if v is not None},
            "metadata": {"nucleus_id": str(number)},
        }
        text = json.dumps(said, separators=(",", ":"), ensure_ascii=False)
        yield f'{{"type":"Feature","geometry":{shape},"properties":{text}}}'


def _rounded(column: pa.ChunkedArray) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in column.to_pylist()]


def _texts(rows: pa.Table) -> pa.Table:
    """With geometry as text: coordinates are multiples of 1/64 µm, so six digits are exact."""
    if "geometry" not in rows.schema.names:
        return rows
    shapes = shapely.from_wkb(rows["geometry"].to_numpy())
    text = pa.array(shapely.to_wkt(shapes, rounding_precision=6))
    return rows.set_column(rows.schema.get_field_index("geometry"), "geometry", text)


def _metadata(selection: Selection) -> dict[str, str]:
    """What the files of all results say of themselves alike."""
    said: list[dict[str, str]] = []
    for result in selection.results:
        stored = schema_of(result.file(selection.file)).metadata or {}
        texts = {key.decode(): value.decode() for key, value in stored.items()}
        said.append({k: v for k, v in texts.items() if k.startswith("wsiproc:")})
    return {
        key: value for key, value in said[0].items() if all(one.get(key) == value for one in said)
    }


def _pieces(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly so many, but for the last."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(map(len, held)) >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows)
            held = [whole.slice(rows)]
    if sum(map(len, held)):
        yield pa.concat_tables(held)


def _one_at_least(selection: Selection) -> Iterator[pa.Table]:
    """The tables of a selection, or an empty one: a CSV file has a header anyway."""
    none = True
    for rows in selection.tables():
        none = False
        yield rows
    if none:
        yield selection.schema.remove_metadata().empty_table()


@contextmanager
def _sink(path: Path) -> Iterator[IO[Any]]:
    """A file that appears under its name when it is whole, packed if its name says so."""
    with storing(path.name), staged(path) as temporary, temporary.open("xb") as file:
        if path.suffix == ".gz":
            # No name and no time in it: the same rows give the same bytes.
            with gzip.GzipFile("", "wb", 6, file, 0) as packed, io.BufferedWriter(packed) as sink:
                yield sink
        else:
            yield file

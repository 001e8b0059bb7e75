"""QGIS and its kind: layers with y up, and a picture of the slide that lies under them.

Maps have y up and slides have it down.  Here y is negated, in numbers, so that a map shows the
slide as a microscope does: the slide's top-left corner is (0, 0), and everything lies below it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from PIL import Image

from wsiproc.errors import StoreError
from wsiproc.export._qml import by_class, one_colour
from wsiproc.export._shapes import Shapes, shapes_px, shapes_um, y_up
from wsiproc.export._slide import opened_again
from wsiproc.export._target import facts, note, one_folder
from wsiproc.overview import slide_panel
from wsiproc.results.stored import TISSUE, StoredResult, schema_of, tables
from wsiproc.slide import thumbnail

Unit = Literal["um", "px"]
Kind = Literal["gpkg", "fgb", "parquet"]

LONGEST: Final = 4096
"""px of the longer edge of a picture made from the slide."""

_OVERVIEW: Final = "overview.png"
_Y_DOWN: Final = ("x_um", "y_um", "x_px", "y_px")
"""Columns that are left out: they would contradict the shapes beside them."""
_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
_FIRST: Final = "nuclei"
_GREEN, _GREY = (0, 132, 110), (112, 112, 122)
_DRIVERS: Final = {"gpkg": "GPKG", "fgb": "FlatGeobuf"}
_UNITS: Final = {"um": ("micrometre", 1e-06), "px": ("pixel", 1.0)}
_NAMES: Final = {
    "um": "wsiproc WSI level-0 micrometre v1 (x right, y up)",
    "px": "wsiproc WSI level-0 pixel v1 (x right, y up)",
}

Layer = tuple[str, pa.Schema, Callable[[], Iterator[pa.Table]], str]


def crs_y_up(unit: Unit) -> dict[str, Any]:
    """PROJJSON of the CRS of the layers: the same for all slides, with neither slide nor mpp in it.

    A pixel stands there as if it were one metre, since PROJJSON wants a length.
    """
    name, factor = _UNITS[unit]
    length = {"type": "LinearUnit", "name": name, "conversion_factor": factor}
    return {
        "$schema": "https://proj.org/schemas/v0.7/projjson.schema.json",
        "type": "EngineeringCRS",
        "name": _NAMES[unit],
        "datum": {
            "type": "EngineeringDatum",
            "name": "WSI level-0 image, top-left corner of pixel (0,0)",
        },
        "coordinate_system": {
            "subtype": "Cartesian",
            # What GDAL keeps: of displayRight and displayUp it makes axes without a direction.
            "axis": [
                {"name": axis, "abbreviation": axis, "direction": direction, "unit": length}
                for axis, direction in (("x", "east"), ("y", "north"))
            ],
        },
    }


def write_gis(
    result: StoredResult,
    out: Path,
    *,
    unit: Unit = "um",
    kind: Kind = "gpkg",
    slide: Path | None = None,
    replace: bool = False,
) -> int:
    """Write a folder of layers and a picture that lie on each other; gives the nuclei.

    ::

        nuclei.gpkg     layers nuclei, tissue and slide (its edge); or a .fgb or .parquet of each
        overview.png    the slide: cut out of the result's overview, or with `slide` a JPEG
        overview.pgw    where it lies: a world file
        export.json     what this is

    Parameters
    ----------
    unit
        Of the coordinates: µm, or level-0 px.
    kind
        GeoPackage, FlatGeobuf or GeoParquet 1.1.
    slide
        The slide of the result, for a picture of up to 4,096 px.

    Raises
    ------
    ConfigError
        If `slide` is another slide.
    AlreadyThereError, StoreError
        See `one_folder`.
    """
    with one_folder(out, replace=replace) as folder:
        pixels = _write_picture(folder, result, unit, slide)
        for layer in _layers(result, unit):
            _write_layer(folder, layer, unit, kind)
        if kind == "gpkg":
            _write_styles(folder / "nuclei.gpkg", result)
        frame = {
            "unit": "µm" if unit == "um" else "level-0 px",
            "origin": "top-left corner of the slide's level-0 pixel (0, 0)",
            "x": "right",
            "y": "up: negative on the slide",
        }
        note(folder, facts(result, "gis", {"frame": frame, "picture_px": list(pixels)}))
    return result.nuclei


def _layers(result: StoredResult, unit: Unit) -> Iterator[Layer]:
    def turned(table: pa.Table) -> Shapes:
        shapes = shapes_um(table) if unit == "um" else shapes_px(table, result)
        return y_up(shapes)

    def placed(file: Path, names: list[str]) -> Iterator[pa.Table]:
        for table in tables(file, columns=[*names, "geometry"]):
            yield _with_shapes(table.select(names), turned(table))

    def layer(name: str, file: Path, kind: str) -> Layer:
        schema = schema_of(file)
        names = [n for n in schema.names if n not in (*_Y_DOWN, "geometry", "bbox")]
        fields = [schema.field(n) for n in names]
        return name, pa.schema([*fields, _GEOMETRY]), lambda: placed(file, names), kind

    yield layer(_FIRST, result.table, "Polygon" if result.outlined else "Point")
    if result.has(TISSUE):
        yield layer("tissue", result.file(TISSUE), "Polygon")
    edge = np.array([shapely.box(0, -_size(result, unit)[1], _size(result, unit)[0], 0)])
    name = pa.field("slide_id", pa.string(), nullable=False)
    only = pa.table([pa.array([result.slide_id])], schema=pa.schema([name]))
    yield "slide", pa.schema([name, _GEOMETRY]), lambda: iter([_with_shapes(only, edge)]), "Polygon"


_GEOMETRY: Final = pa.field(
    "geometry", pa.binary(), nullable=False, metadata={"ARROW:extension:name": "geoarrow.wkb"}
)


def _with_shapes(table: pa.Table, shapes: Shapes) -> pa.Table:
    wkb = pa.array(shapely.to_wkb(shapes, byte_order=1), pa.binary())
    return table.append_column(_GEOMETRY, wkb)


def _size(result: StoredResult, unit: Unit) -> tuple[float, float]:
    return result.size_um if unit == "um" else result.size_px


def _write_layer(folder: Path, layer: Layer, unit: Unit, kind: Kind) -> None:
    name, schema, rows, shape = layer
    if kind == "parquet":
        _write_parquet(folder / f"{name}.parquet", layer, unit)
        return
    stream = pa.RecordBatchReader.from_batches(
        schema, (batch for table in rows() for batch in table.cast(schema).to_batches())
    )
    file = folder / ("nuclei.gpkg" if kind == "gpkg" else f"{name}.fgb")
    _by_gdal(stream, file, name, shape, _wkt(unit))


def _by_gdal(
    rows: pa.RecordBatchReader, file: Path, layer: str, shape: str | None, crs: str | None
) -> None:
    """Write a layer, or a table without shapes, as the file's name says."""
    from pyogrio.errors import DataLayerError, DataSourceError
    from pyogrio.raw import write_arrow

    kind = file.suffix[1:]
    try:
        write_arrow(
            rows,
            file,
            layer=layer,
            driver=_DRIVERS[kind],
            geometry_name=None if shape is None else "geometry",
            geometry_type=shape,
            crs=crs,
            # Of 2018: what is of later versions brings nothing here but warnings of old readers.
            dataset_options={"VERSION": "1.2"} if kind == "gpkg" and layer == _FIRST else None,
        )
    except (DataSourceError, DataLayerError) as error:
        said = str(error).replace(str(file.parent), "").strip()
        raise StoreError(f"cannot write the export, GDAL says: {said}") from None


def _write_styles(file: Path, result: StoredResult) -> None:
    """The table in which QGIS looks for how a GeoPackage's layers look."""
    looks = {
        "nuclei": by_class(result.classes, points=not result.outlined),
        "tissue": one_colour(_GREEN),
        "slide": one_colour(_GREY),
    }
    if not result.has(TISSUE):
        del looks["tissue"]
    n = len(looks)
    table = pa.table(
        {
            "f_table_catalog": [""] * n,
            "f_table_schema": [""] * n,
            "f_table_name": list(looks),
            # What GDAL calls the column in a GeoPackage.
            "f_geometry_column": ["geom"] * n,
            "styleName": list(looks),
            "styleQML": list(looks.values()),
            "styleSLD": [""] * n,
            "useAsDefault": [True] * n,
            "description": ["colours of the model's card"] * n,
            "owner": [""] * n,
            "ui": [""] * n,
            "update_time": pa.array([datetime.now(UTC)] * n, pa.timestamp("ms", "UTC")),
        }
    )
    _by_gdal(table.to_reader(), file, "layer_styles", None, None)


def _wkt(unit: Unit) -> str:
    from pyproj import CRS

    text: str = CRS.from_json_dict(crs_y_up(unit)).to_wkt()
    return text


def _write_parquet(path: Path, layer: Layer, unit: Unit) -> None:
    """GeoParquet 1.1, like a result's own files but for the frame."""
    _, schema, rows, shape = layer
    sides = pa.struct([pa.field(side, pa.float64(), nullable=False) for side in _SIDES])
    fields = [field.remove_metadata() if field.name == "geometry" else field for field in schema]
    schema = pa.schema([*fields, pa.field("bbox", sides, nullable=False)])
    whole = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        for table in rows():
            bounds = shapely.bounds(shapely.from_wkb(table["geometry"].to_numpy()))
            whole[:2] = np.minimum(whole[:2], bounds[:, :2].min(axis=0))
            whole[2:] = np.maximum(whole[2:], bounds[:, 2:].max(axis=0))
            boxes = pa.StructArray.from_arrays(
                [pa.array(side) for side in np.ascontiguousarray(bounds.T)], fields=list(sides)
            )
            columns = [*table.columns, boxes]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(table))
        about: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": [shape],
            "crs": crs_y_up(unit),
            "edges": "planar",
            "orientation": "counterclockwise",
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        if np.isfinite(whole).all():
            about["bbox"] = whole.tolist()
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}}
        writer.add_key_value_metadata({"geo": json.dumps(geo)})


def _write_picture(
    folder: Path, result: StoredResult, unit: Unit, slide: Path | None
) -> tuple[int, int]:
    """The picture, its world file and its CRS; gives its width and height in px."""
    if slide is not None:
        name, picture, per_px = "overview.jpg", *_from_slide(result, slide)
        picture.save(folder / name, quality=90)
    else:
        name, picture, per_px = _OVERVIEW, *_from_overview(result)
        picture.save(folder / name)
    across, down = per_px if unit == "um" else np.divide(per_px, result.mpp)
    # A world file names the centre of the first px.
    world = (across, 0.0, 0.0, -down, across / 2, -down / 2)
    (folder / f"overview.{name[-3]}{name[-1]}w").write_text(
        "".join(f"{float(number)!r}\n" for number in world)
    )
    (folder / f"{name}.aux.xml").write_text(
        "<PAMDataset>\n"
        f'  <SRS dataAxisToSRSAxisMapping="1,2">{escape(_wkt(unit))}</SRS>\n'
        "</PAMDataset>\n",
        "utf-8",
    )
    return picture.size


def _from_slide(result: StoredResult, slide: Path) -> tuple[Image.Image, tuple[float, float]]:
    """The slide, small, and µm per px of that."""
    with opened_again(result, slide) as source:
        seen = thumbnail(source, max(result.size_um) / LONGEST)
    mpp = result.mpp
    return Image.fromarray(seen.pixels), (seen.scale_x * mpp[0], seen.scale_y * mpp[1])


def _from_overview(result: StoredResult) -> tuple[Image.Image, tuple[float, float]]:
    """The panel of the overview that shows the slide, and µm per px of it."""
    size, box = slide_panel(result.size_um)
    try:
        with Image.open(result.file(_OVERVIEW)) as overview:
            panel = overview.convert("RGB").crop(box)
            known = overview.size == size
    except OSError:
        known = False
    if not known:
        raise StoreError("the result's overview.png is not as wsiproc draws it: give --slide")
    width, height = result.size_um
    return panel, (width / panel.width, height / panel.height)

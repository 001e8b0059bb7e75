"""SpatialData: shapes with the transformation into the slide's px, as its 0.7 lays them out.

::

    X.zarr/shapes/nuclei/shapes.parquet    GeoParquet, µm
    X.zarr/shapes/tissue/shapes.parquet

Written without the spatialdata package, whose bounds contradict those of wsiproc.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import zarr

import wsiproc
from wsiproc.export._shapes import shapes_um
from wsiproc.export._target import MARK, facts, one_folder
from wsiproc.results.stored import TISSUE, StoredResult, schema_of, tables

RADIUS_UM: Final = 3.0
"""Of the circles that stand for nuclei without outlines: SpatialData wants one."""

_CONTAINER, _SHAPES = "0.2", "0.3"
"""Versions of the format: of the whole, and of shapes."""


def write_spatialdata(result: StoredResult, out: Path, *, replace: bool = False) -> int:
    """Write a store that `spatialdata.read_zarr` opens; gives the nuclei.

    Elements `nuclei` and `tissue` are in µm.  They lie in two coordinate systems: ``um``, as they
    are, and ``global``, the slide's level-0 px, where an image of the slide would lie as it is.
    The index of `nuclei` is `nucleus_id`.

    Raises
    ------
    AlreadyThereError, StoreError
        See `one_folder`.
    """
    with one_folder(out, replace=replace) as folder:
        elements = {"nuclei": (result.table, "nucleus_id")}
        if result.has(TISSUE):
            elements["tissue"] = (result.file(TISSUE), "region_id")
        _write_groups(folder, result, list(elements))
        for name, (file, index) in elements.items():
            points = name == "nuclei" and not result.outlined
            shapes = folder / "shapes" / name / "shapes.parquet"
            _write_shapes(shapes, file, index, points=points)
    return result.nuclei


def _write_groups(folder: Path, result: StoredResult, elements: Sequence[str]) -> None:
    """The Zarr hierarchy: what there is and where it lies, but for the shapes themselves."""
    x, y = result.mpp
    root = zarr.open_group(folder, mode="w", zarr_format=3)
    shapes = root.create_group("shapes")
    for name in elements:
        shapes.create_group(name).attrs.update(
            {
                "encoding-type": "ngff:shapes",
                "axes": ["x", "y"],
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1 / x, 1 / y], **_between("global", "pixel")},
                    {"type": "identity", **_between("um", "micrometer")},
                ],
                "spatialdata_attrs": {"version": _SHAPES},
            }
        )
    root.attrs["spatialdata_attrs"] = {
        "version": _CONTAINER,
        "spatialdata_software_version": f"wsiproc {wsiproc.__version__}",
    }
    systems = {"um": "µm, x right, y down", "global": "level-0 px"}
    root.attrs[MARK] = facts(result, "spatialdata", {"coordinate_systems": systems})
    with warnings.catch_warnings():
        # SpatialData consolidates too, and zarr says that no specification asks for it.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(folder)


def _between(system: str, unit: str) -> dict[str, Any]:
    """What a transformation leads from and to."""

    def axes(name: str, unit: str) -> dict[str, Any]:
        both = [{"name": axis, "type": "space", "unit": unit} for axis in ("x", "y")]
        return {"name": name, "axes": both}

    return {"input": axes("xy", "micrometer"), "output": axes(system, unit)}


def _write_shapes(path: Path, file: Path, index: str, *, points: bool) -> None:
    """A GeoParquet file without a CRS, which pandas reads with its index."""
    stored = schema_of(file)
    names = [name for name in stored.names if name != "bbox"]
    fields = [stored.field(name) for name in names]
    if points:
        fields.append(pa.field("radius", pa.float64()))
    schema = pa.schema([field.remove_metadata() for field in fields])
    whole = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        for table in _rows(file, names, schema, points=points):
            bounds = shapely.bounds(shapes_um(table))
            whole[:2] = np.minimum(whole[:2], bounds[:, :2].min(axis=0))
            whole[2:] = np.maximum(whole[2:], bounds[:, 2:].max(axis=0))
            writer.write_table(table, row_group_size=len(table))
        about: dict[str, Any] = {
            "encoding": "WKB",
            # SpatialData knows no CRS; a transformation says where shapes lie.
            "crs": None,
            "geometry_types": ["Point" if points else "Polygon"],
        }
        if np.isfinite(whole).all():
            about["bbox"] = whole.tolist()
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}}
        writer.add_key_value_metadata(
            {"geo": json.dumps(geo), "pandas": json.dumps(_pandas(schema, index))}
        )


def _rows(
    file: Path, names: Sequence[str], schema: pa.Schema, *, points: bool
) -> Iterator[pa.Table]:
    for table in tables(file, columns=names):
        columns = list(table.columns)
        if points:
            columns.append(pa.repeat(RADIUS_UM, len(table)))
        yield pa.table(columns, schema=schema)


def _pandas(schema: pa.Schema, index: str) -> dict[str, Any]:
    """What pandas wants to know to make a column the index."""
    kinds = {pa.string(): "unicode", pa.binary(): "bytes", pa.float32(): "float32"}
    return {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            {
                "name": field.name,
                "field_name": field.name,
                "pandas_type": kinds.get(field.type, str(field.type).replace("double", "float64")),
                "numpy_type": "object"
                if field.type in (pa.string(), pa.binary())
                else str(field.type.to_pandas_dtype().__name__),
                "metadata": None,
            }
            for field in schema
        ],
        "creator": {"library": "wsiproc", "version": wsiproc.__version__},
        "pandas_version": "2.0.0",
    }

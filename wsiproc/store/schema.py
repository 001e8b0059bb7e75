"""What stands in the Parquet files: columns, units, the CRS and the file's metadata.

Everything here is a function of the slide, the model and the science settings.  Times, versions,
hosts and devices belong to the manifest, or the same job would not give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from wsiproc.card import Card
from wsiproc.geometry import Frame

SCHEMA_VERSION: Final = 1
"""Of the result as a whole: columns, grids, order, metadata.  Part of the job key."""

GRID_UM: Final = 1 / 16
"""Outlines are snapped to multiples of this.  A power of two: decimal steps compress
half as well."""

CENTRE_UM: Final = 1 / 64
"""Centroids are snapped to multiples of this, µm in `x_um`, `y_um` and px in `x_px`, `y_px`."""

_UNIT = '{"type":"LinearUnit","name":"micrometre","conversion_factor":1e-06}'
ENGINEERING_CRS_V1: Final = (
    '{"$schema":"https://proj.org/schemas/v0.7/projjson.schema.json","type":"EngineeringCRS",'
    '"name":"wsiproc WSI level-0 micrometre v1 (x right, y down)",'
    '"datum":{"type":"EngineeringDatum",'
    '"name":"WSI level-0 image, top-left corner of pixel (0,0)"},'
    '"coordinate_system":{"subtype":"Cartesian","axis":['
    '{"name":"x","abbreviation":"x","direction":"displayRight","unit":' + _UNIT + "},"
    '{"name":"y","abbreviation":"y","direction":"displayDown","unit":' + _UNIT + "}]}}"
)
"""PROJJSON of the one CRS of every slide.  Readers take the first file's CRS for all files of a
folder without a word, and take no CRS at all for longitude and latitude: so these bytes never
change, and hold neither the slide nor its mpp."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the files say of where their rows come from.

    Parameters
    ----------
    slide_id
        The slide's name in the results.
    slide_sha256
        Fingerprint of the slide, hex.
    level0_size
        (width, height) in level-0 px.
    mpp_source
        Whether µm per px was read from the file or given by the user.
    bounds_offset
        (x, y) in level-0 px of the scanned region; (0, 0) where the slide names none.
    model_sha256
        Digest of the model's file, hex.
    params_sha256
        Digest of the science settings, hex.
    """

    slide_id: str
    slide_sha256: str
    level0_size: tuple[int, int]
    mpp_source: Literal["file", "given"]
    bounds_offset: tuple[int, int]
    model_sha256: str
    params_sha256: str


def file_metadata(provenance: Provenance, frame: Frame, card: Card) -> dict[str, str]:
    """Key/value metadata of a Parquet file, next to ``geo``; values other than text are JSON.

    ``wsiproc:um_to_px`` is ``[a, b, c, d, e, f]`` with ``x_px = a x_um + b y_um + c`` and
    ``y_px = d x_um + e y_um + f``, in level-0 px.
    """
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "slide_id": provenance.slide_id,
        "slide_sha256": provenance.slide_sha256,
        "level0_size_px": list(provenance.level0_size),
        "mpp": {"x": frame.mpp_x, "y": frame.mpp_y, "source": provenance.mpp_source},
        "bounds_offset_px": list(provenance.bounds_offset),
        "um_to_px": [1 / frame.mpp_x, 0.0, 0.0, 0.0, 1 / frame.mpp_y, 0.0],
        "model": {"name": card.name, "version": card.version, "sha256": provenance.model_sha256},
        "params_sha256": provenance.params_sha256,
    }
    return {
        f"wsiproc:{key}": value if isinstance(value, str) else _json(value)
        for key, value in values.items()
    }


def geo_metadata(
    geometry_types: Sequence[str], bbox: tuple[float, float, float, float] | None
) -> str:
    """GeoParquet 1.1 metadata of a file with the columns `geometry` (WKB) and `bbox`.

    Parameters
    ----------
    geometry_types
        Of the rows; empty for a file without any.
    bbox
        ``(xmin, ymin, xmax, ymax)`` of all rows in µm, or None for a file without any.
    """
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": list(geometry_types),
        "crs": json.loads(ENGINEERING_CRS_V1),
        "edges": "planar",
        # In numbers: with y down such a ring looks clockwise on a screen.
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if bbox is not None:
        column["bbox"] = list(bbox)
    return _json(
        {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    )


def _json(value: Any) -> str:
    # In order of insertion, which the code fixes: the CRS keeps the bytes it was published with.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _field(name: str, kind: pa.DataType, unit: str = "", says: str = "") -> pa.Field:
    facts = {key: text for key, text in (("unit", unit), ("description", says)) if text}
    return pa.field(name, kind, nullable=False, metadata=facts or None)


_NUCLEUS = (
    _field("nucleus_id", pa.int64(), says="reference pixel and class, packed; unique in the slide"),
    _field("slide_id", pa.string()),
    _field("class_id", pa.int16()),
    _field("class_name", pa.string()),
    _field("score", pa.float32(), "1", "0 to 1"),
    _field("x_um", pa.float64(), "µm", "centroid of the mask"),
    _field("y_um", pa.float64(), "µm", "centroid of the mask"),
    _field("x_px", pa.float64(), "px", "centroid of the mask, level-0 px"),
    _field("y_px", pa.float64(), "px", "centroid of the mask, level-0 px"),
)
_SHAPE = (
    _field("area_um2", pa.float32(), "µm²"),
    _field("perimeter_um", pa.float32(), "µm"),
    _field("major_um", pa.float32(), "µm", "long axis of the ellipse with the same second moments"),
    _field("minor_um", pa.float32(), "µm", "short axis of that ellipse"),
    _field("orientation_rad", pa.float32(), "rad", "long axis from x towards y, (-pi/2, pi/2]"),
    _field("solidity", pa.float32(), "1", "area over area of the convex hull"),
    _field("eccentricity", pa.float32(), "1", "of that ellipse; 0 for a circle"),
)
_GEOMETRY = (
    _field("geometry", pa.binary(), "µm", "WKB"),
    pa.field(
        "bbox",
        pa.struct([_field(side, pa.float64(), "µm") for side in ("xmin", "ymin", "xmax", "ymax")]),
        nullable=False,
    ),
)

NUCLEI: Final = pa.schema([*_NUCLEUS, *_SHAPE, *_GEOMETRY])
"""``nuclei.parquet``: a row a nucleus, its outline."""

CENTROIDS: Final = pa.schema([*_NUCLEUS, *_GEOMETRY])
"""``centroids.parquet``: a row a nucleus, in the same order, its centroid."""

TISSUE: Final = pa.schema(
    [
        _field("region_id", pa.int32()),
        _field("slide_id", pa.string()),
        _field("area_um2", pa.float64(), "µm²"),
        *_GEOMETRY,
    ]
)
"""``tissue.parquet``: a row a connected region that was looked at."""

SKIPPED: Final = pa.schema(
    [
        _field("row", pa.int32()),
        _field("column", pa.int32()),
        _field("slide_id", pa.string()),
        _field("area_um2", pa.float64(), "µm²"),
        *_GEOMETRY,
    ]
)
"""``skipped.parquet``: a row a tile that was left out because its pixels cannot be read."""

"""Outlines as GeoJSON, as QuPath writes and reads it.

Coordinates are px of the image (level 0 of a slide), x to the right and y down, pixel (0, 0)
covering [0, 1) x [0, 1): QuPath's convention and wsiproc's.
"""

from __future__ import annotations

import gzip
import json
import math
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.errors import ConfigError

PREDICTED, ANNOTATED = "predicted", "annotated"
"""Sources of outlines: drawn by a model, or by people."""

_SPACE = uuid.UUID("5d8a3c1e-4c0b-5f0e-9c53-0b7f6e4b2a11")
"""Of the names that outlines get: the same outline of the same model has the same name."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One nucleus to write.

    Parameters
    ----------
    polygon
        In px of the image.
    name
        Unique in the file; it becomes a UUID.
    class_name, color
        As on the model's card.
    score
        In [0, 1]; None where nobody gave one.
    source
        Who drew it: `PREDICTED` or `ANNOTATED`.
    """

    polygon: shapely.Polygon
    name: str
    class_name: str
    color: tuple[int, int, int]
    score: float | None
    source: str = PREDICTED


def written(outlines: Sequence[Outline], *, model: str) -> str:
    """A FeatureCollection of annotations that QuPath opens and lets people edit.

    Parameters
    ----------
    model
        What drew the outlines, for their metadata and their UUIDs.
    """
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(_SPACE, f"{model}/{outline.name}")),
            "geometry": {"type": "Polygon", "coordinates": _rings(outline.polygon)},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": outline.class_name, "color": list(outline.color)},
                "isLocked": False,
                "measurements": _measured(outline),
                "metadata": {"source": outline.source, "model": model},
            },
        }
        for outline in outlines
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=None)


def text_of(path: Path) -> str:
    """The text of a GeoJSON file, packed with gzip or not, whatever it is called.

    Raises
    ------
    OSError
        If it cannot be read.
    UnicodeDecodeError
        If it is no text.
    """
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error) as error:
            raise gzip.BadGzipFile(f"packed badly: {error}") from None
    # Some editors begin a file with a mark of its byte order.
    return content.decode("utf-8-sig")


def outlines_in(text: str, what: str) -> NDArray[np.object_]:
    """The polygons and multipolygons of a GeoJSON text, in its order.

    A FeatureCollection, a list of features or one feature, as QuPath takes them.  Of a cell its
    nucleus is taken, where it has one.

    Parameters
    ----------
    what
        Names the text in errors.

    Raises
    ------
    ConfigError
        If it is no GeoJSON, or holds something that outlines nothing, such as points.
    """
    try:
        said = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{what} is not JSON: {error}") from None
    if isinstance(said, dict):
        said = said.get("features", [said])
    if not isinstance(said, list):
        raise ConfigError(f"{what} is no GeoJSON: features are wanted")
    return np.array([_outline(f, i, what) for i, f in enumerate(said)], dtype=object)


def label_map(outlines: NDArray[np.object_], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Outlines as a label map: a pixel is inside if its centre is; holes are left out.

    Parameters
    ----------
    outlines
        Polygons and multipolygons (x, y in px).  Where two overlap the later one is on top.
    shape
        Height and width.

    Returns
    -------
    ``[h, w]`` int32: row i is i + 1, 0 where there is none.
    """
    labels = np.zeros(shape, np.int32)
    shapely.prepare(outlines)
    for i, outline in enumerate(outlines):
        x0, y0, x1, y1 = shapely.bounds(outline)
        if math.isnan(x0):
            continue
        columns = np.arange(max(0, math.floor(x0)), min(shape[1], math.ceil(x1)))
        rows = np.arange(max(0, math.floor(y0)), min(shape[0], math.ceil(y1)))
        if len(columns) and len(rows):
            x, y = np.meshgrid(columns + 0.5, rows + 0.5)
            part = labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            part[shapely.contains_xy(outline, x, y)] = i + 1
    return labels


def simplified(
    polygon: shapely.Polygon, tolerance: float, least_iou: float
) -> tuple[shapely.Polygon, float]:
    """An outline with as few points as may be, for people to drag (Douglas and Peucker 1973).

    Parameters
    ----------
    polygon
        Valid.
    tolerance
        How far the outline may move, in its own unit; halved until the bound holds.
    least_iou
        Bound of the intersection over union with what it was.

    Returns
    -------
    The outline, and its intersection over union with `polygon`.
    """
    least = tolerance / 64
    while tolerance > least:
        simple = shapely.simplify(polygon, tolerance, preserve_topology=True)
        if simple.geom_type == "Polygon" and simple.is_valid and not simple.is_empty:
            union = shapely.union(simple, polygon).area
            overlap = shapely.intersection(simple, polygon).area / union if union else 0.0
            if overlap >= least_iou:
                return simple, float(overlap)
        tolerance /= 2
    return polygon, 1.0


def _measured(outline: Outline) -> dict[str, float]:
    return {} if outline.score is None else {"score": round(outline.score, 4)}


def _rings(polygon: shapely.Polygon) -> list[list[list[float]]]:
    return [
        [[round(float(x), 2), round(float(y), 2)] for x, y in ring.coords]
        for ring in (polygon.exterior, *polygon.interiors)
    ]


def _outline(feature: Any, number: int, what: str) -> shapely.Geometry:
    said = feature if isinstance(feature, dict) else {}
    shape = said.get("nucleusGeometry", said.get("geometry"))
    kind = shape.get("type") if isinstance(shape, dict) else "nothing"
    if kind not in ("Polygon", "MultiPolygon"):
        raise ConfigError(
            f"{what}: feature {number + 1} is {kind}; only Polygon and MultiPolygon outline nuclei"
        )
    try:
        outline = shapely.from_geojson(json.dumps(shape))
    except (shapely.GEOSException, ValueError, TypeError):
        raise ConfigError(f"{what}: feature {number + 1} has no coordinates of polygons") from None
    if not np.isfinite(shapely.get_coordinates(outline)).all():
        raise ConfigError(f"{what}: feature {number + 1} has coordinates that are not finite")
    # Whoever drags a vertex across a side makes a bow-tie; what both its wings cover is meant.
    return outline if outline.is_valid else shapely.make_valid(outline)

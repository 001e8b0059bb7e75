"""Which part of a slide is asked about: a box, polygons, or both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsiproc.errors import ConfigError
from wsiproc.geojson import outlines_in
from wsiproc.results.stored import BoxUm, RowGroup, StoredResult, meet

Unit = Literal["um", "px"]
"""Micrometres, or level-0 px; from the slide's origin, x right and y down."""
UNITS: tuple[Unit, ...] = ("um", "px")

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Place:
    """A polygon and what it is called."""

    name: str
    shape: shapely.Geometry


@dataclass(frozen=True, slots=True)
class Area:
    """What is asked about, of every slide; all of it where neither box nor places are given.

    Parameters
    ----------
    box
        ``(x, y, width, height)``.
    box_unit, places_unit
        What the box, and what the polygons, are measured in.
    places
        Polygons; to be inside is to be in any of them.
    touching
        Whether nuclei count that only reach in.  If not, centroids decide.
    """

    box: tuple[float, float, float, float] | None = None
    box_unit: Unit = "um"
    places: tuple[Place, ...] | None = None
    places_unit: Unit = "px"
    touching: bool = False

    def __post_init__(self) -> None:
        if self.box is not None and not all(map(math.isfinite, self.box)):
            raise ConfigError("a box needs finite numbers")
        if self.box is not None and min(self.box[2:]) <= 0:
            raise ConfigError("a box is x, y, width, height: the last two have to exceed 0")
        if self.places is not None and not self.places:
            raise ConfigError("there is no polygon to look in")
        for unit in (self.box_unit, self.places_unit):
            if unit not in UNITS:
                raise ConfigError(f"the unit {unit!r} is not known: um or px")

    @property
    def everywhere(self) -> bool:
        """Whether nothing is left out."""
        return self.box is None and self.places is None

    def on(self, result: StoredResult) -> Region:
        """The same in µm of one slide."""
        box = None
        if self.box is not None:
            x, y, width, height = self.box
            corners = np.array([[x, y], [x + width, y + height]])
            (x0, y0), (x1, y1) = (
                result.to_um(corners) if self.box_unit == "px" else corners
            ).tolist()
            box = (x0, y0, x1, y1)
        if self.places is None:
            return Region(box, None, self.touching)
        places = tuple(
            Place(
                place.name,
                shapely.transform(place.shape, result.to_um)
                if self.places_unit == "px"
                else place.shape,
            )
            for place in self.places
        )
        for place in places:
            shapely.prepare(place.shape)
        return Region(box, places, self.touching)


@dataclass(frozen=True, slots=True)
class Region:
    """An `Area` on one slide, µm.

    A nucleus is in the box if its centroid is: left and upper edge belong to it, the others don't,
    so of boxes side by side each nucleus is in one.  It is in a polygon if its centroid is, edges
    counting.  With `touching` its outline decides, and edges count everywhere.
    """

    box: BoxUm | None
    places: tuple[Place, ...] | None
    touching: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that tell which rows are inside."""
        if self.box is None and self.places is None:
            return ()
        return ("geometry",) if self.touching else ("x_um", "y_um")

    def may_hold(self, group: RowGroup) -> bool:
        """Whether a row group may have rows inside; never wrongly False."""
        extent = group.box if self.touching else group.centres
        if extent is None:
            return True
        boxes = () if self.places is None else tuple(map(_bounds, self.places))
        return (self.box is None or meet(extent, self.box)) and (
            self.places is None or any(meet(extent, box) for box in boxes)
        )

    def holds(self, rows: pa.Table) -> Bools:
        """``[n]`` which rows are inside."""
        inside = np.ones(len(rows), np.bool_)
        if self.box is not None:
            inside &= self._in_box(rows, self.box)
        if self.places is not None:
            inside &= np.logical_or.reduce([self.in_place(rows, place) for place in self.places])
        return inside

    def in_place(self, rows: pa.Table, place: Place) -> Bools:
        """``[n]`` which rows are in one of the polygons."""
        found: Bools
        if self.touching:
            found = shapely.intersects(place.shape, _shapes(rows))
        else:
            found = shapely.intersects_xy(place.shape, *_centres(rows))
        return found

    def _in_box(self, rows: pa.Table, box: BoxUm) -> Bools:
        found: Bools
        if self.touching:
            found = shapely.intersects(shapely.box(*box), _shapes(rows))
        else:
            x, y = _centres(rows)
            found = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        return found


def places_in(path: str | Path) -> tuple[Place, ...]:
    """The polygons of a GeoJSON file, as QuPath writes it, with the names they have there.

    Those without a name are called by their class, those without either ``region 1`` and so on.

    Raises
    ------
    ConfigError
        If it cannot be read, or holds something else than polygons.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"the file of polygons cannot be read: {why}") from None
    shapes = outlines_in(text, "the file of polygons")
    said = json.loads(text)
    features = said.get("features", [said]) if isinstance(said, dict) else said
    return named(zip(map(_name, features), shapes, strict=True))


def named(shapes: Iterable[tuple[str, shapely.Geometry]]) -> tuple[Place, ...]:
    """Polygons with names that tell them apart."""
    seen: dict[str, int] = {}
    places = []
    for number, (given, shape) in enumerate(shapes, start=1):
        name = given or f"region {number}"
        seen[name] = seen.get(name, 0) + 1
        places.append(Place(name if seen[name] == 1 else f"{name} ({seen[name]})", shape))
    return tuple(places)


def places_of(shapes: Any) -> tuple[Place, ...]:
    """Polygons as they are at hand in Python: one or many of shapely's, or a table of them.

    Raises
    ------
    ConfigError
        If something else is among them.
    """
    if isinstance(shapes, str | Path):
        return places_in(shapes)
    found = getattr(shapes, "geometry", shapes)
    many: Sequence[Any] = [found] if isinstance(found, shapely.Geometry) else list(found)
    for shape in many:
        if getattr(shape, "geom_type", None) not in ("Polygon", "MultiPolygon"):
            raise ConfigError("only polygons have an inside: give those, or a file of GeoJSON")
    return named(("", shapely.make_valid(shape)) for shape in many)


def _name(feature: Any) -> str:
    said = feature.get("properties") or {}
    name = said.get("name")
    if not isinstance(name, str) or not name:
        group = said.get("classification")
        name = group.get("name") if isinstance(group, dict) else group
    return name if isinstance(name, str) else ""


def _bounds(place: Place) -> BoxUm:
    x0, y0, x1, y1 = shapely.bounds(place.shape).tolist()
    return x0, y0, x1, y1


def _shapes(rows: pa.Table) -> NDArray[np.object_]:
    shapes: NDArray[np.object_] = shapely.from_wkb(rows["geometry"].to_numpy(zero_copy_only=False))
    return shapes


def _centres(rows: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.asarray(rows["x_um"]), np.asarray(rows["y_um"])

"""How many nuclei there are, how densely they lie, and how large they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import shapely

from wsiproc.errors import ConfigError, WsiprocError
from wsiproc.results.conditions import private
from wsiproc.results.regions import Place, Region
from wsiproc.results.selection import Selection
from wsiproc.results.stored import TISSUE, StoredResult, tables

_SKIPPED: Final = "skipped.parquet"
_UM2: Final = 1e6
"""µm² in a mm²."""
_OF: Final = ("mean", "sd", "min", "median", "max")


@dataclass(slots=True)
class _Tally:
    """Nuclei of one slide, or of one polygon on it, by class."""

    slide_id: str
    place: str | None
    area_um2: float
    tissue_um2: float | None
    classes: Counter[str] = field(default_factory=Counter)

    def count(self, names: pa.ChunkedArray) -> None:
        for one in names.value_counts().to_pylist():
            self.classes[one["values"]] += one["counts"]


def statistics(selection: Selection) -> dict[str, Any]:
    """Counts, densities and the spread of every measure, as one object that JSON can hold.

    Densities are told twice: ``per_mm2`` of the area that was asked about (within the slide), and
    ``per_mm2_tissue`` of the tissue in it in which nuclei were looked for; tiles that could not be
    read are no part of that.  Nuclei count by their centroids.  The memory needed is 4 bytes a
    nucleus and measure, for the medians.

    Returns
    -------
    ``nuclei``, ``area_mm2``, ``tissue_mm2``, ``per_mm2``, ``per_mm2_tissue``; ``classes``: the
    same for each class with its ``share``, and ``measures``: of each column mean, standard
    deviation, least, median and most; ``slides`` and, if polygons were given, ``places``: nuclei,
    areas and densities of each.  None stands for what cannot be told.

    Raises
    ------
    ConfigError
        If nuclei on a border would count twice, or only some are asked for.
    StoreError
        If a result cannot be read.
    """
    if selection.question.area.touching:
        raise ConfigError("a density needs centroids: leave --touching out")
    if selection.question.limit is not None:
        raise ConfigError("a density needs all nuclei of an area: leave --limit out")
    slides: list[_Tally] = []
    places: list[_Tally] = []
    measured = _spreads(selection, _counted(selection, slides, places))
    counts = sum((one.classes for one in slides), Counter[str]())
    area = sum(one.area_um2 for one in slides)
    tissue = _sum([one.tissue_um2 for one in slides])
    nuclei = counts.total()
    return {
        **_density(nuclei, area, tissue),
        "classes": [
            {
                "class_name": name,
                **_density(counts[name], area, tissue),
                "share": counts[name] / nuclei if nuclei else None,
                "measures": measured.get(name, {}),
            }
            for name in selection.question.classes or selection.classes
        ],
        "slides": [_told(one) for one in slides],
        **({"places": [_told(one) for one in places]} if places else {}),
    }


def searched_um2(result: StoredResult, shape: shapely.Geometry | None = None) -> float | None:
    """Area of the tissue in which nuclei were looked for, µm²; None where it is not stored.

    Parameters
    ----------
    shape
        Only in here, µm; None for the whole slide.

    Raises
    ------
    StoreError
        If the result cannot be read.
    """
    if not result.has(TISSUE):
        return None
    tissue = _shapes(result, TISSUE)
    if shape is not None:
        tissue = shapely.intersection(tissue, shape)
    area = float(shapely.area(tissue).sum())
    if result.has(_SKIPPED):
        unread = shapely.union_all(_shapes(result, _SKIPPED))
        area -= float(shapely.area(shapely.intersection(tissue, unread)).sum())
    return area


def _spreads(
    selection: Selection, batches: Iterator[pa.RecordBatch]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Of each class, for each measure, the numbers that `_OF` names; reads all of `batches`."""
    measures = _numeric(selection)
    columns = [
        f"avg({x}), stddev_samp({x}), min({x}), quantile_cont({x}, .5), max({x})"
        for x in (f"m{i}::DOUBLE" for i in range(len(measures)))
    ]
    # Columns about neighbours bear the names of classes, which may be anything: here, none do.
    plain = pa.schema(
        [
            pa.field("class_name", pa.string()),
            *(
                pa.field(f"m{i}", selection.stored.field(name).type)
                for i, name in enumerate(measures)
            ),
        ]
    )
    failed: list[WsiprocError] = []

    def renamed() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=plain)
        except WsiprocError as error:
            failed.append(error)
            raise

    with private() as database:
        database.register("rows", pa.RecordBatchReader.from_batches(plain, renamed()))
        said = f"SELECT {', '.join(['class_name', *columns])} FROM rows GROUP BY class_name"  # noqa: S608
        try:
            found = database.execute(said).fetchall()
        except duckdb.Error:
            # DuckDB passes on what a stream fails of, but not as what it was.
            if failed:
                raise failed[0] from None
            raise
    return {row[0]: _spread(measures, row[1:]) for row in found}


def _counted(
    selection: Selection, slides: list[_Tally], places: list[_Tally]
) -> Iterator[pa.RecordBatch]:
    """The rows to measure, counted on their way."""
    regions = [selection.question.area.on(result) for result in selection.results]
    on: dict[int, tuple[_Tally, Region, list[tuple[Place, _Tally]]]] = {}
    for result, region in zip(selection.results, regions, strict=True):
        whole = _shape(result, region)
        slide = _tally(result, None, whole)
        of_places = []
        for place in region.places or ():
            part = shapely.intersection(_shape(result, region, place), whole)
            of_places.append((place, _tally(result, place.name, part)))
        slides.append(slide)
        places += [tally for _, tally in of_places]
        on[id(result)] = slide, region, of_places
    wanted = _measured(selection)
    needed = tuple(dict.fromkeys((*wanted.schema.names, *regions[0].columns)))
    for result, rows in selection.only(*needed).by_result():
        slide, region, of_places = on[id(result)]
        slide.count(rows["class_name"])
        for place, tally in of_places:
            inside = region.in_place(rows, place)
            tally.count(rows["class_name"].filter(pa.array(inside)))
        yield from rows.select(wanted.schema.names).cast(wanted.schema).to_batches()


def _tally(result: StoredResult, place: str | None, shape: shapely.Geometry) -> _Tally:
    area = float(shapely.area(shape))
    return _Tally(result.slide_id, place, area, searched_um2(result, shape))


def _measured(selection: Selection) -> Selection:
    return selection.only("class_name", *_numeric(selection))


def _numeric(selection: Selection) -> list[str]:
    """Columns whose mean says something: no names, and no places."""
    return [
        one.name
        for one in selection.stored
        if (pa.types.is_float32(one.type) and one.name != "orientation_rad")
        or one.name.startswith("around_")
    ]


def _shape(result: StoredResult, region: Region, place: Place | None = None) -> shapely.Geometry:
    """The part of the slide that is asked about, or of one polygon, µm."""
    shape: shapely.Geometry = shapely.box(0, 0, *result.size_um)
    if region.box is not None:
        shape = shapely.intersection(shape, shapely.box(*region.box))
    within = (place,) if place is not None else region.places
    if within is not None:
        shape = shapely.intersection(shape, shapely.union_all([one.shape for one in within]))
    return shape


def _shapes(result: StoredResult, name: str) -> Any:
    rows = [some["geometry"] for some in tables(result.file(name), columns=["geometry"])]
    return shapely.from_wkb(np.concatenate([np.empty(0, object), *(c.to_numpy() for c in rows)]))


def _spread(measures: list[str], row: tuple[Any, ...]) -> dict[str, dict[str, float | None]]:
    return {
        name: dict(zip(_OF, row[i * len(_OF) : (i + 1) * len(_OF)], strict=True))
        for i, name in enumerate(measures)
    }


def _told(tally: _Tally) -> dict[str, Any]:
    density = _density(tally.classes.total(), tally.area_um2, tally.tissue_um2)
    name = {} if tally.place is None else {"place": tally.place}
    return {"slide_id": tally.slide_id, **name, **density, "classes": dict(tally.classes)}


def _density(nuclei: int, area_um2: float, tissue_um2: float | None) -> dict[str, Any]:
    return {
        "nuclei": nuclei,
        "area_mm2": area_um2 / _UM2,
        "tissue_mm2": None if tissue_um2 is None else tissue_um2 / _UM2,
        "per_mm2": nuclei / area_um2 * _UM2 if area_um2 else None,
        "per_mm2_tissue": nuclei / tissue_um2 * _UM2 if tissue_um2 else None,
    }


def _sum(areas: list[float | None]) -> float | None:
    known = [area for area in areas if area is not None]
    return sum(known) if len(known) == len(areas) else None

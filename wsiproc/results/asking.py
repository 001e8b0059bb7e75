"""One question to published results, as it is asked from Python: ``wsiproc.query(...)``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsiproc.results.neighbours import Asked
from wsiproc.results.regions import Area, Unit, places_of
from wsiproc.results.selection import Question, Selection, select
from wsiproc.results.stored import find_results


def query(
    results: str | Path | Sequence[str | Path],
    *,
    box: tuple[float, float, float, float] | None = None,
    within: Any = None,
    unit: Unit | None = None,
    touching: bool = False,
    classes: Sequence[str] = (),
    where: str | None = None,
    nearest: Sequence[str] = (),
    around_um: float | None = None,
    columns: Sequence[str] = (),
    limit: int | None = None,
) -> Selection:
    """The nuclei of published results that answer a question.

    Only the row groups that the box and the polygons touch are read, and no more than one of them
    is held at a time, until the answer is asked for: ``.to_geopandas()``, ``.to_arrow()``,
    ``.count()``, or as an Arrow stream, which polars, DuckDB and others take as it is.

    Parameters
    ----------
    results
        A result, a folder of results, or several of either.
    box
        ``(x, y, width, height)``: nuclei whose centroid lies in it.  Left and upper edge belong to
        it, the others don't.
    within
        Polygons, a nucleus' centroid being in any of them: shapely's, a GeoDataFrame, or the path
        of a GeoJSON file.
    unit
        Of the box and the polygons: ``"um"`` or ``"px"`` (level 0).  By default µm, but px for a
        GeoJSON file, as QuPath writes it.
    touching
        Count nuclei that only reach into box or polygons, too.
    classes
        Names of classes; empty for all.
    where
        A condition over the columns in SQL, such as ``"area_um2 > 60 AND score >= .8"``.
    nearest
        Classes: each adds a column ``nearest_CLASS_um``, the distance to the nearest other nucleus
        of that class.
    around_um
        Adds for each class a column ``around_CLASS``: other nuclei within this radius, µm.
    columns
        What to tell; empty for everything.
    limit
        At most so many nuclei.

    Raises
    ------
    ConfigError
        If the question makes no sense: an unknown column or class, or a condition that is none.
    StoreError
        If there is no result, or it is damaged.
    """
    from_file = isinstance(within, str | Path)
    paths = [results] if isinstance(results, str | Path) else list(results)
    area = Area(
        box=box,
        box_unit=unit or "um",
        places=None if within is None else places_of(within),
        places_unit=unit or ("px" if from_file else "um"),
        touching=touching,
    )
    question = Question(
        area=area,
        classes=tuple(classes),
        where=where,
        columns=tuple(columns),
        limit=limit,
        asked=Asked(tuple(nearest), around_um),
    )
    return select(find_results(paths), question)

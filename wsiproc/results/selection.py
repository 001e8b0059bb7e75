"""Some nuclei of some slides: what is asked, and the rows that answer it, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsiproc.errors import ConfigError
from wsiproc.results.conditions import Condition, private, understood
from wsiproc.results.neighbours import Asked, Neighbourhood
from wsiproc.results.regions import Area, Region
from wsiproc.results.stored import (
    CENTROIDS,
    NUCLEI,
    RowGroup,
    StoredResult,
    opened,
    row_groups,
    schema_of,
)
from wsiproc.store.schema import ENGINEERING_CRS_V1

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


@dataclass(frozen=True, slots=True)
class Question:
    """Which nuclei, and what of them.

    Parameters
    ----------
    area
        Where.
    classes
        Names of classes; empty for all.
    where
        A condition over columns (`conditions`), those of `asked` among them.
    columns
        What to tell, in this order; empty for everything.
    limit
        At most so many nuclei, the first ones of all slides together.
    asked
        Columns about neighbours, to be added.
    """

    area: Area = field(default_factory=Area)
    classes: tuple[str, ...] = ()
    where: str | None = None
    columns: tuple[str, ...] = ()
    limit: int | None = None
    asked: Asked = field(default_factory=Asked)


@dataclass(frozen=True)
class Selection:
    """The nuclei that answer a question; made by `select`, read when it is asked for them.

    Rows come in the order of the results and, in each, in its own order: the same each time.
    Anything that takes Arrow streams takes a selection as it is: ``polars.DataFrame(selection)``.

    Parameters
    ----------
    results
        Where to look.
    question
        What for.
    condition
        Its `where`, understood.
    """

    results: tuple[StoredResult, ...]
    question: Question
    condition: Condition | None

    @cached_property
    def file(self) -> str:
        """The table that is read: outlines, or centroids where a result has no outlines."""
        return NUCLEI if all(result.outlined for result in self.results) else CENTROIDS

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of all results, in order of appearance."""
        return tuple(dict.fromkeys(c.name for result in self.results for c in result.classes))

    @cached_property
    def stored(self) -> pa.Schema:
        """Every column that there is, those about neighbours last."""
        first = schema_of(self.results[0].file(self.file)).remove_metadata()
        return pa.schema([*first, *self.question.asked.fields(self.classes)])

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that were asked for.  `geometry` is marked as geoarrow.wkb in our CRS."""
        names = self.question.columns or self.stored.names
        return pa.schema([_marked(self.stored.field(name)) for name in names])

    def tables(self) -> Iterator[pa.Table]:
        """The rows, a table for every row group that has some; none of them empty.

        Raises
        ------
        ConfigError
            If the condition cannot be evaluated.
        StoreError
            If a result cannot be read.
        """
        for _, rows in self.by_result():
            yield rows

    def by_result(self) -> Iterator[tuple[StoredResult, pa.Table]]:
        """`tables`, each with the result that it is from."""
        left = self.question.limit
        # A database is opened for what people wrote; without a condition nothing needs one.
        with private() if self.condition is not None else nullcontext() as database:
            for result in self.results:
                for rows in self._of(result, database):
                    some = rows if left is None else rows.slice(0, left)
                    yield result, some
                    if left is not None:
                        left -= len(some)
                        if left <= 0:
                            return

    def count(self) -> int:
        """How many there are."""
        asked = self.question
        if asked.area.everywhere and not asked.classes and asked.where is None:
            every = sum(result.nuclei for result in self.results)
            return every if asked.limit is None else min(every, asked.limit)
        return sum(map(len, self.only("nucleus_id").tables()))

    def only(self, *columns: str) -> Selection:
        """The same nuclei with these columns; those that make up none are left out."""
        return replace(self, question=replace(self.question, columns=columns))

    def to_arrow(self) -> pa.Table:
        """All of it in memory."""
        return pa.Table.from_batches(self._batches(), self.schema)

    def to_geopandas(self) -> GeoDataFrame:
        """All of it as a GeoDataFrame: with its geometry, and without `bbox` unless it is named."""
        import geopandas
        import shapely

        names = self.question.columns or [n for n in self.stored.names if n != "bbox"]
        rows = self.only(*dict.fromkeys((*names, "geometry"))).to_arrow()
        shapes = shapely.from_wkb(rows["geometry"].to_numpy())
        plain = rows.drop_columns("geometry").to_pandas()
        found = geopandas.GeoDataFrame(plain, geometry=shapes, crs=ENGINEERING_CRS_V1)
        return found[rows.schema.names]

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows as an Arrow stream, in bounded memory (Arrow's PyCapsule interface)."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def groups(self, result: StoredResult) -> list[RowGroup]:
        """The row groups of a result that may have rows of the area; no others are read."""
        region = self.question.area.on(result)
        return [group for group in row_groups(result.file(self.file)) if region.may_hold(group)]

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for rows in self.tables():
            yield from rows.cast(self.schema).combine_chunks().to_batches()

    def _of(
        self, result: StoredResult, database: duckdb.DuckDBPyConnection | None
    ) -> Iterator[pa.Table]:
        """Rows of one result: first the columns that decide, then the others where any is left."""
        region = self.question.area.on(result)
        groups = self.groups(result)
        if not groups:
            return
        names = self.schema.names
        added = {f.name for f in self.question.asked.fields(self.classes)}
        looked_at = {*names, *(self.condition.columns if self.condition is not None else ())}
        around = Neighbourhood.of(result) if added & looked_at else None
        first = self._deciding(region, around is not None)
        later = [name for name in names if name not in first and name not in added]
        with opened(result.file(self.file)) as parquet:
            for group in groups:
                rows = _read(parquet, group, first)
                keep, rows = self._kept(rows, region, around, database)
                if not len(keep):
                    continue
                more = _read(parquet, group, later)
                if len(keep) < group.rows:
                    more = more.take(pa.array(keep))
                for name in later:
                    rows = rows.append_column(more.schema.field(name), more[name])
                yield rows.select(names)

    def _deciding(self, region: Region, neighbours: bool) -> list[str]:
        """Columns that have to be read to know whether a row is wanted."""
        needed: dict[str, None] = dict.fromkeys(region.columns)
        if self.question.classes:
            needed["class_name"] = None
        if neighbours:
            needed |= dict.fromkeys(("x_um", "y_um", "class_name"))
        if self.condition is not None:
            added = {f.name for f in self.question.asked.fields(self.classes)}
            needed |= dict.fromkeys(c for c in self.condition.columns if c not in added)
        return list(needed)

    def _kept(
        self,
        rows: pa.Table,
        region: Region,
        around: Neighbourhood | None,
        database: duckdb.DuckDBPyConnection | None,
    ) -> tuple[NDArray[np.intp], pa.Table]:
        """Which rows of a row group are wanted, and those."""
        keep = np.arange(len(rows))
        if region.columns:
            keep = np.flatnonzero(region.holds(rows))
            rows = _taken(rows, keep)
        if self.question.classes:
            wanted = pa.array(self.question.classes, pa.string())
            some = np.flatnonzero(pc.is_in(rows["class_name"], wanted))
            keep, rows = keep[some], _taken(rows, some)
        if around is not None and len(keep):
            more = around.columns(rows, self.question.asked, self.classes)
            for name in more.schema.names:
                rows = rows.append_column(more.schema.field(name), more[name])
        if self.condition is not None and database is not None and len(keep):
            some = np.flatnonzero(self.condition.holds(rows, database))
            keep, rows = keep[some], _taken(rows, some)
        return keep, rows


def select(results: Sequence[StoredResult], question: Question) -> Selection:
    """The nuclei that answer a question.

    Raises
    ------
    ConfigError
        If it asks for columns or classes that there are none of, or its condition is not one.
    StoreError
        If a result cannot be read.
    """
    if not results:
        raise ConfigError("no result is named")
    selection = Selection(tuple(results), question, None)
    for name in (*question.classes, *question.asked.nearest):
        if name not in selection.classes:
            raise ConfigError(
                f"there is no class {name!r}; there are {', '.join(selection.classes)}"
            )
    for name in question.columns:
        if name not in selection.stored.names:
            raise ConfigError(
                f"there is no column {name!r}; there are {', '.join(selection.stored.names)}"
            )
    if len(set(question.columns)) < len(question.columns):
        raise ConfigError("a column is named twice")
    if question.limit is not None and question.limit < 1:
        raise ConfigError("a limit has to be 1 or more")
    _on_a_slide(selection)
    if question.where is None:
        return selection
    columns = [name for name in selection.stored.names if name != "geometry"]
    return replace(selection, condition=understood(question.where, columns))


def _on_a_slide(selection: Selection) -> None:
    """Polygons that miss every slide were meant in another unit, or for another slide."""
    area = selection.question.area
    if area.places is None:
        return
    for result in selection.results:
        slide = RowGroup(0, 0, 0, box := (0.0, 0.0, *result.size_um), box)
        if replace(area, box=None).on(result).may_hold(slide):
            return
    other = "um" if area.places_unit == "px" else "px"
    raise ConfigError(
        f"none of the polygons lies on a slide if they are in {area.places_unit}: "
        f"if they are in {other}, say so with the unit"
    )


def _read(parquet: pq.ParquetFile, group: RowGroup, columns: list[str]) -> pa.Table:
    """Some columns of a row group; of none, a table of as many rows."""
    if not columns:
        return pa.table({"row": pa.nulls(group.rows)}).select([])
    return parquet.read_row_group(group.number, columns=columns).select(columns)


def _taken(rows: pa.Table, index: NDArray[np.intp]) -> pa.Table:
    return rows if len(index) == len(rows) else rows.take(pa.array(index))


def _marked(one: pa.Field) -> pa.Field:
    """`geometry` with what Arrow calls it, so that readers know it for one."""
    if one.name != "geometry":
        return one
    crs = '{"crs":' + ENGINEERING_CRS_V1 + ',"crs_type":"projjson"}'
    return one.with_metadata(
        {
            **(one.metadata or {}),
            b"ARROW:extension:name": b"geoarrow.wkb",
            b"ARROW:extension:metadata": crs.encode(),
        }
    )

"""A slide's nuclei, sorted without holding them, and its tissue, as GeoParquet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from wsiproc.card import Card
from wsiproc.errors import StoreError
from wsiproc.geometry import Box, Frame
from wsiproc.nuclei import Nuclei, concat
from wsiproc.store.geoparquet import PIECE, writing
from wsiproc.store.order import key_of
from wsiproc.store.rings import Floats, bounds_um, wkb_points, wkb_polygons
from wsiproc.store.schema import (
    CENTRE_UM,
    CENTROIDS,
    GRID_UM,
    NUCLEI,
    SKIPPED,
    TISSUE,
    Provenance,
    file_metadata,
)
from wsiproc.store.shapes import measure, outlines
from wsiproc.tiling import Tile

HELD: Final = 60_000
"""Nuclei of recently read parts that are kept in memory while rows are gathered."""

Heard = Callable[[Floats, Floats, NDArray[np.int16]], None]


class KeptPart(Protocol):
    """Some nuclei of a slide, in the slide's model px, that can be loaded again and again."""

    def load(self) -> Nuclei:
        """The nuclei; each time the same, in the same order."""


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in the files.

    Parameters
    ----------
    nuclei
        Rows.
    by_class
        Rows of each class of the card.
    repaired
        Outlines that crossed or touched themselves, of which the largest part was kept.
    collapsed
        Outlines without area on the grid, which became tiny squares.
    """

    nuclei: int
    by_class: tuple[int, ...]
    repaired: int
    collapsed: int


def write_nuclei(
    folder: Path,
    parts: Sequence[KeptPart],
    *,
    frame: Frame,
    card: Card,
    provenance: Provenance,
    heard: Heard | None = None,
) -> Written:
    """Write ``centroids.parquet`` and, for a model that outlines, ``nuclei.parquet``.

    Both have the same rows in the same order: along the Hilbert curve, then by id.  Only sort
    keys (20 bytes a nucleus), a row group's finished columns and a few parts are held at once, so
    parts are loaded once for their keys and a few times for their rows.  Which nucleus is in which
    part has no effect on the bytes.

    Parameters
    ----------
    heard
        Called for each piece of rows with ``x_um``, ``y_um`` and ``class_id`` of its rows.

    Raises
    ------
    StoreError
        If two nuclei have the same id, or a file cannot be written.
    """
    order, begin = _sorted(parts, frame)
    by_class = np.zeros(len(card.classes), np.int64)
    repaired = collapsed = 0
    metadata = file_metadata(provenance, frame, card)
    with ExitStack() as files:
        points = files.enter_context(
            writing(folder / "centroids.parquet", CENTROIDS, metadata, "Point")
        )
        polygons = (
            files.enter_context(writing(folder / "nuclei.parquet", NUCLEI, metadata, "Polygon"))
            if card.polygons
            else None
        )
        for nuclei in _gathered(parts, order, begin):
            columns, x, y = _columns(nuclei, frame, card, provenance)
            points.write({**columns, "geometry": wkb_points(x, y)}, (x, y, x, y))
            if polygons is not None:
                shapes = outlines(nuclei, frame)
                rings = shapes.placed()
                columns |= {**measure(shapes).columns(), "geometry": wkb_polygons(rings)}
                polygons.write(columns, bounds_um(rings))
                repaired += shapes.repaired
                collapsed += shapes.collapsed
            by_class += np.bincount(nuclei.class_id, minlength=len(by_class))
            if heard is not None:
                heard(x, y, nuclei.class_id)
    return Written(len(order), tuple(int(n) for n in by_class), repaired, collapsed)


def write_tissue(
    folder: Path,
    regions: Sequence[Polygon],
    *,
    frame: Frame,
    card: Card,
    provenance: Provenance,
) -> int:
    """Write ``tissue.parquet``: the regions that were looked at, in µm; gives its rows.

    Regions are snapped to the 1/16 µm grid, which may split or drop slivers.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    snapped = shapely.get_parts(
        shapely.set_precision(shapely.make_valid(np.asarray(regions, np.object_)), GRID_UM)
    )
    flat = shapely.get_type_id(snapped) == shapely.GeometryType.POLYGON
    shapes = shapely.orient_polygons(shapely.normalize(snapped[flat]))
    centre = shapely.get_coordinates(shapely.centroid(shapes))
    shapes = shapes[np.lexsort((-shapely.area(shapes), key_of(centre[:, 0], centre[:, 1])))]
    metadata = file_metadata(provenance, frame, card)
    with writing(folder / "tissue.parquet", TISSUE, metadata, "Polygon") as file:
        for first in range(0, len(shapes), PIECE):
            rows = shapes[first : first + PIECE]
            xmin, ymin, xmax, ymax = shapely.bounds(rows).T
            columns = {
                "region_id": np.arange(first, first + len(rows), dtype=np.int32),
                "slide_id": pa.repeat(provenance.slide_id, len(rows)),
                "area_um2": shapely.area(rows),
                "geometry": pa.array(shapely.to_wkb(rows, byte_order=1), pa.binary()),
            }
            file.write(columns, (xmin, ymin, xmax, ymax))
    return len(shapes)


def write_skipped(
    folder: Path,
    tiles: Sequence[tuple[Tile, Box]],
    *,
    frame: Frame,
    card: Card,
    provenance: Provenance,
) -> None:
    """Write ``skipped.parquet``: the tiles that were left out, row by row, in µm.

    Parameters
    ----------
    tiles
        Each with the box of model px in which it would have owned nuclei.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    tiles = sorted(tiles, key=lambda item: (item[0].row, item[0].column))
    corners = np.array([box.as_tuple() for _, box in tiles], np.float64).reshape(-1, 2, 2)
    (x0, y0), (x1, y1) = (corners * frame.um_per_px).transpose(1, 2, 0)
    shapes = shapely.box(x0, y0, x1, y1)
    metadata = file_metadata(provenance, frame, card)
    with writing(folder / "skipped.parquet", SKIPPED, metadata, "Polygon") as file:
        columns = {
            "row": np.array([tile.row for tile, _ in tiles], np.int32),
            "column": np.array([tile.column for tile, _ in tiles], np.int32),
            "slide_id": pa.repeat(provenance.slide_id, len(tiles)),
            "area_um2": shapely.area(shapes),
            "geometry": pa.array(shapely.to_wkb(shapes, byte_order=1), pa.binary()),
        }
        file.write(columns, (x0, y0, x1, y1))


def centres_um(nuclei: Nuclei, frame: Frame) -> tuple[Floats, Floats]:
    """``x_um, y_um`` as they are stored: the masks' centroids, to the nearest 1/64 µm."""
    per_x, per_y = (um / CENTRE_UM for um in frame.um_per_px)
    return np.rint(nuclei.x * per_x) * CENTRE_UM, np.rint(nuclei.y * per_y) * CENTRE_UM


def _columns(
    nuclei: Nuclei, frame: Frame, card: Card, provenance: Provenance
) -> tuple[dict[str, pa.Array | NDArray[Any]], Floats, Floats]:
    """The columns that both files share, and the centroids in µm."""
    x, y = centres_um(nuclei, frame)
    names = pa.array([c.name for c in card.classes], pa.string())
    px = frame.um_to_level0(np.stack([x, y], axis=1))
    px = np.rint(px / CENTRE_UM) * CENTRE_UM
    return (
        {
            "nucleus_id": nuclei.ids,
            "slide_id": pa.repeat(provenance.slide_id, len(nuclei)),
            "class_id": nuclei.class_id,
            "class_name": names.take(pa.array(nuclei.class_id)),
            "score": nuclei.score,
            "x_um": x,
            "y_um": y,
            "x_px": np.ascontiguousarray(px[:, 0]),
            "y_px": np.ascontiguousarray(px[:, 1]),
        },
        x,
        y,
    )


def _sorted(parts: Sequence[KeptPart], frame: Frame) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The order of all rows, counted through the parts, and where each part begins."""
    keys: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
    ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for part in parts:
        nuclei = part.load()
        keys.append(key_of(*centres_um(nuclei, frame)))
        ids.append(nuclei.ids)
    begin = np.cumsum([len(some) for some in ids])
    key, name = np.concatenate(keys), np.concatenate(ids)
    order = np.lexsort((name, key))
    # Two nuclei with one name have one reference pixel, but their centroids may lie in two cells.
    name.sort()
    doubled = int(np.count_nonzero(name[1:] == name[:-1]))
    if doubled:
        raise StoreError(f"{doubled} nuclei have the id of another: the seams were not settled")
    return order, begin


def _gathered(
    parts: Sequence[KeptPart], order: NDArray[np.intp], begin: NDArray[np.int64]
) -> Iterator[Nuclei]:
    """The nuclei in order, a piece at a time."""
    held: OrderedDict[int, Nuclei] = OrderedDict()
    for first in range(0, len(order), PIECE):
        rows = order[first : first + PIECE]
        part = np.searchsorted(begin, rows, side="right") - 1
        grouped = np.argsort(part, kind="stable")
        pieces = []
        numbers, edges = np.unique(part[grouped], return_index=True)
        for number, some in zip(numbers.tolist(), np.split(grouped, edges[1:]), strict=True):
            nuclei = _recent(held, parts, number)
            pieces.append(nuclei.take(rows[some] - begin[number]))
        back = np.empty_like(grouped)
        back[grouped] = np.arange(len(grouped))
        yield concat(pieces).take(back)


def _recent(held: OrderedDict[int, Nuclei], parts: Sequence[KeptPart], number: int) -> Nuclei:
    """A part, from memory where it was used lately."""
    if number in held:
        held.move_to_end(number)
        return held[number]
    nuclei = parts[number].load()
    held[number] = nuclei
    while len(held) > 1 and sum(len(some) for some in held.values()) > HELD:
        held.popitem(last=False)
    return nuclei

"""Two results of one slide, nucleus by nucleus.

What stays in memory is some tens of bytes a nucleus; outlines pass through, a square of the slide
at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsiproc.diff.cells import Reader, Rows, around, reading, squares
from wsiproc.diff.difference import GAINED, LOST, MATCHED, MOVED, RECLASSIFIED, Difference, Side
from wsiproc.diff.pairing import SAME_IOU, Ints, Pairs, candidates, joined, settled
from wsiproc.diff.tally import Tally
from wsiproc.errors import ConfigError
from wsiproc.results.stored import TISSUE, BoxUm, StoredResult, tables

RADIUS_UM: Final = 3.0
"""Centroids within it may be of one nucleus: half the diameter of a small one."""
_PIECE: Final = 100_000
"""Points that are looked up in regions at once."""


def compare(a: StoredResult, b: StoredResult, *, radius_um: float = RADIUS_UM) -> Difference:
    """Find out what became of each nucleus of A in B, and which ones are new.

    Outlines are compared where both results have them, centroids otherwise.

    Parameters
    ----------
    a, b
        Two results of one slide: the one that is in use, and the one that may replace it.
    radius_um
        Nuclei whose outlines share too little are the same one up to this distance.

    Raises
    ------
    ConfigError
        If they are of two slides, or measure the slide with two resolutions.
    StoreError
        If a file cannot be read.
    """
    _comparable(a, b, radius_um)
    outlined = a.outlined and b.outlined
    names = tuple(dict.fromkeys(c.name for result in (a, b) for c in result.classes))
    said = [tuple(c.name for c in result.classes) for result in (a, b)]
    told = min(map(len, said)) > 1 or said[0] == said[1]
    with reading(a, b, outlined=outlined) as (one, two):
        maps = tuple(np.array([names.index(n) for n in some], np.int16) for some in said)
        side_a, side_b, found = _swept(one, two, (maps[0], maps[1]), radius_um)
    pairs = settled(found, radius_um)
    difference = Difference(a, b, radius_um, outlined, names, told, side_a, side_b, pairs)
    _name(difference)
    return difference


def regions(difference: Difference) -> list[tuple[int, float, Tally]]:
    """Each region that A searched: its id, its area in mm², and its nuclei in numbers.

    Nuclei of B outside of all of them are in none.
    """
    shapes, ids, areas = [], [], []
    for table in tables(difference.a.file(TISSUE), columns=["region_id", "area_um2", "geometry"]):
        shapes.append(shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False)))
        ids += table["region_id"].to_pylist()
        areas += table["area_um2"].to_pylist()
    if not ids:
        return []
    tree = shapely.STRtree(np.concatenate(shapes))
    of_a, of_b = (_region_of(tree, side) for side in (difference.side_a, difference.side_b))
    return list(
        zip(
            ids,
            (area / 1e6 for area in areas),
            difference.tallies(of_a, of_b, len(ids)),
            strict=True,
        )
    )


def _comparable(a: StoredResult, b: StoredResult, radius_um: float) -> None:
    if not radius_um > 0:
        raise ConfigError(f"the radius has to be more than 0 µm, not {radius_um:g}")
    if a.manifest.slide.sha256 != b.manifest.slide.sha256:
        raise ConfigError(
            "these are results of two slides: only results of the very same file can be compared "
            "nucleus by nucleus"
        )
    if not np.allclose(a.mpp, b.mpp, rtol=1e-9, atol=0):
        raise ConfigError(
            f"one result takes a pixel of the slide for {a.mpp[0]:.6g} µm, the other for "
            f"{b.mpp[0]:.6g}: run one again with the other's --mpp"
        )


def _swept(
    one: Reader, two: Reader, maps: tuple[NDArray[np.int16], NDArray[np.int16]], radius_um: float
) -> tuple[Side, Side, Pairs]:
    """Both results, a square at a time: what is kept of each nucleus, and all possible pairs."""
    side_a, side_b = _blank(one.rows), _blank(two.rows)
    found = []
    for square, box in squares(one, two):
        mine = one.near(box, square)
        own = mine.place.take(mine.own)
        # Also partners on the other side of the square's edge.
        reach = _both(box, around(own, radius_um))
        theirs = two.near(reach, square)
        _keep(side_a, mine, maps[0])
        _keep(side_b, theirs, maps[1])
        found.append(candidates(own, theirs.place, radius_um))
    for side in (side_a, side_b):
        assert not np.isnan(side.x).any(), "each nucleus lies in one square"
    return side_a, side_b, joined(found)


def _keep(side: Side, seen: Rows, classes: NDArray[np.int16]) -> None:
    """Note what stays in memory of the nuclei of a square."""
    row, table = seen.place.row[seen.own], seen.table.filter(pa.array(seen.own))
    side.x[row], side.y[row] = seen.place.x[seen.own], seen.place.y[seen.own]
    side.class_index[row] = classes[table["class_id"].to_numpy()]
    side.score[row] = table["score"].to_numpy()
    if "area_um2" in table.column_names:
        side.area[row] = table["area_um2"].to_numpy()


def _name(difference: Difference) -> None:
    """Say of each nucleus what became of it."""
    a, b, pairs = difference.side_a, difference.side_b, difference.pairs
    if difference.outlined:
        moved = pairs.iou <= SAME_IOU
    else:
        moved = pairs.distance > difference.radius_um / 2
    change = np.where(moved, MOVED, MATCHED)
    if difference.classes_compared:
        change[a.class_index[pairs.a] != b.class_index[pairs.b]] = RECLASSIFIED
    a.change[:], b.change[:] = LOST, GAINED
    a.change[pairs.a], b.change[pairs.b] = change, change
    a.partner[pairs.a], b.partner[pairs.b] = pairs.b, pairs.a


def _blank(rows: int) -> Side:
    return Side(
        np.full(rows, np.nan),
        np.full(rows, np.nan),
        np.zeros(rows, np.int16),
        np.zeros(rows, np.float32),
        np.zeros(rows, np.float32),
        np.full(rows, -1, np.int8),
        np.full(rows, -1, np.int64),
    )


def _both(box: BoxUm, other: BoxUm | None) -> BoxUm:
    if other is None:
        return box
    low, high = np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _region_of(tree: shapely.STRtree, side: Side) -> Ints:
    """The region in which each nucleus lies, -1 for none."""
    found = np.full(len(side), -1, np.int64)
    shapely.prepare(tree.geometries)
    for first in range(0, len(side), _PIECE):
        part = slice(first, first + _PIECE)
        nucleus, region = tree.query(
            shapely.points(side.x[part], side.y[part]), predicate="intersects"
        )
        found[first + nucleus] = region
    return found

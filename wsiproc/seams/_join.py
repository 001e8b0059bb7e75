"""All seams of a slide, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.nuclei import Nuclei, concat
from wsiproc.seams._audit import Counts, SeamAudit, audit_of, count
from wsiproc.seams._judge import Verdict, judge
from wsiproc.seams._same import same_outlines, same_points
from wsiproc.seams._views import Parts, Rows, Views, near_seams, outlines
from wsiproc.tiling import Grid, Tile

Load = Callable[[Tile], Parts]
"""Reads back what `split` made of a tile."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What the seams change in one tile: names to take away, then nuclei to add."""

    removed: NDArray[np.int64]
    added: Nuclei


@dataclass(frozen=True, slots=True, eq=False)
class Seams:
    """The decisions along all seams of a slide; few, and none for a local model."""

    changes: Mapping[tuple[int, int], Change]
    audit: SeamAudit

    def kept(self, tile: Tile, core: Nuclei) -> Nuclei:
        """The nuclei that `tile` contributes to the slide, given those it owns; in order."""
        change = self.changes.get((tile.row, tile.column))
        if change is None:
            return core
        stays = core.take(~np.isin(core.ids, change.removed))
        return concat([stays, change.added]).in_order()


def join(
    tiles: Iterable[Tile], load: Load, grid: Grid, *, local: bool, radius_px: float = 0.0
) -> Seams:
    """Decide along every seam of a slide.

    Each tile is loaded once, row by row, and a few again where the seams change something.  Kept
    in memory are the outlines near seams of two rows of tiles, and some numbers for every
    nucleus near a seam.

    Parameters
    ----------
    tiles
        All tiles of the slide that were processed, in any order.
    load
        What `split` made of a tile.
    local
        Whether the card promises that tiles agree (`Card.tiles_agree`).
    radius_px
        For models that give points: peaks no further apart than this are one nucleus.
    """
    order = tuple(sorted(tiles))
    where = np.full((grid.rows, grid.columns), -1, np.int64)
    for number, tile in enumerate(order):
        where[tile.row, tile.column] = number
    # Tiles decode some of the same pixels if they are at most this many rows apart.
    rows_back = -(-2 * grid.halo // grid.core)
    kept_rows: list[tuple[int, Views, NDArray[np.object_]]] = []
    views: list[Views] = []
    pairs: list[Rows] = []
    counted = Counts(0, 0, 0, 0)
    polygons = False
    for row, members in groupby(enumerate(order), key=lambda item: item[1].row):
        found = []
        for number, tile in members:
            parts = load(tile)
            polygons = parts.core.polygons
            found.append(near_seams(parts, tile, number, grid, radius_px))
            counted = counted + count(parts.core, tile, grid, where)
        fresh = Views.concat([v for v, _ in found])
        shapes = np.concatenate([s for _, s in found])
        kept_rows = [item for item in kept_rows if item[0] >= row - rows_back]
        first = sum(len(v) for v in views) - sum(len(v) for _, v, _ in kept_rows)
        kept_rows.append((row, fresh, shapes))
        views.append(fresh)
        around = Views.concat([v for _, v, _ in kept_rows])
        if polygons:
            outlines = np.concatenate([s for _, _, s in kept_rows])
            same = same_outlines(around, outlines, len(around) - len(fresh), order)
        else:
            same = same_points(around, len(around) - len(fresh), radius_px)
        pairs.append(same + first)
    if not order:
        return Seams({}, SeamAudit(*(0,) * 12, local=local))
    verdict = judge(Views.concat(views), np.concatenate(pairs), grid, where)
    return Seams(
        _changes(verdict, order, load, polygons),
        audit_of(verdict, counted, order, grid, where, local),
    )


def _changes(
    verdict: Verdict, tiles: tuple[Tile, ...], load: Load, polygons: bool
) -> dict[tuple[int, int], Change]:
    views = verdict.views
    joined = [(view, shown) for view, shown in verdict.pieces if len(shown) > 1]
    stays = np.array([view for view, _ in joined], np.int64)
    gone = np.concatenate([np.flatnonzero(verdict.removed), stays])
    taken = np.flatnonzero(verdict.adopted)
    wanted = np.unique(np.concatenate([taken, *(np.array(shown) for _, shown in joined)]))
    said: dict[int, Nuclei] = {}
    for number in np.unique(views.tile[wanted]):
        parts = load(tiles[number])
        for view in wanted[views.tile[wanted] == number]:
            source = parts.core if views.owned[view] else parts.handed
            said[int(view)] = source.take(np.array([views.row[view]]))
    added: dict[int, list[Nuclei]] = {}
    for view in taken:
        added.setdefault(int(verdict.owner[view]), []).append(said[int(view)])
    for view, shown in joined:
        whole = _union(said[view], [said[v] for v in shown])
        added.setdefault(int(views.tile[view]), []).append(whole)
    return {
        (tiles[number].row, tiles[number].column): Change(
            removed=np.sort(views.name[gone[views.tile[gone] == number]]),
            added=concat(added.get(number, [Nuclei.none(polygons=polygons)])),
        )
        for number in sorted({*views.tile[gone].tolist(), *added})
    }


def _union(keeps: Nuclei, pieces: list[Nuclei]) -> Nuclei:
    """One nucleus out of its pieces, under the name of `keeps`."""
    shapes = np.concatenate([outlines(piece) for piece in pieces])
    whole = shapely.get_parts(shapely.union_all(shapes))
    whole = whole[np.argmax(shapely.area(whole))]
    # Corners that the pieces' cuts left on a straight edge are taken out again.
    shell = shapely.simplify(shapely.polygons(shapely.get_exterior_ring(whole)), 0)
    ring = shapely.get_coordinates(shapely.orient_polygons(shell))[:-1]
    ring = np.roll(ring, -int(np.lexsort((ring[:, 0], ring[:, 1]))[0]), axis=0)
    centre = shapely.centroid(shell)
    score = np.average([piece.score[0] for piece in pieces], weights=shapely.area(shapes))
    return Nuclei(
        ref_x=keeps.ref_x,
        ref_y=keeps.ref_y,
        x=np.array([shapely.get_x(centre)]),
        y=np.array([shapely.get_y(centre)]),
        class_id=keeps.class_id,
        score=np.array([score], np.float32),
        cut=np.zeros(1, np.bool_),
        ring=ring,
        ring_start=np.array([0, len(ring)], np.int64),
    )

"""Tiles' nuclei to the slide's: each nucleus once.

A nucleus belongs to the tile whose core holds its reference pixel, so for a model whose tiles
agree to the last bit there is nothing to decide, and every disagreement found here is an error.
For other models two tiles may draw one nucleus differently.  What each says of the places near a
seam is compared, and only there:

* what a tile says outside its core gives way to what the owner of that place says;
* where two tiles each own a view of one nucleus, the better view stays: the one seen whole, then
  the larger, the more certain, the one with the smaller name;
* where each tile puts the nucleus on the other's side, so that nobody owns it, one adopts it;
* a nucleus that no tile saw whole becomes the union of what they saw.

Two views show the same nucleus if they carry the same name, if their intersection is at least
half of the smaller (of what both tiles could see), or, for points, within the radius of
suppression.  Intersection over union would not do: a fragment and its whole have little of it.

Decisions compare views, never the order in which tiles were made or are given here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei, concat
from wsiproc.tiling import Grid, Tile, owner

SAME = 0.5
"""Views whose intersection is at least this much of the smaller show the same nucleus."""

_Rows = NDArray[np.int64]
_Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What one tile says: the nuclei it owns, and those it only reports.  Each in order of name."""

    core: Nuclei
    handed: Nuclei


Load = Callable[[Tile], Parts]
"""Reads back what `split` made of a tile."""


@dataclass(frozen=True, slots=True)
class SeamAudit:
    """What the seams of a run looked like; stored with every result.

    Parameters
    ----------
    checked
        Nuclei near a seam, times the neighbours that reported each or should have.
    agreed
        Of those, reported with the same name, centroid and score.
    differing
        Of those, reported with the same name, but another centroid or score.
    conflicts
        Reported under another name, by the neighbour only, or by the owner only.
    doubles
        Removed, because another tile owns a better view.
    rescued
        Adopted, because each tile took the other for the owner.
    not_fully_seen
        Kept nuclei that reach the edge of what their tile decoded.
    united
        Of those, joined with what other tiles saw of them.
    seam_nuclei, interior_nuclei, seam_px, interior_px
        Kept nuclei whose reference pixel is within the hand-over margin of a seam between two
        tiles, and the others; and the model px of cores where these were looked for.
    local
        Whether the model promises that tiles agree.
    """

    checked: int
    agreed: int
    differing: int
    conflicts: int
    doubles: int
    rescued: int
    not_fully_seen: int
    united: int
    seam_nuclei: int
    interior_nuclei: int
    seam_px: int
    interior_px: int
    local: bool

    @property
    def errors(self) -> int:
        """Broken promises of a local model; 0 for others, which promise nothing."""
        found = self.differing + self.conflicts + self.doubles + self.rescued + self.not_fully_seen
        return found if self.local else 0

    @property
    def seam_density(self) -> float | None:
        """Nuclei per million model px near seams; None without any seam."""
        return 1e6 * self.seam_nuclei / self.seam_px if self.seam_px else None

    @property
    def interior_density(self) -> float | None:
        """Nuclei per million model px elsewhere."""
        return 1e6 * self.interior_nuclei / self.interior_px if self.interior_px else None

    def to_dict(self) -> dict[str, int | float | bool | None]:
        """All of it for the manifest."""
        return asdict(self) | {
            "errors": self.errors,
            "seam_density_per_mpx": self.seam_density,
            "interior_density_per_mpx": self.interior_density,
        }


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


def split(nuclei: Nuclei, tile: Tile, grid: Grid) -> Parts:
    """Sort what was found in ``tile.decoded`` into owned and reported; the rest is dropped.

    Reported are nuclei whose reference pixel is within the hand-over margin outside the core,
    and those that reach into the core from further away than a tile is sure to see: the owner
    may have seen them in part only.  Keep to the region of interest before, by reference pixel.
    """
    x, y = nuclei.ref_x, nuclei.ref_y
    mine = tile.core.holds(x, y)
    reported = tile.core.grown(grid.handover).holds(x, y)
    if nuclei.polygons and len(nuclei):
        x0, y0, x1, y1 = _bounds(nuclei).T
        large = nuclei.cut | (np.max([x - x0, x1 - x, y1 - y], axis=0) > grid.reach)
        core = tile.core
        within = (x0 < core.x1) & (x1 > core.x0) & (y0 < core.y1) & (y1 > core.y0)
        reported = reported | (large & within)
    return Parts(nuclei.take(mine).in_order(), nuclei.take(reported & ~mine).in_order())


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
        Whether the card promises that tiles agree.
    radius_px
        For models that give points: peaks no further apart than this are one nucleus.
    """
    order = tuple(sorted(tiles))
    where = np.full((grid.rows, grid.columns), -1, np.int64)
    for number, tile in enumerate(order):
        where[tile.row, tile.column] = number
    # Tiles decode some of the same pixels if they are at most this many rows apart.
    rows_back = -(-2 * grid.halo // grid.core)
    kept_rows: list[tuple[int, _Views, NDArray[np.object_]]] = []
    views: list[_Views] = []
    pairs: list[_Rows] = []
    counted = _Counts(0, 0, 0, 0)
    polygons = False
    for row, members in groupby(enumerate(order), key=lambda item: item[1].row):
        found = []
        for number, tile in members:
            parts = load(tile)
            polygons = parts.core.polygons
            found.append(_near(parts, tile, number, grid, radius_px))
            counted = counted + _count(parts.core, tile, grid, where)
        fresh = _Views.concat([v for v, _ in found])
        shapes = np.concatenate([s for _, s in found])
        kept_rows = [item for item in kept_rows if item[0] >= row - rows_back]
        first = sum(len(v) for v in views) - sum(len(v) for _, v, _ in kept_rows)
        kept_rows.append((row, fresh, shapes))
        views.append(fresh)
        around = _Views.concat([v for _, v, _ in kept_rows])
        if polygons:
            outlines = np.concatenate([s for _, _, s in kept_rows])
            same = _same_outlines(around, outlines, len(around) - len(fresh), order)
        else:
            same = _same_points(around, len(around) - len(fresh), radius_px)
        pairs.append(same + first)
    if not order:
        return Seams({}, SeamAudit(*(0,) * 12, local=local))
    verdict = _judge(_Views.concat(views), np.concatenate(pairs), grid, where)
    return Seams(
        _changes(verdict, order, load, polygons),
        _audit(verdict, counted, order, grid, where, local),
    )


# --- Views: what tiles say of nuclei near seams


@dataclass(frozen=True, slots=True, eq=False)
class _Views:
    """Columns of views; each is one tile's word on one nucleus near a seam."""

    tile: _Rows
    """Number of the tile that speaks."""
    row: _Rows
    """Row in that tile's `Parts.core` or `Parts.handed`."""
    owned: _Flags
    name: _Rows
    ref_x: _Rows
    ref_y: _Rows
    centre: NDArray[np.float64]
    score: NDArray[np.float32]
    area: NDArray[np.float64]
    cut: _Flags
    expected: _Flags
    """Whether the neighbour had to report it, because of where its reference pixel is."""

    def __len__(self) -> int:
        return len(self.tile)

    @staticmethod
    def concat(parts: list[_Views]) -> _Views:
        return _Views(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in _Views.__slots__)
        )


def _near(
    parts: Parts, tile: Tile, number: int, grid: Grid, radius_px: float
) -> tuple[_Views, NDArray[np.object_]]:
    """The views of a tile that another tile's may meet, and their outlines (none for points)."""
    core = parts.core
    if core.polygons:
        x0, y0, x1, y1 = _bounds(core).T
        inner = tile.core.grown(-grid.halo)
    else:
        x0, y0, x1, y1 = core.x, core.y, core.x, core.y
        inner = tile.core.grown(-grid.handover - int(np.ceil(radius_px)))
    near = (x0 < inner.x0) | (y0 < inner.y0) | (x1 > inner.x1) | (y1 > inner.y1)
    rows = np.flatnonzero(near)
    said = concat([core.take(rows), parts.handed])
    owned = np.arange(len(said)) < len(rows)
    shapes = _outlines(said) if said.polygons else np.empty(0, object)
    views = _Views(
        tile=np.full(len(said), number, np.int64),
        row=np.concatenate([rows, np.arange(len(parts.handed))]),
        owned=owned,
        name=said.ids,
        ref_x=said.ref_x,
        ref_y=said.ref_y,
        centre=np.stack([said.x, said.y], axis=-1),
        score=said.score,
        area=shapely.area(shapes) if said.polygons else np.zeros(len(said)),
        cut=said.cut,
        expected=owned | tile.core.grown(grid.handover).holds(said.ref_x, said.ref_y),
    )
    return views, shapes


def _bounds(nuclei: Nuclei) -> NDArray[np.float64]:
    """``[n, 4]``: x0, y0, x1, y1 of the outlines."""
    assert nuclei.ring is not None
    assert nuclei.ring_start is not None
    if not len(nuclei):
        return np.empty((0, 4))
    start = nuclei.ring_start[:-1]
    return np.concatenate(
        [np.minimum.reduceat(nuclei.ring, start), np.maximum.reduceat(nuclei.ring, start)], axis=1
    )


def _outlines(nuclei: Nuclei) -> NDArray[np.object_]:
    """Shapely polygons; those that touch themselves made valid, since areas are wanted of them."""
    assert nuclei.ring is not None
    assert nuclei.ring_start is not None
    if not len(nuclei):
        return np.empty(0, object)
    of = np.repeat(np.arange(len(nuclei)), np.diff(nuclei.ring_start))
    shapes = np.asarray(shapely.polygons(shapely.linearrings(nuclei.ring, indices=of)))
    wrong = ~shapely.is_valid(shapes)
    shapes[wrong] = shapely.make_valid(shapes[wrong])
    return shapes


# --- Pairs: which views show the same nucleus


def _same_outlines(
    views: _Views, shapes: NDArray[np.object_], first: int, tiles: tuple[Tile, ...]
) -> _Rows:
    """``[p, 2]`` pairs (i, j) of views of different tiles, i < j and j not before `first`."""
    j, i = shapely.STRtree(shapes).query(shapes[first:])
    j = j + first
    apart = (i < j) & (views.tile[i] != views.tile[j])
    i, j = i[apart], j[apart]
    named = views.name[i] == views.name[j]
    partial = views.cut[i] | views.cut[j]
    low = np.maximum(shapely.bounds(shapes[i])[:, :2], shapely.bounds(shapes[j])[:, :2])
    high = np.minimum(shapely.bounds(shapes[i])[:, 2:], shapely.bounds(shapes[j])[:, 2:])
    smaller = np.minimum(views.area[i], views.area[j])
    # The boxes' intersection bounds the outlines', and settles nearly all pairs of neighbours.
    maybe = named | partial | (np.prod(high - low, axis=1) >= SAME * smaller)
    i, j, named, partial, smaller = (a[maybe] for a in (i, j, named, partial, smaller))
    common = np.zeros(len(i))
    common[~named] = shapely.area(shapely.intersection(shapes[i[~named]], shapes[j[~named]]))
    if partial.any():
        # Of a nucleus that was cut, only what both tiles could see can be compared.
        sight = shapely.box(*np.array([tile.decoded.as_tuple() for tile in tiles], float).T)
        a, b = i[partial], j[partial]
        smaller[partial] = np.minimum(
            shapely.area(shapely.intersection(shapes[a], sight[views.tile[b]])),
            shapely.area(shapely.intersection(shapes[b], sight[views.tile[a]])),
        )
    same = named | ((common > 0) & (common >= SAME * smaller))
    return np.stack([i[same], j[same]], axis=-1)


def _same_points(views: _Views, first: int, radius_px: float) -> _Rows:
    """As `_same_outlines`, for points."""
    if not len(views):
        return np.empty((0, 2), np.int64)
    found = cKDTree(views.centre).query_pairs(radius_px, output_type="ndarray")
    pairs = np.sort(np.asarray(found, np.int64).reshape(-1, 2), axis=1)
    apart = (views.tile[pairs[:, 0]] != views.tile[pairs[:, 1]]) & (pairs[:, 1] >= first)
    same: _Rows = pairs[apart]
    return same


# --- Judgement


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    views: _Views
    owner: _Rows
    """Number of the tile that owns each view's reference pixel, -1 if none was processed."""
    removed: _Flags
    adopted: _Flags
    pieces: tuple[tuple[int, tuple[int, ...]], ...]
    """(the view that stays, all views of that nucleus), for nuclei nobody saw whole."""
    checked: int
    agreed: int
    differing: int
    conflicts: int
    not_fully_seen: int


def _judge(views: _Views, pairs: _Rows, grid: Grid, where: _Rows) -> _Verdict:
    both = np.concatenate([pairs, pairs[:, ::-1]])
    row, column = owner(grid, views.ref_x, views.ref_y)
    on_grid = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    owners = np.where(on_grid, where[row * on_grid, column * on_grid], -1)

    removed, pieces = _unite(views, both)
    rank = _rank(views)
    rivals = both[views.owned[both].all(axis=1) & ~removed[both].any(axis=1)]
    removed |= _worse(rivals, rank, len(views))

    to_owned = both[~views.owned[both[:, 0]] & views.owned[both[:, 1]]]
    matched = _marked(to_owned[:, 0], len(views))
    twins = to_owned[views.name[to_owned[:, 0]] == views.name[to_owned[:, 1]]]
    alike = (views.centre[twins[:, 0]] == views.centre[twins[:, 1]]).all(axis=1) & (
        views.score[twins[:, 0]] == views.score[twins[:, 1]]
    )
    named = _marked(twins[:, 0], len(views))
    agreed = _marked(twins[alike, 0], len(views))

    # Nobody owns a nucleus that each tile puts on the other's side.
    reported = ~views.owned & ~views.cut & views.expected & (owners >= 0)
    orphan = reported & ~matched
    lost = both[orphan[both].all(axis=1)]
    mutual = lost[views.tile[lost[:, 1]] == owners[lost[:, 0]]]
    candidate = _marked(mutual[:, 0], len(views))
    adopted = candidate & ~_worse(lost[candidate[lost].all(axis=1)], rank, len(views))
    settled = _marked(lost[adopted[lost[:, 0]], 1], len(views)) | adopted

    silent = _silent(views, both, grid, where)
    invented = int((orphan & ~settled).sum())
    renamed = int((reported & matched & ~named).sum())
    return _Verdict(
        views=views,
        owner=owners,
        removed=removed,
        adopted=adopted,
        pieces=pieces,
        checked=int(reported.sum()) + silent,
        agreed=int((reported & agreed).sum()),
        differing=int((reported & named & ~agreed).sum()),
        conflicts=renamed + invented + silent,
        not_fully_seen=int((views.owned & views.cut & ~removed).sum()),
    )


def _marked(rows: _Rows, n: int) -> _Flags:
    flags = np.zeros(n, np.bool_)
    flags[rows] = True
    return flags


def _rank(views: _Views) -> _Rows:
    """Better views first: whole, large, certain, then by name and, among equals, by tile."""
    order = np.lexsort((views.tile, views.name, -views.score, -views.area, views.cut))
    rank = np.empty(len(views), np.int64)
    rank[order] = np.arange(len(views))
    return rank


def _worse(pairs: _Rows, rank: _Rows, n: int) -> _Flags:
    """Views that give way to a better one which doesn't itself give way; `pairs` both ways."""
    gives_way = np.zeros(n, np.bool_)
    better = pairs[rank[pairs[:, 0]] < rank[pairs[:, 1]]]
    # Best first, so that whether a view stays is settled before it can displace another.
    for a, b in better[np.argsort(rank[better[:, 0]], kind="stable")]:
        if not gives_way[a]:
            gives_way[b] = True
    return gives_way


def _unite(views: _Views, both: _Rows) -> tuple[_Flags, tuple[tuple[int, tuple[int, ...]], ...]]:
    """Views of nuclei that were cut: those removed, and the pieces of those nobody saw whole."""
    removed = np.zeros(len(views), np.bool_)
    links = both[views.cut[both].any(axis=1)]
    if not len(links):
        return removed, ()
    graph = coo_array(
        (np.ones(len(links), np.bool_), (links[:, 0], links[:, 1])), (len(views), len(views))
    )
    _, of = connected_components(graph, directed=False)
    rank = _rank(views)
    members = np.unique(links)
    members = members[np.lexsort((rank[members], of[members]))]
    pieces = []
    for _, group in groupby(members.tolist(), key=lambda view: int(of[view])):
        shown = tuple(group)
        owned = [view for view in shown if views.owned[view]]
        removed[owned[1:]] = True
        if owned and views.cut[owned[0]]:
            pieces.append((owned[0], shown))
    return removed, tuple(pieces)


def _silent(views: _Views, both: _Rows, grid: Grid, where: _Rows) -> int:
    """How many reports owners could expect of their neighbours, but never got."""
    rows = np.flatnonzero(views.owned & ~views.cut)
    x, y = views.ref_x[rows], views.ref_y[rows]
    row, column = owner(grid, x, y)
    said = both[views.owned[both[:, 0]]]
    heard = np.unique(said[:, 0] * where.size + views.tile[said[:, 1]])
    silent = 0
    far = -(-grid.handover // grid.core)
    for down in range(-far, far + 1):
        for right in range(-far, far + 1):
            r, c = row + down, column + right
            there = (r >= 0) & (r < grid.rows) & (c >= 0) & (c < grid.columns)
            other = np.where(there, where[r * there, c * there], -1)
            dx = np.maximum(c * grid.core - x, x - (c + 1) * grid.core + 1)
            dy = np.maximum(r * grid.core - y, y - (r + 1) * grid.core + 1)
            sees = (other >= 0) & (np.maximum(dx, dy) <= grid.handover)
            if down == right == 0:
                continue
            asked = rows[sees] * where.size + other[sees]
            silent += int((~np.isin(asked, heard)).sum())
    return silent


# --- What follows


def _changes(
    verdict: _Verdict, tiles: tuple[Tile, ...], load: Load, polygons: bool
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
    shapes = np.concatenate([_outlines(piece) for piece in pieces])
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


@dataclass(frozen=True, slots=True)
class _Counts:
    seam: int
    interior: int
    seam_px: int
    interior_px: int

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(
            self.seam + other.seam,
            self.interior + other.interior,
            self.seam_px + other.seam_px,
            self.interior_px + other.interior_px,
        )


def _interior(tile: Tile, grid: Grid, where: _Rows) -> Box:
    """The core without a hand-over margin along each side on which another tile lies."""

    def beside(row: int, column: int) -> int:
        there = 0 <= row < grid.rows and 0 <= column < grid.columns and where[row, column] >= 0
        return grid.handover if there else 0

    r, c, core = tile.row, tile.column, tile.core
    return Box(
        core.x0 + beside(r, c - 1),
        core.y0 + beside(r - 1, c),
        core.x1 - beside(r, c + 1),
        core.y1 - beside(r + 1, c),
    )


def _count(core: Nuclei, tile: Tile, grid: Grid, where: _Rows) -> _Counts:
    inner = _interior(tile, grid, where)
    inside = int(inner.holds(core.ref_x, core.ref_y).sum())
    inner_px = (inner & grid.slide).area
    return _Counts(len(core) - inside, inside, (tile.core & grid.slide).area - inner_px, inner_px)


def _audit(
    verdict: _Verdict,
    counted: _Counts,
    tiles: tuple[Tile, ...],
    grid: Grid,
    where: _Rows,
    local: bool,
) -> SeamAudit:
    views = verdict.views
    for rows, sign in ((verdict.removed, -1), (verdict.adopted, 1)):
        for view in np.flatnonzero(rows):
            inner = _interior(tiles[verdict.owner[view]], grid, where)
            inside = bool(inner.holds(views.ref_x[view : view + 1], views.ref_y[view : view + 1]))
            counted = counted + _Counts(sign * (not inside), sign * inside, 0, 0)
    return SeamAudit(
        checked=verdict.checked,
        agreed=verdict.agreed,
        differing=verdict.differing,
        conflicts=verdict.conflicts,
        doubles=int(verdict.removed.sum()),
        rescued=int(verdict.adopted.sum()),
        not_fully_seen=verdict.not_fully_seen,
        united=sum(len(shown) > 1 for _, shown in verdict.pieces),
        seam_nuclei=counted.seam,
        interior_nuclei=counted.interior,
        seam_px=counted.seam_px,
        interior_px=counted.interior_px,
        local=local,
    )

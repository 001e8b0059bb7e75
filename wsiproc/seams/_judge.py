"""Which views stay.  Decided on what views are, never on the order in which they came."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wsiproc.seams._views import Flags, Rows, Views
from wsiproc.tiling import Grid, owner


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What becomes of all views near seams."""

    views: Views
    owner: Rows
    """Number of the tile that owns each view's reference pixel, -1 if none was processed."""
    removed: Flags
    adopted: Flags
    pieces: tuple[tuple[int, tuple[int, ...]], ...]
    """(the view that stays, all views of that nucleus), for nuclei nobody saw whole."""
    checked: int
    agreed: int
    differing: int
    conflicts: int
    not_fully_seen: int


def judge(views: Views, pairs: Rows, grid: Grid, where: Rows) -> Verdict:
    """Decide on `views`, given which `pairs` of them ``[p, 2]`` show the same nucleus.

    `where` ``[rows, columns]`` holds the number of the tile at each cell, -1 where none was made.
    """
    both = np.concatenate([pairs, pairs[:, ::-1]])
    row, column = owner(grid, views.ref_x, views.ref_y)
    on_grid = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    owners = np.where(on_grid, where[row * on_grid, column * on_grid], -1)

    rank = _rank(views)
    doubles = _worse(both[views.owned[both].all(axis=1)], rank, len(views))
    removed, pieces = _unite(views, both, rank, doubles)

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
    return Verdict(
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


def _marked(rows: Rows, n: int) -> Flags:
    flags = np.zeros(n, np.bool_)
    flags[rows] = True
    return flags


def _rank(views: Views) -> Rows:
    """Better views first: whole, large, certain, then by name and, among equals, by tile."""
    order = np.lexsort((views.tile, views.name, -views.score, -views.area, views.cut))
    rank = np.empty(len(views), np.int64)
    rank[order] = np.arange(len(views))
    return rank


def _worse(pairs: Rows, rank: Rows, n: int) -> Flags:
    """Views that give way to a better one which doesn't itself give way; `pairs` both ways."""
    gives_way = np.zeros(n, np.bool_)
    better = pairs[rank[pairs[:, 0]] < rank[pairs[:, 1]]]
    # Best first, so that whether a view stays is settled before it can displace another.
    for a, b in better[np.argsort(rank[better[:, 0]], kind="stable")]:
        if not gives_way[a]:
            gives_way[b] = True
    return gives_way


def _unite(
    views: Views, both: Rows, rank: Rows, doubles: Flags
) -> tuple[Flags, tuple[tuple[int, tuple[int, ...]], ...]]:
    """All owned views that are removed, and the pieces of nuclei that no owner saw whole."""
    removed = doubles.copy()
    whole = views.owned & ~views.cut
    links = both[views.cut[both].any(axis=1) & ~whole[both].any(axis=1)]
    if not len(links):
        return removed, ()
    graph = coo_array(
        (np.ones(len(links), np.bool_), (links[:, 0], links[:, 1])), (len(views), len(views))
    )
    _, of = connected_components(graph, directed=False)
    members = np.unique(links)
    members = members[np.lexsort((rank[members], of[members]))]
    pieces = []
    for _, group in groupby(members.tolist(), key=lambda view: int(of[view])):
        shown = tuple(group)
        best = next((view for view in shown if views.owned[view] and not removed[view]), None)
        if best is None:
            continue
        # Another view of the same tile is another nucleus, whatever other tiles make of the two.
        others = [view for view in shown if views.tile[view] != views.tile[best]]
        removed[[view for view in others if views.owned[view]]] = True
        pieces.append((best, (best, *others)))
    return removed, tuple(pieces)


def _silent(views: Views, both: Rows, grid: Grid, where: Rows) -> int:
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

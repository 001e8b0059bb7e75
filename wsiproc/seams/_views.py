"""What tiles say of nuclei near seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.nuclei import Nuclei, concat
from wsiproc.tiling import Grid, Tile

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What one tile says: the nuclei it owns, and those it only reports.  Each in order of name."""

    core: Nuclei
    handed: Nuclei


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
        x0, y0, x1, y1 = bounds(nuclei).T
        large = nuclei.cut | (np.max([x - x0, x1 - x, y1 - y], axis=0) > grid.reach)
        core = tile.core
        within = (x0 < core.x1) & (x1 > core.x0) & (y0 < core.y1) & (y1 > core.y0)
        reported = reported | (large & within)
    return Parts(nuclei.take(mine).in_order(), nuclei.take(reported & ~mine).in_order())


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Columns of views; each is one tile's word on one nucleus near a seam."""

    tile: Rows
    """Number of the tile that speaks."""
    row: Rows
    """Row in that tile's `Parts.core` or `Parts.handed`."""
    owned: Flags
    name: Rows
    ref_x: Rows
    ref_y: Rows
    centre: NDArray[np.float64]
    score: NDArray[np.float32]
    area: NDArray[np.float64]
    cut: Flags
    expected: Flags
    """Whether the neighbour had to report it, because of where its reference pixel is."""

    def __len__(self) -> int:
        return len(self.tile)

    @staticmethod
    def concat(parts: list[Views]) -> Views:
        return Views(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in Views.__slots__)
        )


def near_seams(
    parts: Parts, tile: Tile, number: int, grid: Grid, radius_px: float
) -> tuple[Views, NDArray[np.object_]]:
    """The views of a tile that another tile's may meet, and their outlines (none for points)."""
    core = parts.core
    if core.polygons:
        x0, y0, x1, y1 = bounds(core).T
        inner = tile.core.grown(-grid.halo)
    else:
        x0, y0, x1, y1 = core.x, core.y, core.x, core.y
        inner = tile.core.grown(-grid.handover - int(np.ceil(radius_px)))
    near = (x0 < inner.x0) | (y0 < inner.y0) | (x1 > inner.x1) | (y1 > inner.y1)
    rows = np.flatnonzero(near)
    said = concat([core.take(rows), parts.handed])
    owned = np.arange(len(said)) < len(rows)
    shapes = outlines(said) if said.polygons else np.empty(0, object)
    views = Views(
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


def bounds(nuclei: Nuclei) -> NDArray[np.float64]:
    """``[n, 4]``: x0, y0, x1, y1 of the outlines."""
    assert nuclei.ring is not None
    assert nuclei.ring_start is not None
    if not len(nuclei):
        return np.empty((0, 4))
    start = nuclei.ring_start[:-1]
    return np.concatenate(
        [np.minimum.reduceat(nuclei.ring, start), np.maximum.reduceat(nuclei.ring, start)], axis=1
    )


def outlines(nuclei: Nuclei) -> NDArray[np.object_]:
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

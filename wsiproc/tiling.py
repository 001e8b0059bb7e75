"""Tiles and windows: where work is cut, and what the network sees of it.  Pure arithmetic.

One grid of square *cores* partitions the slide, anchored at its origin.  A tile decodes its core
and a *halo* around it, so that a nucleus whose reference pixel lies in the core, or in the
*hand-over* margin just outside, is seen whole together with everything its decoding looks at.
The decoded square is an exact number of *windows*' valid parts; a window reads a *margin* more,
the receptive field::

    ┌ window.read ───────────┐
    │ margin                 │
    │   ┌ window.valid ──┐   │      core + 2 halo  ==  n (window - 2 margin)
    │   │                │   │
    │   │                │   │      every edge is a multiple of step (and of the output's stride)
    │   └────────────────┘   │
    └────────────────────────┘

For a model with *fixed windows* (`Card.fixed_windows`), the valid parts of the windows of all tiles
are the cells of one lattice from the slide's origin: core and halo are whole cells.

All lengths and boxes are in global model px.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.errors import ConfigError
from wsiproc.geometry import Box, Frame

CORE_PX = (2000, 4600)
"""Wanted range of a core's edge: large enough for the halo to be cheap, small enough for a tile
to be a unit of work and of resume."""
AREA_FACTOR = 1.30
"""What the network may compute for each pixel kept, where windows allow it."""
SURE_HANDOVER_PX = 8
"""Hand-over where tiles agree, and it only serves the audit."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How a slide is cut.

    Parameters
    ----------
    width, height
        Size of the slide.
    core
        Edge of a tile's core.
    halo
        Decoded around a core on each side; at least the decoder's reach plus `handover`.
    handover
        How far outside its core a tile reports the nuclei it sees, for the seams.
    window, margin
        Edge of the network's input, and what of it is discarded on each side.
    step
        What every edge is a multiple of.
    columns, rows
        Cores along x and y; the last ones may reach past the slide.
    """

    width: int
    height: int
    core: int
    halo: int
    handover: int
    window: int
    margin: int
    step: int
    columns: int
    rows: int

    @property
    def valid(self) -> int:
        """Edge of the part of a window that is kept."""
        return self.window - 2 * self.margin

    @property
    def windows_across(self) -> int:
        """Windows along one edge of a tile."""
        return (self.core + 2 * self.halo) // self.valid

    @property
    def reach(self) -> int:
        """How far from a nucleus' reference pixel its decoding may look."""
        return self.halo - self.handover

    @property
    def area_factor(self) -> float:
        """Pixels the network computes for each pixel of a core."""
        return (self.windows_across * self.window / self.core) ** 2

    @property
    def slide(self) -> Box:
        return Box(0, 0, self.width, self.height)

    @property
    def key(self) -> str:
        """Short text that names this way of cutting; equal for equal grids of one slide."""
        return (
            f"c{self.core}-h{self.halo}-o{self.handover}-w{self.window}-m{self.margin}-s{self.step}"
        )


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """The unit of work and of resume; sorts row by row.

    `core` and `decoded`, the core grown by the halo, may reach past the slide.
    """

    row: int
    column: int
    core: Box
    decoded: Box

    @property
    def key(self) -> str:
        """Name of the tile in its grid, e.g. ``r0003c0012``."""
        return f"r{self.row:04d}c{self.column:04d}"


@dataclass(frozen=True, slots=True)
class Window:
    """What the network takes at once: it reads `read`, and its output is right in `valid`."""

    read: Box
    valid: Box


Touches = Callable[[Box], bool]
"""Whether any place where nuclei are kept may lie in a box of model px; True when in doubt."""


def make_grid(
    frame: Frame,
    card: Card,
    *,
    window: int,
    reach_px: int,
    handover_px: int | None = None,
    tile_px: int | None = None,
) -> Grid:
    """Lay the grid for a slide and a model.

    Parameters
    ----------
    frame
        Of the slide at the model's mpp.
    card
        Gives step, stride, margin and, for the default hand-over, the largest nucleus.
    window
        Edge of the network's input.
    reach_px
        How far from its reference pixel a nucleus and what its decoding looks at may reach
        (`decode.reach_px`).
    handover_px
        How far outside its core a tile reports nuclei.  By default half of the largest nucleus,
        since two views of one may differ by no more, or where tiles agree (`Card.tiles_agree`)
        only `SURE_HANDOVER_PX`.
    tile_px
        The core becomes at least this large.  By default it is the smallest in `CORE_PX` that
        keeps to `AREA_FACTOR`, else the largest there, else the smallest above.

    Raises
    ------
    ConfigError
        If `window` is no multiple of the card's step and stride, or has nothing left inside its
        margins.
    """
    step = math.lcm(card.step, card.stride)
    margin = _rounded_up(card.margin, step)
    if window % step:
        raise ConfigError(
            f"a window of {window} px is no multiple of {step}, which the model's step and "
            f"stride ask for; its card lists {', '.join(map(str, card.windows))}"
        )
    valid = window - 2 * margin
    if valid <= 0:
        raise ConfigError(
            f"a window of {window} px has nothing left inside the model's margin of {margin} px; "
            f"use one of more than {2 * margin} px"
        )
    if reach_px < 0 or (handover_px is not None and handover_px < 0):
        raise ValueError("reach_px and handover_px must not be negative")
    if handover_px is None:
        sure = card.tiles_agree
        handover_px = SURE_HANDOVER_PX if sure else math.ceil(card.largest_nucleus_px / 2)
    # Of whole cells, a tile's windows lie on the lattice of all tiles: its core is of some too.
    halo = _rounded_up(reach_px + handover_px, valid if card.fixed_windows else step)
    core = _windows_across(window, valid, halo, tile_px) * valid - 2 * halo
    return Grid(
        width=frame.width,
        height=frame.height,
        core=core,
        halo=halo,
        handover=handover_px,
        window=window,
        margin=margin,
        step=step,
        columns=max(1, -(-frame.width // core)),
        rows=max(1, -(-frame.height // core)),
    )


def _rounded_up(length: int, step: int) -> int:
    return -(-length // step) * step


def _windows_across(window: int, valid: int, halo: int, tile_px: int | None) -> int:
    def least(core: int) -> int:
        return max(1, -(-(core + 2 * halo) // valid))

    if tile_px is not None:
        return least(max(1, tile_px))
    low, high = CORE_PX
    largest = (high + 2 * halo) // valid
    for n in range(least(low), largest + 1):
        if (n * window / (n * valid - 2 * halo)) ** 2 <= AREA_FACTOR:
            return n
    return max(least(low), largest)


def tile_at(grid: Grid, row: int, column: int) -> Tile:
    """The tile of a cell of the grid."""
    core = Box.of_size(column * grid.core, row * grid.core, grid.core, grid.core)
    return Tile(row, column, core, core.grown(grid.halo))


def tiles_of(grid: Grid, touches: Touches) -> tuple[Tile, ...]:
    """Tiles whose core holds any place where nuclei are kept, row by row.

    A nucleus is kept by its reference pixel, so the tiles left out own none.
    """
    tiles = (tile_at(grid, r, c) for r in range(grid.rows) for c in range(grid.columns))
    return tuple(tile for tile in tiles if touches(tile.core & grid.slide))


def windows_of(grid: Grid, tile: Tile, touches: Touches) -> tuple[Window, ...]:
    """Windows that may bear on a nucleus that `tile` keeps or hands over, row by row.

    The valid parts of all windows partition ``tile.decoded``.  Those are left out that hold
    nothing of the slide, or from which no reference pixel that counts is within the decoder's
    reach: what the decoder makes of the places they leave blank is never kept.  So that a
    nucleus at the slide's edge doesn't depend on which windows were left out, decoders take
    whatever lies outside the slide for background.
    """
    counts = tile.core.grown(grid.handover) & grid.slide
    across = range(grid.windows_across)
    windows = []
    for row in across:
        for column in across:
            valid = Box.of_size(
                tile.decoded.x0 + column * grid.valid,
                tile.decoded.y0 + row * grid.valid,
                grid.valid,
                grid.valid,
            )
            bears_on = valid.grown(grid.reach) & counts
            if not (valid & grid.slide).empty and not bears_on.empty and touches(bears_on):
                windows.append(Window(valid.grown(grid.margin), valid))
    return tuple(windows)


def owner(
    grid: Grid, ref_x: NDArray[np.int64], ref_y: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(row, column)`` of the tiles that own the nuclei at these reference pixels, elementwise."""
    return ref_y // grid.core, ref_x // grid.core

"""Where the nuclei of a drawing lie.

Places come from hashed coordinates instead of a random stream, and of candidates that would
overlap only the one with the smallest key stays (a Matérn hard-core process, type II): so what
stands at a place is decided among its neighbours alone, the same whatever part is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from wsiproc.errors import ConfigError
from wsiproc.geometry import Box
from wsiproc.slide._drawn_shapes import COUNTS, LARGE, PAIR, SINGLE, Shapes, shapes

_GAP_UM = 0.5
"""Least distance between nuclei that are not a touching pair."""
_CROWDED_PER_MM2, _ROOM_PER_MM2 = 3720.0, 4000.0
"""Fitted to what stays of ever more candidates: ``crowded * (1 - exp(-candidates / room))``."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn; equal drawings have equal pixels and equal truth.

    Parameters
    ----------
    width, height
        level-0 px.
    seed
        Another seed, another slide.
    mpp
        µm per px.
    density_per_mm2
        Nuclei in tissue, about; they crowd and thin out by the place.
    seams
        Nuclei are planted across the lines at the multiples of each of these (px), and across
        the corners where such lines meet; earlier ones win where two would overlap.
    glass
        Whether the left and the upper border show bare glass.
    """

    width: int
    height: int
    seed: int = 0
    mpp: float = 0.25
    density_per_mm2: float = 2500.0
    seams: tuple[int, ...] = (512,)
    glass: bool = True

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"cannot draw {self.width} x {self.height} px: say at least 1 x 1")
        if not 0.05 <= self.mpp <= 2:
            raise ConfigError(f"cannot draw nuclei at {self.mpp} µm per px: say 0.05 to 2")
        if not 0 < self.density_per_mm2 <= 3500:
            raise ConfigError(f"cannot draw {self.density_per_mm2} nuclei/mm²: say 1 to 3500")
        if any(seam * self.mpp < 60 for seam in self.seams):
            raise ConfigError("seams closer than 60 µm leave no room for nuclei between them")

    @property
    def box(self) -> Box:
        """The whole drawing, level-0 px."""
        return Box(0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Shapes (indices into the library) and where their anchors lie, level-0 px; `key` decides
    which of two that clash stays, and how dark it is."""

    shape: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    key: NDArray[np.uint64]

    def take(self, rows: NDArray[np.bool_]) -> Placed:
        return Placed(self.shape[rows], self.x[rows], self.y[rows], self.key[rows])


def placed_in(drawing: Drawing, box: Box) -> Placed:
    """The shapes anchored in `box`, in a fixed order: the same whatever the box around a place."""
    known = shapes(drawing.mpp)
    gap = _GAP_UM / drawing.mpp
    reach = 2 * float(known.radius.max()) + gap
    near = _candidates(drawing, box.grown(math.ceil(reach)))
    tree = spatial.cKDTree(np.stack([near.x, near.y], axis=1).reshape(-1, 2))
    a, b = tree.query_pairs(reach, output_type="ndarray").reshape(-1, 2).T
    apart = (near.x[a] - near.x[b]) ** 2 + (near.y[a] - near.y[b]) ** 2
    least = known.radius[near.shape[a]] + known.radius[near.shape[b]] + gap
    clash = apart < least**2
    a, b = a[clash], b[clash]
    stays = np.ones(len(near.x), np.bool_)
    stays[np.where(near.key[a] > near.key[b], a, b)] = False
    kept = near.take(stays & box.holds(near.x, near.y))
    order = np.lexsort((kept.x, kept.y))
    return Placed(kept.shape[order], kept.x[order], kept.y[order], kept.key[order])


def _candidates(drawing: Drawing, box: Box) -> Placed:
    """Shapes that may stand in `box`, unless a neighbour with a smaller key is in the way."""
    parts = [_scattered(drawing, box)]
    parts += [
        _planted(drawing, box, rank, seam, offset)
        for rank, seam in enumerate(drawing.seams[:8])
        for offset in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
    ]
    every = Placed(
        np.concatenate([p.shape for p in parts]),
        np.concatenate([p.x for p in parts]),
        np.concatenate([p.y for p in parts]),
        np.concatenate([p.key for p in parts]),
    )
    known = shapes(drawing.mpp)
    every = every.take((box & drawing.box).holds(every.x, every.y))
    every = every.take(on_tissue(drawing, every.x, every.y, known.radius[every.shape]))
    crossing = np.flatnonzero(crosses_edge(drawing, known, every))
    fits = np.ones(len(every.x), np.bool_)
    for i in crossing:
        # A sliver at the edge is neither seen nor missed by anyone: leave no such thing.
        label = known.label[every.shape[i]]
        whole = np.bincount(label.ravel(), minlength=3)[1:]
        seen = np.bincount(visible_label(drawing, known, every, int(i)).ravel(), minlength=3)[1:]
        fits[i] = not np.any((seen > 0) & (4 * seen < whole))
    return every.take(fits)


def _scattered(drawing: Drawing, box: Box) -> Placed:
    """One candidate in every cell of a grid, where the tissue is cellular enough."""
    wanted = min(drawing.density_per_mm2 / _CROWDED_PER_MM2, 0.999)
    pitch = math.sqrt(1e6 / (-_ROOM_PER_MM2 * math.log1p(-wanted))) / drawing.mpp
    row, column = _cells(box, pitch, pitch)
    key = _hash(drawing.seed, 0, row, column)
    x = np.floor((column + _uniform(key, 1)) * pitch).astype(np.int64)
    y = np.floor((row + _uniform(key, 2)) * pitch).astype(np.int64)
    shape = _choose(key, (0.80, 0.87))
    rank = np.uint64(15) << np.uint64(60)
    every = Placed(shape, x, y, rank | (key >> np.uint64(4)))
    return every.take(_uniform(key, 5) < _cellularity(drawing, x, y))


def _planted(
    drawing: Drawing, box: Box, rank: int, seam: int, offset: tuple[float, float]
) -> Placed:
    """Candidates across the corners (offset 0, 0) or the edges between them, of one seam."""
    row, column = _cells(box, seam, seam)
    stream = 1 + 4 * rank + round(2 * offset[0] + 4 * offset[1])
    key = _hash(drawing.seed, stream, row, column)
    across = 0.6 / drawing.mpp
    sway_x, sway_y = (seam / 8 if o else across for o in offset)
    x = (column + offset[0]) * seam + (2 * _uniform(key, 1) - 1) * sway_x
    y = (row + offset[1]) * seam + (2 * _uniform(key, 2) - 1) * sway_y
    shape = _choose(key, (0.4, 0.6) if any(offset) else (0.75, 1.0))
    ranked = (np.uint64(rank) << np.uint64(60)) | (key >> np.uint64(4))
    every = Placed(shape, np.rint(x).astype(np.int64), np.rint(y).astype(np.int64), ranked)
    # Seams lie between pixels inside the slide; its own border is none.
    inner = np.ones(len(row), np.bool_)
    if not offset[0]:
        inner &= (column > 0) & (column * seam < drawing.width)
    if not offset[1]:
        inner &= (row > 0) & (row * seam < drawing.height)
    return every.take(inner)


def _cells(box: Box, width: float, height: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of every cell of a grid whose points may fall into `box`."""
    rows = np.arange(math.floor(box.y0 / height) - 1, math.floor(box.y1 / height) + 2)
    columns = np.arange(math.floor(box.x0 / width) - 1, math.floor(box.x1 / width) + 2)
    row, column = np.meshgrid(rows, columns, indexing="ij")
    return row.ravel(), column.ravel()


def _choose(key: NDArray[np.uint64], shares: tuple[float, float]) -> NDArray[np.int64]:
    """A shape for each key: single below ``shares[0]``, large below ``shares[1]``, else a pair."""
    kind = np.searchsorted(np.array(shares), _uniform(key, 3), side="right")
    starts = np.cumsum([0, *COUNTS])[[SINGLE, LARGE, PAIR]]
    within = np.floor(_uniform(key, 4) * np.array(COUNTS)[kind])
    return np.asarray(starts[kind] + within, np.int64)


def _cellularity(
    drawing: Drawing, x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of candidates to keep, .25 to 1: crowded nests and loose stroma, some 500 µm wide."""
    phase = 2 * math.pi * _uniform(_hash(drawing.seed, 99, np.arange(4), np.arange(4)), 0)
    u, v = x * drawing.mpp, y * drawing.mpp
    waves = (
        np.sin(u / 83 + v / 210 + phase[0])
        + np.sin(v / 71 - u / 170 + phase[1])
        + np.sin(u / 330 + phase[2])
        + np.sin(v / 290 + phase[3])
    )
    return np.asarray(np.clip(0.7 + 0.22 * waves, 0.25, 1.0), np.float64)


def on_tissue(
    drawing: Drawing,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    margin: NDArray[np.float64] | float,
) -> NDArray[np.bool_]:
    """Which points lie further than `margin` from the glass."""
    if not drawing.glass:
        return np.ones(np.broadcast(x, y).shape, np.bool_)
    left, top = _shore(drawing, y, 0), _shore(drawing, x, 1)
    on: NDArray[np.bool_] = (x - margin > left) & (y - margin > top)
    return on


def _shore(drawing: Drawing, along: NDArray[np.int64], side: int) -> NDArray[np.float64]:
    """How far the glass reaches in from the left (side 0) or the top (1), px."""
    depth = 0.07 * min(drawing.width, drawing.height)
    phase = 2 * math.pi * _uniform(_hash(drawing.seed, 98, np.arange(3), np.full(3, side)), 0)
    wave = (
        0.25 * np.sin(along / (1.7 * depth) + phase[0])
        + 0.12 * np.sin(along / (0.6 * depth) + phase[1])
        + 0.06 * np.sin(along / (0.23 * depth) + phase[2])
    )
    return np.asarray(depth * (1 + wave), np.float64)


def _hash(
    seed: int, stream: int, row: NDArray[np.int64], column: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """64 well-mixed bits for each place."""
    state = _mixed(np.full(row.shape, seed % 2**64, np.uint64) ^ np.uint64(stream * 0x9E3779B9))
    state = _mixed(state ^ row.astype(np.int64).view(np.uint64))
    return _mixed(state ^ (column.astype(np.int64).view(np.uint64) << np.uint64(1)))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniform(key: NDArray[np.uint64], draw: int) -> NDArray[np.float64]:
    """The key's number `draw` in [0, 1)."""
    bits = _mixed(key ^ np.uint64((draw + 1) * 0xA24BAED4963EE407 % 2**64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def crosses_edge(drawing: Drawing, known: Shapes, placed: Placed) -> NDArray[np.bool_]:
    """Whose stamps reach past the drawing."""
    half = known.half[placed.shape]
    crosses: NDArray[np.bool_] = (
        (placed.x < half)
        | (placed.y < half)
        | (placed.x + half > drawing.width)
        | (placed.y + half > drawing.height)
    )
    return crosses


def visible_label(drawing: Drawing, known: Shapes, placed: Placed, i: int) -> NDArray[np.uint8]:
    """The stamp's labels, those outside of the drawing set to 0."""
    half, x, y = int(known.half[placed.shape[i]]), int(placed.x[i]), int(placed.y[i])
    stamp = Box(x - half, y - half, x + half, y + half)
    rows, columns = (stamp & drawing.box).slices_in(stamp)
    label = np.zeros((2 * half, 2 * half), np.uint8)
    label[rows, columns] = known.label[placed.shape[i]][rows, columns]
    return label

"""Drawn slides, whose every nucleus is known.

A drawing is a function of the global level-0 pixel: any box of it can be rendered by itself, and
any band of its truth listed by itself, so that a slide of 32768 x 32768 px takes no more memory
than a band of tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei, concat
from wsiproc.slide._drawn_places import (
    Drawing,
    Placed,
    crosses_edge,
    on_tissue,
    placed_in,
    visible_label,
)
from wsiproc.slide._drawn_shapes import colours, largest_part, ring_of, shapes, stroma, tiled
from wsiproc.slide._drawn_tiff import write_tiff

__all__ = [
    "Band",
    "Drawing",
    "DrawnSlide",
    "draw_image",
    "draw_slide",
    "render",
    "true_nuclei",
]

BAND_PX = 2048
"""Rows of truth listed at a time."""

_BARE = 3
"""Level of eosin that stands for clear glass."""


@dataclass(frozen=True, slots=True)
class Band:
    """Rows ``[y0, y1)`` of a drawing."""

    drawing: Drawing
    y0: int
    y1: int

    def load(self) -> Nuclei:
        """Their true nuclei; see `true_nuclei`."""
        return true_nuclei(self.drawing, self.y0, self.y1)


@dataclass(frozen=True, slots=True)
class DrawnSlide:
    """A slide file and what is on it."""

    path: Path
    drawing: Drawing

    @property
    def bands(self) -> tuple[Band, ...]:
        """The slide from top to bottom, for slides whose nuclei would not fit in memory."""
        height = self.drawing.height
        starts = range(0, height, BAND_PX)
        return tuple(Band(self.drawing, y, min(y + BAND_PX, height)) for y in starts)

    @property
    def truth(self) -> Nuclei:
        """All true nuclei at once, for slides that are small."""
        return concat([band.load() for band in self.bands])


def render(drawing: Drawing, box: Box) -> NDArray[np.uint8]:
    """Pixels ``[h, w, 3]`` RGB of `box` (level-0 px), which must lie inside the drawing."""
    return _render(drawing, box, labels=False)[0]


def draw_image(
    width: int,
    height: int,
    seed: int = 0,
    *,
    mpp: float = 0.25,
    density_per_mm2: float = 2500.0,
    glass: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """A drawn image for training: pixels ``[h, w, 3]`` and labels ``[h, w]``, 1..n and 0."""
    drawing = Drawing(width, height, seed, mpp, density_per_mm2, seams=(), glass=glass)
    pixels, labels = _render(drawing, drawing.box, labels=True)
    return pixels, labels


def true_nuclei(drawing: Drawing, y0: int, y1: int) -> Nuclei:
    """Nuclei of the shapes anchored in rows ``[y0, y1)``, outlines in level-0 px.

    Outlines end where the drawing does.  No two of them overlap; those of a pair touch.  Class 0,
    score 1.
    """
    known = shapes(drawing.mpp)
    placed = placed_in(drawing, Box(0, y0, drawing.width, y1))
    count = np.diff(known.first)[placed.shape]
    row = np.repeat(np.arange(len(count)), count)
    nucleus = known.first[placed.shape[row]] + _ramp(count)
    anchor = np.stack([placed.x, placed.y], axis=1)[row]
    begin, vertices = known.ring_start[nucleus], np.diff(known.ring_start)[nucleus]
    vertex = np.repeat(begin, vertices) + _ramp(vertices)
    reference, centroid = known.reference[nucleus] + anchor, known.centroid[nucleus] + anchor
    nuclei = Nuclei(
        ref_x=reference[:, 0],
        ref_y=reference[:, 1],
        x=centroid[:, 0],
        y=centroid[:, 1],
        class_id=np.zeros(len(row), np.int16),
        score=np.ones(len(row), np.float32),
        cut=np.zeros(len(row), np.bool_),
        ring=known.ring[vertex] + np.repeat(anchor, vertices, axis=0),
        ring_start=np.cumsum(np.concatenate([np.zeros(1, np.int64), vertices])),
    )
    crossing = np.flatnonzero(crosses_edge(drawing, known, placed)[row])
    return _cut(drawing, nuclei, placed, crossing, row, _ramp(count) + 1)


def draw_slide(
    path: Path,
    *,
    width: int,
    height: int,
    seed: int = 0,
    mpp: float = 0.25,
    density_per_mm2: float = 2500.0,
    tile: int = 256,
    quality: int = 90,
    seams: tuple[int, ...] = (512,),
    glass: bool = True,
    shrink: int = 4,
) -> DrawnSlide:
    """Write a tiled, pyramidal JPEG TIFF with mpp, and say what is on it.

    Parameters
    ----------
    path
        The file to write; it appears once it is complete.
    width, height, seed, mpp, density_per_mm2, seams, glass
        See `Drawing`.
    tile
        Edge of the file's tiles, px, a multiple of 16 and of `shrink`.
    quality
        Of the JPEG tiles, 1 to 100.
    shrink
        Downsample from one level of the pyramid to the next.
    """
    drawing = Drawing(width, height, seed, mpp, density_per_mm2, seams, glass)
    write_tiff(
        path,
        partial(render, drawing),
        size=(width, height),
        mpp=mpp,
        tile=tile,
        quality=quality,
        shrink=shrink,
    )
    return DrawnSlide(path, drawing)


def _ramp(count: NDArray[np.int64]) -> NDArray[np.int64]:
    """``0 .. count[0] - 1, 0 .. count[1] - 1, ...``."""
    ends = np.cumsum(count)
    ramp: NDArray[np.int64] = np.arange(int(count.sum())) - np.repeat(ends - count, count)
    return ramp


def _cut(
    drawing: Drawing,
    nuclei: Nuclei,
    placed: Placed,
    crossing: NDArray[np.intp],
    row: NDArray[np.int64],
    number: NDArray[np.int64],
) -> Nuclei:
    """`nuclei`, those at rows `crossing` cut where the drawing ends, or gone if nothing is left.

    Nucleus ``i`` is the `number[i]`-th of the shape at ``row[i]`` of `placed`.
    """
    if len(crossing) == 0 or nuclei.ring is None or nuclei.ring_start is None:
        return nuclei
    known = shapes(drawing.mpp)
    slide = shapely.box(0, 0, drawing.width, drawing.height)
    rings = np.split(nuclei.ring, nuclei.ring_start[1:-1])
    ref_x, ref_y = nuclei.ref_x.copy(), nuclei.ref_y.copy()
    x, y = nuclei.x.copy(), nuclei.y.copy()
    seen = np.ones(len(nuclei), np.bool_)
    for i in crossing.tolist():
        at = int(row[i])
        pixels = np.argwhere(visible_label(drawing, known, placed, at) == number[i])
        part = largest_part(shapely.intersection(shapely.Polygon(rings[i]), slide))
        if len(pixels) == 0 or part is None:
            seen[i] = False
            continue
        half = int(known.half[placed.shape[at]])
        ref_y[i] = pixels[0, 0] + placed.y[at] - half
        ref_x[i] = pixels[0, 1] + placed.x[at] - half
        x[i], y[i] = part.centroid.x, part.centroid.y
        rings[i] = ring_of(part)
    cut = Nuclei(
        ref_x=ref_x,
        ref_y=ref_y,
        x=x,
        y=y,
        class_id=nuclei.class_id,
        score=nuclei.score,
        cut=nuclei.cut,
        ring=np.concatenate(rings),
        ring_start=np.cumsum([0, *map(len, rings)]),
    )
    return cut.take(seen)


def _render(
    drawing: Drawing, box: Box, *, labels: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Pixels of `box`, and its labels (else an empty array)."""
    known = shapes(drawing.mpp)
    haze, eosin = stroma(drawing.mpp)
    h = tiled(haze, (box.x0, box.x1), (box.y0, box.y1))
    e = tiled(eosin, (box.x0, box.x1), (box.y0, box.y1))
    _lay_glass(drawing, box, h, e)
    label = np.zeros(h.shape if labels else (0, 0), np.int32)
    placed = placed_in(drawing, box.grown(int(known.half.max())))
    shade = 190 + (placed.key & np.uint64(63)).astype(np.uint16)
    count = np.diff(known.first)[placed.shape]
    numbers = np.cumsum(count) - count
    for i, (shape, x, y) in enumerate(
        zip(placed.shape.tolist(), placed.x.tolist(), placed.y.tolist(), strict=True)
    ):
        half = int(known.half[shape])
        stamp = Box(x - half, y - half, x + half, y + half)
        seen = stamp & box
        if seen.empty:
            continue
        source, target = seen.slices_in(stamp), seen.slices_in(box)
        ink = (known.ink[shape][source] * shade[i]) >> 8
        np.maximum(h[target], ink, out=h[target], casting="unsafe")
        if labels:
            marks = known.label[shape][source]
            np.copyto(label[target], marks + numbers[i], where=marks > 0, casting="unsafe")
    packed = colours().take((h.astype(np.uint16) << 8) | e)
    pixels = np.ascontiguousarray(packed.view(np.uint8).reshape(*h.shape, 4)[..., :3])
    if labels:
        present, compact = np.unique(label, return_inverse=True)
        label = (compact.reshape(label.shape) + (present[0] > 0)).astype(np.int32)
    return pixels, label


def _lay_glass(drawing: Drawing, box: Box, h: NDArray[np.uint8], e: NDArray[np.uint8]) -> None:
    """Wipe the stains off the planes where the slide is bare; glass is never quite even."""
    if not drawing.glass:
        return
    x, y = np.arange(box.x0, box.x1), np.arange(box.y0, box.y1)
    tissue = on_tissue(drawing, x[None, :], y[:, None], 0.0)
    if tissue.all():
        return
    bare = ~tissue
    h[bare] = 0
    e[bare] = _BARE + (e[bare] & 1)

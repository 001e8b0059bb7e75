"""What drawn tissue is made of: outlines of nuclei, their stamps, the stroma, the stains.

Everything here depends on the resolution alone, so that it is made once and then only placed.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

SINGLE, LARGE, PAIR = 0, 1, 2
"""Kinds of shapes: one ordinary nucleus, one of up to 20 µm, two that touch."""
COUNTS = (160, 48, 64)
"""How many shapes of each kind there are; the library holds them in this order."""
LARGEST_UM = 20.0
"""Longest drawn nucleus."""
TEXTURE_PX = 1000
"""Period of the stroma; shares no large factor with the powers of two that tiles are made of."""

H_VECTOR = (0.597, 0.717, 0.359)
E_VECTOR = (0.240, 0.842, 0.483)
"""Optical density of one unit of haematoxylin and of eosin in R, G, B (natural logarithm)."""
GLASS = (245, 244, 246)
"""Light through clear glass."""
H_STEP, E_STEP = 2.2 / 255, 1.4 / 255
"""Units of stain in one grey level of the planes that drawings are composed in."""

_VERTICES = 40


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """A library of ``m`` shapes made of ``k >= m`` nuclei, relative to a shape's anchor (0, 0).

    Parameters
    ----------
    radius
        ``[m]`` float64, px: no outline reaches further from the anchor.
    half
        ``[m]`` int64: the stamp covers ``[-half, half)`` px in x and in y.
    ink
        ``m`` arrays ``[2 half, 2 half]`` uint16, grey levels of haematoxylin, at most 255.
    label
        ``m`` arrays ``[2 half, 2 half]`` uint8: 0, or 1 and 2 for the nuclei of the shape.
    first
        ``[m + 1]`` int64: nuclei of shape ``i`` are ``first[i]:first[i + 1]``.
    ring, ring_start
        Outlines of all nuclei as in `wsiproc.nuclei.Nuclei`.
    centroid
        ``[k, 2]`` float64 (x, y) of the outlines.
    reference
        ``[k, 2]`` int64 (x, y): the smallest (y, x) among a nucleus' pixels.
    """

    radius: NDArray[np.float64]
    half: NDArray[np.int64]
    ink: tuple[NDArray[np.uint16], ...]
    label: tuple[NDArray[np.uint8], ...]
    first: NDArray[np.int64]
    ring: NDArray[np.float64]
    ring_start: NDArray[np.int64]
    centroid: NDArray[np.float64]
    reference: NDArray[np.int64]


def fill_ring(
    ring: NDArray[np.float64], shape: tuple[int, int], origin: tuple[float, float]
) -> NDArray[np.bool_]:
    """Pixels of an array of `shape` whose centres lie inside `ring` (even-odd rule).

    `origin` is the (x, y) of the array's top-left corner in the ring's frame.
    """
    height, width = shape
    x0, y0 = (ring - origin).T
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    rows = np.arange(height) + 0.5
    crosses = (y0[:, None] <= rows) != (y1[:, None] <= rows)
    edge, row = np.nonzero(crosses)
    along = (rows[row] - y0[edge]) / (y1[edge] - y0[edge])
    x = x0[edge] + along * (x1[edge] - x0[edge])
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)
    toggles = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    inside = np.cumsum(toggles.reshape(height, width + 1)[:, :width], axis=1) % 2
    return inside.astype(np.bool_)


def normalised(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """`ring` (not closed) counter-clockwise in numbers, from its smallest (y, x) on."""
    x, y = ring.T
    if np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0:
        ring = ring[::-1]
    start = np.lexsort((ring[:, 0], ring[:, 1]))[0]
    return np.roll(ring, -start, axis=0)


def ring_of(polygon: shapely.Polygon) -> NDArray[np.float64]:
    """Outer ring of `polygon`, in the convention of `normalised`."""
    return normalised(np.asarray(polygon.exterior.coords, np.float64)[:-1, :2])


def largest_part(shape: shapely.Geometry) -> shapely.Polygon | None:
    """The largest polygon in `shape`, or None where there is none."""
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon" and not p.is_empty]
    return max(parts, key=lambda p: float(p.area), default=None)


@functools.lru_cache(maxsize=8)
def shapes(mpp: float) -> Shapes:
    """The shapes at `mpp` µm per px; the same ones every time."""
    rng = np.random.default_rng([20, 9, round(mpp * 1e6)])
    outlines = [
        *([_outline(rng, rng.uniform(3.0, 5.2))] for _ in range(COUNTS[SINGLE])),
        *([_outline(rng, rng.uniform(7.0, 10.0))] for _ in range(COUNTS[LARGE])),
        *(_touching(rng) for _ in range(COUNTS[PAIR])),
    ]
    rings = [[ring / mpp for ring in nuclei] for nuclei in outlines]
    radius = np.array([max(np.hypot(*r.T).max() for r in nuclei) for nuclei in rings])
    half = np.ceil(radius).astype(np.int64) + 2
    labels, inks = [], []
    for nuclei, h in zip(rings, half.tolist(), strict=True):
        label = np.zeros((2 * h, 2 * h), np.uint8)
        for number, ring in enumerate(nuclei, 1):
            label[fill_ring(ring, label.shape, (-h, -h))] = number
        labels.append(label)
        inks.append(_ink(rng, label, mpp))
    flat = [ring for nuclei in rings for ring in nuclei]
    first = np.cumsum([0, *map(len, rings)])
    reference = []
    for label, h in zip(labels, half.tolist(), strict=True):
        for number in range(1, int(label.max()) + 1):
            y, x = np.argwhere(label == number)[0]
            reference.append((x - h, y - h))
    return Shapes(
        radius=radius,
        half=half,
        ink=tuple(inks),
        label=tuple(labels),
        first=first,
        ring=np.concatenate(flat),
        ring_start=np.cumsum([0, *map(len, flat)]),
        centroid=np.array([shapely.Polygon(r).centroid.coords[0] for r in flat]),
        reference=np.array(reference, np.int64),
    )


def _outline(rng: np.random.Generator, major_um: float) -> NDArray[np.float64]:
    """An ellipse with half axis `major_um` and a wavy rim, µm, centred on the origin."""
    turn = np.linspace(0, 2 * math.pi, _VERTICES, endpoint=False)
    rim = np.ones(_VERTICES)
    for k in (2, 3, 4, 5):
        rim += rng.uniform(0, 0.1 / k) * np.cos(k * turn + rng.uniform(0, 2 * math.pi))
    ring = np.stack(
        [major_um * rim * np.cos(turn), major_um * rng.uniform(0.6, 0.95) * rim * np.sin(turn)], 1
    )
    angle = rng.uniform(0, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    ring = ring @ np.array([[cos, sin], [-sin, cos]])
    reach = np.hypot(*ring.T).max()
    return normalised(ring * min(1.0, LARGEST_UM / 2 / reach))


def _touching(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Two nuclei with a stretch of border in common, µm, around the origin."""
    angle = rng.uniform(0, 2 * math.pi)
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    rings = []
    for side in (-1, 1):
        ring = _outline(rng, rng.uniform(3.2, 4.8)) + side * 2.6 * along
        far = 40 * side * along
        half_plane = shapely.Polygon(
            [40 * across, -40 * across, far - 40 * across, far + 40 * across]
        )
        part = largest_part(shapely.intersection(shapely.Polygon(ring), half_plane))
        assert part is not None, "each nucleus holds its own centre"
        rings.append(ring_of(part))
    return rings


def _ink(rng: np.random.Generator, label: NDArray[np.uint8], mpp: float) -> NDArray[np.uint16]:
    """Haematoxylin of a stamp: chromatin grains, a darker membrane, an edge one pixel soft."""
    inside = label > 0
    grain = ndimage.gaussian_filter(rng.standard_normal(label.shape), 0.45 / mpp)
    grain /= grain.std() + 1e-9
    depth = np.zeros(label.shape)
    for number in (1, 2):
        depth = np.maximum(depth, ndimage.distance_transform_edt(label == number))
    membrane = np.exp(-depth * mpp / 0.5)
    ink = (150 + 20 * grain + 45 * membrane) * rng.uniform(0.85, 1.1)
    # Between touching nuclei the membranes show; at free edges the ink fades within a pixel.
    soft = ndimage.gaussian_filter(inside.astype(np.float64), 0.6)
    soft[soft < 0.04] = 0
    return np.asarray(np.rint(np.clip(ink, 60, 255) * soft), np.uint16)


@functools.lru_cache(maxsize=8)
def stroma(mpp: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Haematoxylin and eosin planes of the stroma, ``[TEXTURE_PX, TEXTURE_PX]``, periodic."""
    rng = np.random.default_rng([7, round(mpp * 1e6)])
    size = TEXTURE_PX
    fy = np.fft.fftfreq(size)[:, None] / mpp
    fx = np.fft.rfftfreq(size)[None, :] / mpp

    def noise(weight: NDArray[np.float64]) -> NDArray[np.float64]:
        white = np.fft.rfft2(rng.standard_normal((size, size)))
        field = np.fft.irfft2(white * weight, s=(size, size))
        field -= field.mean()
        return np.asarray(field / (field.std() + 1e-9), np.float64)

    def fibres(angle: float) -> NDArray[np.float64]:
        u = math.cos(angle) * fx + math.sin(angle) * fy
        v = -math.sin(angle) * fx + math.cos(angle) * fy
        return noise(np.exp(-((u * 22) ** 2) - (v * 1.6) ** 2))

    broad = noise(np.exp(-((np.hypot(fx, fy) * 60) ** 2)))
    sway = 1 / (1 + np.exp(-2 * broad))
    strands = sway * fibres(0.4) + (1 - sway) * fibres(1.7)
    fine = noise(np.exp(-((np.hypot(fx, fy) * 0.7) ** 2)))
    eosin = 78 + 16 * strands + 9 * broad + 3 * fine
    haze = 9 + 2 * fine + 3 * broad
    return (
        np.clip(np.rint(haze), 0, 30).astype(np.uint8),
        np.clip(np.rint(eosin), 20, 150).astype(np.uint8),
    )


@functools.lru_cache(maxsize=1)
def colours() -> NDArray[np.uint32]:
    """``[65536]``: at ``256 h + e``, how haematoxylin level h over eosin level e looks.

    Packed R, G, B, 0 in memory order: one gather a pixel instead of three exponentials.
    """
    h = np.arange(256)[:, None, None] * H_STEP * np.array(H_VECTOR)
    e = np.arange(256)[None, :, None] * E_STEP * np.array(E_VECTOR)
    light = np.array(GLASS) * np.exp(-(h + e))
    packed = np.zeros((256, 256, 4), np.uint8)
    packed[..., :3] = np.rint(light)
    return packed.reshape(-1, 4).view(np.uint32)[:, 0].copy()


def tiled(block: NDArray[np.uint8], x: tuple[int, int], y: tuple[int, int]) -> NDArray[np.uint8]:
    """The periodic `block` over columns ``x[0]:x[1]`` and rows ``y[0]:y[1]``, a fresh array."""
    size = block.shape[0]
    rows = block[np.arange(*y) % size]
    shift = x[0] % size
    out = np.empty((y[1] - y[0], x[1] - x[0]), np.uint8)
    cuts = [0, *range(size - shift, out.shape[1], size), out.shape[1]]
    for start, stop in pairwise(cuts):
        at = (shift + start) % size
        out[:, start:stop] = rows[:, at : at + stop - start]
    return out

"""Outlines in model px become valid polygons on the 1/16 µm grid, and are measured there.

What a nucleus' polygon and measures are depends on that nucleus alone, and the measures on nothing
but the polygon as it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei
from wsiproc.store.rings import Bools, Floats, Rings, predecessor, successor, to_shapely
from wsiproc.store.schema import GRID_UM


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Valid polygons: counter-clockwise in numbers, starting at their smallest (y, x).

    Parameters
    ----------
    rings
        In grid steps, each relative to its centre: small numbers, whose products are exact.
    centre_x, centre_y
        ``[n]`` the centroids of the masks, rounded to the grid.
    star
        ``[n]`` bool, whether every point of the outline is seen from that centre.
    repaired
        How many outlines crossed or touched themselves; of each the largest part was kept.
    collapsed
        How many outlines had no area left on the grid.  Each became a square of two grid steps
        around its centroid: small, but no nucleus is lost.
    """

    rings: Rings
    centre_x: Floats
    centre_y: Floats
    star: Bools
    repaired: int
    collapsed: int

    def placed(self) -> Rings:
        """The rings where they lie on the slide, in grid steps."""
        rings, count = self.rings, self.rings.count
        return Rings(
            rings.x + np.repeat(self.centre_x, count),
            rings.y + np.repeat(self.centre_y, count),
            rings.start,
        )


def outlines(nuclei: Nuclei, frame: Frame) -> Outlines:
    """The polygons of `nuclei`, snapped to the grid and made valid.

    Raises
    ------
    ValueError
        If the nuclei have no outlines.
    """
    if nuclei.ring is None or nuclei.ring_start is None:
        raise ValueError("these nuclei are points")
    per_x, per_y = (um / GRID_UM for um in frame.um_per_px)
    centre_x, centre_y = np.rint(nuclei.x * per_x), np.rint(nuclei.y * per_y)
    count = np.diff(nuclei.ring_start)
    rings, collapsed = _ordered(
        Rings(
            np.rint(nuclei.ring[:, 0] * per_x) - np.repeat(centre_x, count),
            np.rint(nuclei.ring[:, 1] * per_y) - np.repeat(centre_y, count),
            nuclei.ring_start - nuclei.ring_start[0],
        )
    )
    star = _star(rings)
    doubtful = np.flatnonzero(~star)
    wrong = doubtful[~shapely.is_valid(to_shapely(rings.take(doubtful)))]
    if len(wrong):
        whole, lost = _ordered(_largest_parts(rings.take(wrong)))
        rings, collapsed = rings.replaced(wrong, whole), collapsed + lost
        star[wrong] = _star(whole)
    return Outlines(rings, centre_x, centre_y, star, len(wrong), collapsed)


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """``[n]`` float64 each, of the stored polygons; units as in `schema.NUCLEI`."""

    area_um2: Floats
    perimeter_um: Floats
    major_um: Floats
    minor_um: Floats
    orientation_rad: Floats
    solidity: Floats
    eccentricity: Floats

    def columns(self) -> dict[str, NDArray[np.float32]]:
        """As they are stored."""
        return {f.name: getattr(self, f.name).astype(np.float32) for f in fields(self)}


def measure(shapes: Outlines) -> Measures:
    """Areas, lengths and the ellipse with the same second moments, all from the polygons.

    The moments are Green's theorem over the edges (Steger 1996, "On the calculation of arbitrary
    moments of polygons"); the ellipse with variances l1 >= l2 has axes 4 sqrt(l1), 4 sqrt(l2).
    """
    rings = shapes.rings
    if not len(rings):
        return Measures(*(np.empty(0) for _ in range(7)))
    x, y, begin = rings.x, rings.y, rings.start[:-1]
    nx, ny = successor(x, rings.start), successor(y, rings.start)
    cross = x * ny - nx * y
    twice = np.add.reduceat(cross, begin)
    mean_x = np.add.reduceat(cross * (x + nx), begin) / (3 * twice)
    mean_y = np.add.reduceat(cross * (y + ny), begin) / (3 * twice)
    xx = np.add.reduceat(cross * (x * (x + nx) + nx * nx), begin) / (6 * twice) - mean_x**2
    yy = np.add.reduceat(cross * (y * (y + ny) + ny * ny), begin) / (6 * twice) - mean_y**2
    xy = np.add.reduceat(cross * (x * (2 * y + ny) + nx * (y + 2 * ny)), begin) / (12 * twice)
    xy -= mean_x * mean_y
    half, apart = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    large, small = half + apart, np.maximum(half - apart, 0)
    turn = 0.5 * np.arctan2(2 * xy, xx - yy)
    dx, dy = nx - x, ny - y
    hull = _hull_area(rings, shapes.star)
    return Measures(
        area_um2=twice / 2 * GRID_UM**2,
        perimeter_um=np.add.reduceat(np.sqrt(dx * dx + dy * dy), begin) * GRID_UM,
        major_um=4 * np.sqrt(large) * GRID_UM,
        minor_um=4 * np.sqrt(small) * GRID_UM,
        # -pi/2 and pi/2 are one direction.
        orientation_rad=np.where(turn <= -np.pi / 2, np.pi / 2, turn),
        solidity=twice / 2 / hull,
        eccentricity=np.sqrt(1 - small / large),
    )


def _ordered(rings: Rings) -> tuple[Rings, int]:
    """Rings in their stored order of vertices, none without area; and how many had none."""
    rings = _plain(rings)
    twice = _twice_area(rings)
    flat = np.flatnonzero(twice == 0)
    if len(flat):
        x, y = (
            np.tile([-1.0, 1.0, 1.0, -1.0], len(flat)),
            np.tile([-1.0, -1.0, 1.0, 1.0], len(flat)),
        )
        rings = rings.replaced(flat, Rings(x, y, 4 * np.arange(len(flat) + 1)))
    # Decoders give rings in order, and snapping seldom changes that.
    astray = np.flatnonzero((twice < 0) | ~_from_smallest(rings))
    if len(astray):
        rings = rings.replaced(astray, _turned(rings.take(astray)))
    return rings, len(flat)


def _plain(rings: Rings) -> Rings:
    """Without repeated vertices, and without those on the line through their neighbours."""
    thinner = _thinned(rings)
    todo = np.flatnonzero(thinner.count != rings.count)
    rings = thinner
    while len(todo):
        some = rings.take(todo)
        thinner = _thinned(some)
        changed = thinner.count != some.count
        if changed.any():
            rings = rings.replaced(todo, thinner)
        todo = todo[changed]
    return rings


def _thinned(rings: Rings) -> Rings:
    """One pass of `_plain`; what it takes away can bring others in line."""
    dx, dy = _steps(rings)
    moves = (dx != 0) | (dy != 0)
    if not moves.all():
        rings = rings.where(moves)
        dx, dy = _steps(rings)
    turns = predecessor(dx, rings.start) * dy != predecessor(dy, rings.start) * dx
    return rings if turns.all() else rings.where(turns)


def _steps(rings: Rings) -> tuple[Floats, Floats]:
    """From each vertex to the next."""
    return successor(rings.x, rings.start) - rings.x, successor(rings.y, rings.start) - rings.y


def _twice_area(rings: Rings) -> Floats:
    """Twice the signed area of each ring, exact; 0 for an empty one."""
    area = np.zeros(len(rings))
    some = rings.count > 0
    if some.any():
        cross = (
            rings.x * successor(rings.y, rings.start) - successor(rings.x, rings.start) * rings.y
        )
        area[some] = np.add.reduceat(cross, rings.start[:-1][some])
    return area


def _from_smallest(rings: Rings) -> Bools:
    """Whether each ring begins at its smallest (y, x); none empty."""
    if not len(rings):
        return np.zeros(0, np.bool_)
    begin, count = rings.start[:-1], rings.count
    dy = rings.y - np.repeat(rings.y[begin], count)
    before = (dy < 0) | ((dy == 0) & (rings.x < np.repeat(rings.x[begin], count)))
    smaller: Bools = np.logical_or.reduceat(before, begin)
    return ~smaller


def _turned(rings: Rings) -> Rings:
    """The rings counter-clockwise in numbers, each from its smallest (y, x) on; none empty."""
    count, begin = rings.count, rings.start[:-1]
    lowest_y = np.repeat(np.minimum.reduceat(rings.y, begin), count)
    x = np.where(rings.y == lowest_y, rings.x, np.inf)
    hits = np.flatnonzero(x == np.repeat(np.minimum.reduceat(x, begin), count))
    # A ring that touches itself there has several: any will do, as it is repaired later.
    first = hits[np.searchsorted(hits, begin)] - begin
    step = np.where(_twice_area(rings) < 0, -1, 1)
    along = np.arange(len(rings.x)) - np.repeat(begin, count)
    place = (np.repeat(first, count) + np.repeat(step, count) * along) % np.repeat(count, count)
    place += np.repeat(begin, count)
    return Rings(rings.x[place], rings.y[place], rings.start)


def _star(rings: Rings) -> Bools:
    """Rings that go round their centre once and always forwards; such a polygon is valid.

    A test that is exact, cheap, and true of nearly every nucleus, so that few are left for the
    general one.
    """
    if not len(rings):
        return np.zeros(0, np.bool_)
    x, y, begin = rings.x, rings.y, rings.start[:-1]
    nx, ny = successor(x, rings.start), successor(y, rings.start)
    forwards = np.logical_and.reduceat(x * ny - nx * y > 0, begin)
    rounds = np.add.reduceat(((y < 0) & (ny >= 0)).astype(np.int8), begin)
    once: Bools = forwards & (rounds == 1)
    return once


def _hull_area(rings: Rings, star: Bools) -> Floats:
    """Areas of the convex hulls, in square grid steps."""
    area = np.empty(len(rings))
    other = np.flatnonzero(~star)
    area[other] = shapely.area(shapely.convex_hull(to_shapely(rings.take(other))))
    todo = np.flatnonzero(star)
    left = rings.take(todo) if len(other) else rings
    # Seen from a star's centre, a vertex where the outline turns inwards lies inside the triangle
    # of the centre and its neighbours: it is no corner of the hull, and a star remains without it.
    while len(todo):
        dx, dy = _steps(left)
        outwards = predecessor(dx, left.start) * dy > predecessor(dy, left.start) * dx
        convex = np.logical_and.reduceat(outwards, left.start[:-1])
        if convex.any():
            area[todo[convex]] = _twice_area(left.take(np.flatnonzero(convex))) / 2
            left, outwards = (
                left.take(np.flatnonzero(~convex)),
                outwards[np.repeat(~convex, left.count)],
            )
            todo = todo[~convex]
        left = left.where(outwards)
    return area


def _largest_parts(rings: Rings) -> Rings:
    """Of each ring that crosses or touches itself, the outline of its largest valid part."""
    kept: list[Floats] = []
    for polygon in shapely.make_valid(to_shapely(rings)):
        parts = shapely.get_parts(shapely.set_precision(polygon, 1.0))
        areas = np.where(
            shapely.get_type_id(parts) == shapely.GeometryType.POLYGON, shapely.area(parts), 0
        )
        # Of equally large parts the first in a canonical order, whatever order they came in.
        best = parts[areas == areas.max()] if len(parts) else parts
        best = sorted(best, key=lambda part: shapely.to_wkb(shapely.normalize(part)))
        ring = shapely.get_exterior_ring(best[0]) if best else None
        kept.append(shapely.get_coordinates(ring)[:-1] if ring is not None else np.empty((0, 2)))
    points = np.concatenate(kept)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(ring) for ring in kept])])
    return Rings(np.rint(points[:, 0]), np.rint(points[:, 1]), start)

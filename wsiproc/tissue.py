"""Where on a slide nuclei are looked for: tissue, and what the user outlined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import shape as from_geojson

from wsiproc.config import Outline
from wsiproc.errors import ConfigError
from wsiproc.geojson import text_of
from wsiproc.geometry import Box, Frame
from wsiproc.slide import SlideFacts

_GLASS = 240.0
"""Grey of clear glass where a slide shows none."""
_DARK = 45
"""No stained tissue is darker than this in every channel; what was never scanned is."""
_LEAST_COLOUR, _MOST_COLOUR = 0.035, 0.055
"""Rails for the threshold between glass and tissue, in optical density (natural logarithm)."""
_BLUEST = 1.25
"""Stained tissue absorbs red at most this many times as well as green; blue and green inks more."""
_GAP_UM = 40.0
"""Gaps between strands of tissue (fat) up to this wide belong to it."""
_HOLE_MM2 = 0.3
"""Enclosed glass up to this large belongs to the tissue around it: vessels, glands, fat."""
_SPECK_MM2 = 0.008
"""Smaller islands are dirt, unless they are a fair part of the picture."""
_INK_RIM_UM = 24.0
"""Where ink fades out it has other colours."""
_RIM_UM = 16.0
"""The mask is grown by this, so that nuclei on the tissue's rim are in it."""


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a slide: of the tissue, or of all, what lies within the user's outlines.

    Parameters
    ----------
    mask
        bool ``[h, w]``, true where there is tissue; None for everywhere.
    scale_x, scale_y
        level-0 px per mask px.
    width, height
        Size of the slide, level-0 px; nothing outside of it is in the region.
    roi
        Outlines, level-0 px; None for everywhere.
    """

    mask: NDArray[np.bool_] | None
    scale_x: float
    scale_y: float
    width: int
    height: int
    roi: tuple[Outline, ...] | None = None

    def contains(self, xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points ``[n, 2]``, level-0 px, lie in the region."""
        x, y = np.asarray(xy, np.float64).reshape(-1, 2).T
        inside: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x < self.width) & (y < self.height)
        if self.mask is not None:
            column = np.clip(np.floor(x / self.scale_x), 0, self.mask.shape[1] - 1)
            row = np.clip(np.floor(y / self.scale_y), 0, self.mask.shape[0] - 1)
            inside &= self.mask[row.astype(np.intp), column.astype(np.intp)]
        if self._outlined is not None:
            inside[inside] = shapely.contains_xy(self._outlined, x[inside], y[inside])
        return inside

    def touches(self, box: Box) -> bool:
        """Whether any part of the region may lie in `box`, level-0 px; never wrongly False."""
        seen = box & Box(0, 0, self.width, self.height)
        if seen.empty:
            return False
        if self.mask is not None:
            # The same division as in `contains`, which rounds but keeps the order.
            rows, columns = self.mask.shape
            c0, c1 = (min(int(v // self.scale_x), columns - 1) for v in (seen.x0, seen.x1))
            r0, r1 = (min(int(v // self.scale_y), rows - 1) for v in (seen.y0, seen.y1))
            total = self._summed
            count = total[r1 + 1, c1 + 1] - total[r0, c1 + 1] - total[r1 + 1, c0] + total[r0, c0]
            if count == 0:
                return False
        if self._outlined is None:
            return True
        return bool(shapely.intersects(self._outlined, shapely.box(*seen.as_tuple())))

    def area_um2(self, frame: Frame) -> float:
        """Area of the region, µm²."""
        return float(shapely.area(self._exact)) * frame.mpp_x * frame.mpp_y

    def polygons_um(self, frame: Frame) -> list[shapely.Polygon]:
        """The region's outlines in µm: valid, holes kept, steps of the mask smoothed away.

        Counter-clockwise in numbers, from top to bottom.
        """
        step = 0.0 if self.mask is None else 0.75 * max(self.scale_x, self.scale_y)
        smooth = shapely.make_valid(shapely.simplify(self._exact, step))
        in_um = shapely.transform(smooth, lambda xy: xy * (frame.mpp_x, frame.mpp_y))
        parts = [part for part in _polygons(in_um) if part.area > 0]
        parts.sort(key=lambda part: (part.bounds[1], part.bounds[0]))
        return list(shapely.orient_polygons(np.array(parts, object))) if parts else []

    @cached_property
    def _summed(self) -> NDArray[np.int64]:
        """Summed-area table of the mask, with a row and a column of zeros before it."""
        assert self.mask is not None
        table = np.zeros((self.mask.shape[0] + 1, self.mask.shape[1] + 1), np.int64)
        table[1:, 1:] = self.mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
        return table

    @cached_property
    def _outlined(self) -> shapely.Geometry | None:
        """The user's outlines as one shape."""
        if self.roi is None:
            return None
        every = shapely.union_all([shapely.Polygon(o[0], o[1:]) for o in self.roi])
        shapely.prepare(every)
        return every

    @cached_property
    def _exact(self) -> shapely.Geometry:
        """The region as a shape in level-0 px, the mask's pixels as the squares they are."""
        whole: shapely.Geometry = shapely.box(0, 0, self.width, self.height)
        if self.mask is not None:
            squares = shapely.transform(
                _outline(self.mask), lambda xy: xy * (self.scale_x, self.scale_y)
            )
            whole = shapely.intersection(whole, squares)
        if self._outlined is not None:
            whole = shapely.intersection(whole, self._outlined)
        return whole


def whole_slide(facts: SlideFacts) -> Region:
    """All of a slide."""
    return Region(None, 1.0, 1.0, facts.width, facts.height)


def _outline(mask: NDArray[np.bool_]) -> shapely.Geometry:
    """The edges between true and false pixels as polygons, px of the mask."""
    framed = np.pad(mask, 1)
    y, x = np.nonzero(framed[1:, 1:-1] != framed[:-1, 1:-1])
    level = np.stack([np.stack([x, y], 1), np.stack([x + 1, y], 1)], axis=1)
    y, x = np.nonzero(framed[1:-1, 1:] != framed[1:-1, :-1])
    upright = np.stack([np.stack([x, y], 1), np.stack([x, y + 1], 1)], axis=1)
    edges = np.asarray(shapely.linestrings(np.concatenate([level, upright]).astype(np.float64)))
    faces = shapely.get_parts(shapely.polygonize(edges))
    at = shapely.get_coordinates(shapely.point_on_surface(faces)).astype(np.intp)
    return shapely.MultiPolygon(list(faces[mask[at[:, 1], at[:, 0]]]))


def _polygons(shape: shapely.Geometry) -> list[shapely.Polygon]:
    """All polygons in a shape of any kind."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return [part for part in parts if isinstance(part, shapely.Polygon) and not part.is_empty]


# ------------------------------------------------------------------------------ finding tissue


def looks_fluorescent(pixels: NDArray[np.uint8]) -> bool:
    """Whether a thumbnail ``[h, w, 3]`` is bright signal on a dark background."""
    planes = _planes(pixels)
    return bool(np.median(_most(planes)) < 64 and np.mean(_least(planes) > 120) < 0.05)


def find_tissue(pixels: NDArray[np.uint8], um_per_px: float) -> NDArray[np.bool_]:
    """The tissue on a slide.

    Tissue is what has colour: optical density differs between channels where a stain absorbs,
    and hardly where glass is dirty, shaded or out of focus.  Ink is told from stain by what it
    absorbs.  Thresholds have fixed rails, so that a slide full of tissue, or empty, does not
    bring its own.

    Parameters
    ----------
    pixels
        uint8 ``[h, w, 3]``, RGB, the whole slide.
    um_per_px
        Its resolution; about 8.

    Returns
    -------
    mask
        bool ``[h, w]``.
    """
    if looks_fluorescent(pixels):
        found = _signal(pixels, um_per_px)
        ink = np.zeros_like(found)
    else:
        density = _density(pixels, um_per_px)
        colour = _most(density) - _least(density)
        dark = _most(_planes(pixels)) < _DARK
        ink = _ink(density, um_per_px)
        stained = density[0] < _BLUEST * density[1]
        found = (colour > _threshold(colour[~dark])) & stained & ~ink & ~dark
        ink |= dark
    return _tidy(found, ink, um_per_px)


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``[..., 3]`` as ``[3, ...]``, a view."""
    return np.moveaxis(pixels, -1, 0)


def _most(planes: NDArray[Any]) -> NDArray[Any]:
    """Largest of the three channels; many times faster than a reduction over three values."""
    return np.asarray(np.maximum(np.maximum(planes[0], planes[1]), planes[2]))


def _least(planes: NDArray[Any]) -> NDArray[Any]:
    """Smallest of the three channels."""
    return np.asarray(np.minimum(np.minimum(planes[0], planes[1]), planes[2]))


def _glass(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colour of the light through clear glass: the commonest of the bright neutral greys."""
    step = 1 + pixels[..., 0].size // 2_000_000
    flat = pixels.reshape(-1, 3)[::step]
    low, high = _least(_planes(flat)), _most(_planes(flat))
    neutral = flat[(low > 170) & (high - low <= 14)]
    if len(neutral) < 0.002 * len(flat):
        return np.full(3, _GLASS)
    grey = neutral.astype(np.float64).mean(axis=1)
    count = np.convolve(np.bincount(np.rint(grey).astype(np.intp), minlength=256), [1, 2, 3, 2, 1])
    mode = int(count.argmax()) - 2
    return np.asarray(np.median(neutral[np.abs(grey - mode) <= 4], axis=0), np.float64)


def _density(pixels: NDArray[np.uint8], um_per_px: float) -> NDArray[np.float32]:
    """Optical density against the slide's own glass, a little smoothed, ``[3, h, w]``."""
    lit = np.log(_glass(pixels) + 1)
    table = np.log(np.arange(256) + 1.0)
    sigma = min(8.0 / um_per_px, 4.0)
    planes = [
        ndimage.gaussian_filter((lit[c] - table[pixels[..., c]]).astype(np.float32), sigma)
        for c in range(3)
    ]
    return np.stack(planes)


def _threshold(colour: NDArray[np.float32]) -> float:
    """Otsu's threshold between the rails.  Pale tissue counts, so it is taken of the pale half."""
    if colour.size == 0:
        return _MOST_COLOUR
    count, edges = np.histogram(colour, bins=100, range=(0.0, 4 * _MOST_COLOUR))
    centre = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(count)
    rest = weight[-1] - weight
    total = np.cumsum(count * centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (total[-1] * weight / max(weight[-1], 1) - total) ** 2 / (weight * rest)
    best = centre[np.nanargmax(between)] if np.isfinite(between).any() else _MOST_COLOUR
    return float(np.clip(best, _LEAST_COLOUR, _MOST_COLOUR))


def _ink(density: NDArray[np.float32], um_per_px: float) -> NDArray[np.bool_]:
    """Felt pen: what absorbs as neither haematoxylin nor eosin (nor DAB) does."""
    r, g, b = density
    mean = (r + g + b) / 3
    blue_or_green = (r > 0.15) & (r > _BLUEST * g)
    red = (g > 1.0) & (b > 0.85 * g) & (r < 0.2 * g)
    black = (mean > 0.9) & (_most(density) - _least(density) < 0.25 * mean)
    stroke = ndimage.binary_opening(blue_or_green | red | black, np.ones((3, 3)))
    return _grown(stroke, _INK_RIM_UM / um_per_px)


def _signal(pixels: NDArray[np.uint8], um_per_px: float) -> NDArray[np.bool_]:
    """Fluorescence brighter than its dark background."""
    bright = ndimage.gaussian_filter(
        _most(_planes(pixels)).astype(np.float32), min(16.0 / um_per_px, 8.0)
    )
    found: NDArray[np.bool_] = bright > np.percentile(bright, 5) + 12
    return found


def _tidy(found: NDArray[np.bool_], ink: NDArray[np.bool_], um_per_px: float) -> NDArray[np.bool_]:
    """Close gaps, fill holes, drop specks, leave ink out, and grow the rim."""
    mm2 = (um_per_px * 1e-3) ** 2
    speck = min(_SPECK_MM2 / mm2, 0.02 * found.size)
    found = ndimage.binary_opening(found, iterations=1) if um_per_px < 20 else found
    joined = _closed(found, _GAP_UM / 2 / um_per_px)
    islands, number = ndimage.label(joined, np.ones((3, 3)))
    size = np.bincount(islands[found], minlength=number + 1)
    joined &= (size >= speck)[islands]
    holes, number = ndimage.label(~joined)
    size = np.bincount(holes.ravel(), minlength=number + 1)
    outer = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    fill = size <= _HOLE_MM2 / mm2
    fill[outer] = False
    fill[0] = False
    filled = joined | fill[holes]
    grown = _grown(filled, _RIM_UM / um_per_px)
    return np.asarray(grown & (filled | ~ink))


def _closed(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Closing by a disc; beyond the picture counts as what its border is."""
    pad = int(np.ceil(radius)) + 1
    wide = _grown(np.pad(mask, pad, mode="edge"), radius)
    shrunk = ~_grown(~wide, radius)
    closed: NDArray[np.bool_] = shrunk[pad:-pad, pad:-pad] | mask
    return closed


def _grown(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """All pixels within `radius` px of the mask."""
    if not mask.any():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)


# ------------------------------------------------------------------------------ user's outlines


def roi_from_text(text: str) -> tuple[Outline, ...]:
    """The region of interest that a user gives, in level-0 px.

    Parameters
    ----------
    text
        ``x,y,w,h``, or the path of a GeoJSON file (a geometry, feature or collection, as QuPath
        writes them too, packed with gzip or not; what is no polygon is left out).

    Returns
    -------
    outlines
        Polygons without overlap, each an outer ring followed by its holes, not closed.

    Raises
    ------
    ConfigError
        If it is neither, or encloses nothing.
    """
    numbers = text.split(",")
    if len(numbers) == 4:
        try:
            x, y, w, h = map(float, numbers)
        except ValueError:
            pass
        else:
            return _outlines([shapely.box(x, y, x + w, y + h)] if w > 0 and h > 0 else [])
    try:
        content = json.loads(text_of(Path(text)))
        return _outlines(list(_shapes(content)))
    except OSError as error:
        raise ConfigError(
            f"the region of interest is neither x,y,w,h nor a file to be read: {error.strerror}"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, shapely.errors.ShapelyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the region of interest is not GeoJSON: {error}") from None


def _shapes(content: Any) -> Iterator[shapely.Geometry]:
    """All geometries in a GeoJSON value."""
    if isinstance(content, list):
        for part in content:
            yield from _shapes(part)
    elif content.get("type") == "FeatureCollection":
        yield from _shapes(content["features"])
    elif content.get("type") == "Feature":
        if content.get("geometry"):
            yield from _shapes(content["geometry"])
    else:
        yield from_geojson(content)


def _outlines(shapes: list[shapely.Geometry]) -> tuple[Outline, ...]:
    """The union of all polygons in `shapes` as rings."""
    finite = [s for s in shapes if np.isfinite(shapely.get_coordinates(s)).all()]
    valid = [part for shape in finite for part in _polygons(shapely.make_valid(shape))]
    every = _polygons(shapely.normalize(shapely.union_all(valid)))
    if not every or len(finite) < len(shapes):
        raise ConfigError("the region of interest encloses nothing; give a polygon, or x,y,w,h")
    return tuple(
        tuple(
            tuple((float(p[0]), float(p[1])) for p in ring.coords[:-1])
            for ring in (part.exterior, *part.interiors)
        )
        for part in every
    )

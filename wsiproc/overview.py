"""One picture of a result: the slide, where nuclei were looked for, and how many there are."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wsiproc.density import LONGEST_PX, DensityGrid, coloured, draw_density
from wsiproc.errors import StoreError
from wsiproc.geometry import Frame
from wsiproc.slide import Thumbnail
from wsiproc.tissue import Region

_INK, _FAINT, _OUTLINE = (38, 38, 46), (112, 112, 122), (0, 132, 110)
_MARGIN, _BETWEEN, _HEADER, _BAR = 36, 28, 84, 118
"""px: around the picture, between its panels, above them, and for the colour bar."""
_LONGEST, _SHORTEST = LONGEST_PX, 320
"""Bounds of a panel's longer and shorter edge, px."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand in the picture, px."""

    panel: tuple[int, int]
    beside: bool
    size: tuple[int, int]
    corners: tuple[tuple[int, int], tuple[int, int]]


def draw_overview(
    thumb: Thumbnail, region: Region, density: DensityGrid, frame: Frame, title: str
) -> bytes:
    """Draw the slide beside a map of nuclei per mm², with a scale bar and a colour bar.

    Parameters
    ----------
    thumb
        The slide, small.
    region
        Where nuclei were looked for; outlined.
    density
        The nuclei.
    frame
        The slide's frame, for µm.
    title
        What the slide is called.

    Returns
    -------
    png
        The same bytes for the same input.
    """
    size_um = region.width * frame.mpp_x, region.height * frame.mpp_y
    layout = _laid_out(size_um)
    slide = _fitted(thumb, region, layout.panel)
    per_um = layout.panel[0] / size_um[0], layout.panel[1] / size_um[1]
    outlines = region.polygons_um(frame)
    map_, top = draw_density(slide, _searched(region, density, frame), density, size_um)
    picture = Image.new("RGB", layout.size, (255, 255, 255))
    for panel, corner in zip((slide, map_), layout.corners, strict=True):
        _outline(panel, outlines, per_um)
        picture.paste(panel, corner)
    pen = ImageDraw.Draw(picture)
    for x, y in layout.corners:
        pen.rectangle(
            (x - 1, y - 1, x + layout.panel[0], y + layout.panel[1]), outline=(214, 214, 220)
        )
    _write_header(pen, layout, title, density.total, region.area_um2(frame) / 1e6)
    _draw_scale(picture, layout, per_um[0])
    _draw_bar(picture, layout, top)
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


def slide_panel(size_um: tuple[float, float]) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Where the slide stands in the overview of a slide of this size (width, height in µm).

    Returns
    -------
    size
        Width and height of the whole picture, px.
    box
        ``(left, top, right, bottom)`` of the panel that shows the slide, px of the picture.
    """
    layout = _laid_out(size_um)
    (left, top), (width, height) = layout.corners[0], layout.panel
    return layout.size, (left, top, left + width, top + height)


def _laid_out(size_um: tuple[float, float]) -> _Layout:
    """Panels beside each other, or one above the other where the slide is wide."""
    scale = _LONGEST / max(size_um)
    if min(size_um) * scale < _SHORTEST:
        scale = min(_SHORTEST / min(size_um), 2 * scale)
    width, height = (max(40, round(edge * scale)) for edge in size_um)
    beside = width <= 1.4 * height
    x, y = _MARGIN, _MARGIN + _HEADER
    step = (width + _BETWEEN, 0) if beside else (0, height + _BETWEEN)
    full = max(x + step[0] + width + _BAR + _MARGIN, 640), y + step[1] + height + _MARGIN + 26
    return _Layout((width, height), beside, full, ((x, y), (x + step[0], y + step[1])))


def slide_picture(overview: Path, size_um: tuple[float, float]) -> Image.Image:
    """The picture of the slide alone, cut from the overview that it was published with.

    Parameters
    ----------
    overview
        An ``overview.png``.
    size_um
        Width and height of its slide.

    Raises
    ------
    StoreError
        If it cannot be read, or is no overview of such a slide.
    """
    size, box = slide_panel(size_um)
    try:
        with Image.open(overview, formats=("PNG",)) as picture:
            # The last bit of an mpp may decide how an edge was rounded.
            if max(abs(a - b) for a, b in zip(picture.size, size, strict=True)) <= 2:
                return picture.crop(box).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise StoreError(
            f"overview.png cannot be read ({type(error).__name__}): `wsiproc check` says whether "
            "it is damaged"
        ) from None
    raise StoreError("overview.png is of another slide: `wsiproc check` says what was changed")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that comes with Pillow: the same on every machine."""
    return ImageFont.load_default(size)


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, fill: tuple[int, int, int], size: int
) -> None:
    """Text whose ² is a small raised 2: that typeface has none."""
    x, y = float(at[0]), at[1]
    for i, part in enumerate(text.split("²")):
        if i:
            pen.text((x + 1, y - size // 6), "2", fill, _font(round(size * 0.68)))
            x += 2 + pen.textlength("2", _font(round(size * 0.68)))
        pen.text((x, y), part, fill, _font(size))
        x += pen.textlength(part, _font(size))


def _fitted(thumb: Thumbnail, region: Region, panel: tuple[int, int]) -> Image.Image:
    """The thumbnail without what reaches past the slide, at the panel's size."""
    box = (0.0, 0.0, region.width / thumb.scale_x, region.height / thumb.scale_y)
    seen = Image.fromarray(thumb.pixels)
    box = (0.0, 0.0, min(box[2], seen.width), min(box[3], seen.height))
    return seen.resize(panel, Image.Resampling.LANCZOS, box=box)


def _searched(region: Region, density: DensityGrid, frame: Frame) -> NDArray[np.bool_]:
    """``[rows, columns]`` cells of a grid where nuclei were looked for."""
    rows, columns = density.counts.shape
    x, y = np.meshgrid((np.arange(columns) + 0.5), (np.arange(rows) + 0.5))
    centres = np.column_stack([x.ravel(), y.ravel()]) * density.cell_um
    size_um = region.width * frame.mpp_x, region.height * frame.mpp_y
    centres = np.minimum(centres, np.nextafter(size_um, 0))
    searched = region.contains(frame.um_to_level0(centres)).reshape(rows, columns)
    return np.asarray(searched | (density.counts > 0), np.bool_)


def _outline(
    panel: Image.Image, polygons: list[shapely.Polygon], per_um: tuple[float, float]
) -> None:
    """Draw the region's rim, smoothly: on a mask three times as large."""
    if not polygons:
        return
    mask = Image.new("L", (3 * panel.width, 3 * panel.height), 0)
    pen = ImageDraw.Draw(mask)
    for polygon in polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.asarray(ring.coords) * per_um * 3
            pen.line([(float(x), float(y)) for x, y in points], fill=235, width=4, joint="curve")
    small = mask.resize(panel.size, Image.Resampling.BOX)
    panel.paste(Image.new("RGB", panel.size, _OUTLINE), (0, 0), small)


def _write_header(
    pen: ImageDraw.ImageDraw, layout: _Layout, title: str, nuclei: int, area_mm2: float
) -> None:
    """What slide this is, and its numbers."""
    room = layout.size[0] - 2 * _MARGIN
    font = _font(27)
    while pen.textlength(title, font) > room and len(title) > 4:
        title = title[:-2].rstrip("…") + "…"
    pen.text((_MARGIN, _MARGIN - 8), title, _INK, font)
    parts = [f"{nuclei:,} nuclei", f"{_number(area_mm2)} mm² searched"]
    if area_mm2 > 0:
        parts.append(f"{nuclei / area_mm2:,.0f} nuclei per mm²")
    _write(pen, (_MARGIN, _MARGIN + 33), "   ·   ".join(parts), _FAINT, 17)


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _draw_scale(picture: Image.Image, layout: _Layout, px_per_um: float) -> None:
    """A scale bar below the last panel on the left."""
    pen = ImageDraw.Draw(picture)
    longest = layout.panel[0] / 3.5 / px_per_um
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(m * power for m in (1, 2, 5) if m * power <= longest)
    label = f"{length / 1000:g} mm"
    x, y = layout.corners[0][0], layout.corners[1][1] + layout.panel[1] + 14
    end = x + round(length * px_per_um)
    pen.rectangle((x, y + 6, end, y + 9), fill=_INK)
    for at in (x, end):
        pen.rectangle((at - 1, y + 1, at + 1, y + 14), fill=_INK)
    pen.text((end + 12, y - 2), label, _INK, _font(16))


def _draw_bar(picture: Image.Image, layout: _Layout, top: float) -> None:
    """The colours of the map and what they stand for."""
    pen = ImageDraw.Draw(picture)
    x = layout.corners[1][0] + layout.panel[0] + 20
    y, height = layout.corners[1][1] + 26, min(layout.panel[1] - 34, 420)
    levels = np.linspace(1, 0, max(height, 2))[:, None].repeat(16, axis=1)
    picture.paste(Image.fromarray(np.rint(coloured(levels)).astype(np.uint8)), (x, y))
    pen.rectangle((x - 1, y - 1, x + 16, y + len(levels)), outline=(170, 170, 178))
    _write(pen, (x - 2, y - 27), "nuclei/mm²", _FAINT, 15)
    whole = float(top / 4).is_integer()
    steps = 4 if len(levels) >= 160 else 2
    for i in range(steps + 1):
        at = y + round((len(levels) - 1) * (1 - i / steps))
        pen.line((x + 17, at, x + 21, at), fill=_FAINT)
        pen.text(
            (x + 26, at), f"{top * i / steps:,.{0 if whole else 2}f}", _INK, _font(15), anchor="lm"
        )

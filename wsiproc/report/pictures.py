"""The pictures of a report: the slide, its density, and crops of it; as data that a page holds."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsiproc.density import DensityGrid, draw_density
from wsiproc.errors import ConfigError
from wsiproc.geometry import Box
from wsiproc.overview import slide_picture
from wsiproc.report.choosing import Gallery
from wsiproc.results.stored import TISSUE, StoredResult, tables
from wsiproc.slide import Slide, fingerprint, open_slide, read_view, thumbnail, view_at

PICTURE_PX: Final = 1400
"""Longer edge of the slide's picture where the slide itself is at hand."""
CROP_PX: Final = 132
SKIPPED: Final = "skipped.parquet"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture inside of a page: a ``data:`` address, width and height in px."""

    address: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Crop:
    """Pixels around a nucleus; left, top, width and height in µm from its centroid."""

    picture: Picture
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, eq=False)
class SlidePictures:
    """The slide, and its nuclei per mm².

    Parameters
    ----------
    slide, density
        Pictures of the whole slide, of one size.
    top
        Density of the darkest colour, nuclei per mm².
    tissue
        What was searched, µm.
    skipped
        Tiles that could not be read, µm.
    """

    slide: Picture
    density: Picture
    top: float
    tissue: tuple[shapely.Polygon, ...]
    skipped: tuple[shapely.Polygon, ...]


def opened_slide(path: Path, result: StoredResult) -> Slide:
    """The slide of a result, and no other.

    Raises
    ------
    ConfigError
        If it is another slide.
    SlideError
        If it cannot be read.
    """
    if fingerprint(path) != result.manifest.slide.sha256:
        raise ConfigError(
            f"--slide is not the slide of the result {result.slide_id!r}: their fingerprints differ"
        )
    given = result.manifest.slide.mpp_source == "given"
    return open_slide(path, mpp=result.mpp[0] if given else None)


def slide_pictures(
    result: StoredResult, density: DensityGrid, slide: Slide | None
) -> SlidePictures:
    """The slide from its own pixels, or else from the overview that it was published with.

    Raises
    ------
    SlideReadError, StoreError
        If what is needed cannot be read.
    """
    tissue = _polygons(result, TISSUE)
    picture = (
        slide_picture(result.file("overview.png"), result.size_um)
        if slide is None
        else _small(slide, result)
    )
    searched = _on_grid(tissue, density) | (density.counts > 0)
    heat, top = draw_density(picture, searched, density, result.size_um)
    skipped = _polygons(result, SKIPPED) if result.has(SKIPPED) else ()
    return SlidePictures(_jpeg(picture, 88), _jpeg(heat, 86), top, tissue, skipped)


def crops(slide: Slide, gallery: Gallery) -> tuple[Crop, ...]:
    """The pixels around each nucleus of a gallery, all in one scale.

    Raises
    ------
    SlideReadError
        If the slide cannot be read there.
    """
    half = gallery.field_um / 2
    view = view_at(slide.facts, max(2 * half / CROP_PX, *slide.facts.mpp), exact=True)
    per_px = np.array(view.frame.um_per_px)
    found = []
    for each in gallery.nuclei:
        at = np.array([each.x, each.y])
        low = np.floor((at - half) / per_px).astype(int)
        high = np.ceil((at + half) / per_px).astype(int)
        pixels = read_view(slide, view, Box(*low.tolist(), *high.tolist()))
        left, top = low * per_px - at
        width, height = (high - low) * per_px
        found.append(
            Crop(_jpeg(Image.fromarray(pixels), 84), float(left), float(top), width, height)
        )
    return tuple(found)


def _polygons(result: StoredResult, name: str) -> tuple[shapely.Polygon, ...]:
    found: list[shapely.Polygon] = []
    for table in tables(result.file(name), columns=["geometry"]):
        found += shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False)).tolist()
    return tuple(found)


def _on_grid(polygons: tuple[shapely.Polygon, ...], density: DensityGrid) -> NDArray[np.bool_]:
    """Cells that polygons cover, about; ``[rows, columns]``."""
    rows, columns = density.counts.shape
    mask = Image.new("1", (columns, rows))
    pen = ImageDraw.Draw(mask)
    for polygon in polygons:
        for ring, inside in ((polygon.exterior, 1), *((hole, 0) for hole in polygon.interiors)):
            points = np.asarray(ring.coords) / density.cell_um - 0.5
            pen.polygon([(float(x), float(y)) for x, y in points], fill=inside)
    return np.array(mask, np.bool_)


def _small(slide: Slide, result: StoredResult) -> Image.Image:
    """The whole slide, without what the last row and column reach past it."""
    small = thumbnail(slide, max(result.size_um) / PICTURE_PX)
    width, height = result.size_px
    whole = Image.fromarray(small.pixels)
    box = (0.0, 0.0, width / small.scale_x, height / small.scale_y)
    size = (max(1, round(box[2])), max(1, round(box[3])))
    box = (0.0, 0.0, min(box[2], whole.width), min(box[3], whole.height))
    return whole.resize(size, Image.Resampling.LANCZOS, box=box)


def _jpeg(image: Image.Image, quality: int) -> Picture:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=quality, optimize=True, subsampling=0)
    address = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
    return Picture(address, image.width, image.height)

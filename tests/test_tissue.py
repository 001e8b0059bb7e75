"""What counts as tissue, and that no tile of it is ever passed over."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from wsiproc.config import Science
from wsiproc.errors import ConfigError
from wsiproc.geometry import Box, Frame
from wsiproc.slide import open_slide, thumbnail
from wsiproc.slide._drawn import Drawing, render
from wsiproc.tissue import Region, find_tissue, looks_fluorescent, roi_from_text

SLIDES = Path(__file__).parents[2] / "shared" / "slides"
PENS = {"blue": (35, 55, 150), "green": (30, 120, 70), "black": (40, 40, 45), "red": (205, 40, 50)}


def noisy(colour: tuple[int, int, int], shape: tuple[int, int] = (120, 160)) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 2, (*shape, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


@functools.cache
def tissue() -> NDArray[np.uint8]:
    """Drawn tissue without glass, 240 x 320 px of 8 µm."""
    drawing = Drawing(3200, 2400, seed=1, mpp=0.8, glass=False)
    full = render(drawing, drawing.box).reshape(240, 10, 320, 10, 3)
    return full.mean(axis=(1, 3)).astype(np.uint8)


def section(glass: tuple[int, int, int] = (243, 242, 244)) -> tuple[NDArray, NDArray]:
    """A thumbnail at 8 µm per px with an ellipse of drawn tissue, and where that is."""
    y, x = np.mgrid[:240, :320]
    inside = ((x - 150) / 90) ** 2 + ((y - 120) / 70) ** 2 < 1
    return np.where(inside[..., None], tissue(), noisy(glass, inside.shape)), inside


def marked(pixels: NDArray, colour: tuple[int, int, int]) -> tuple[NDArray, NDArray]:
    """The thumbnail with a pen's stroke and blot beside the tissue, and where those are."""
    layer = Image.new("RGB", pixels.shape[1::-1], (255, 255, 255))
    pen = ImageDraw.Draw(layer)
    pen.line([(20, 20), (140, 12), (300, 40), (290, 200)], fill=colour, width=7, joint="curve")
    pen.ellipse((12, 190, 50, 230), fill=colour)
    ink = np.asarray(layer.filter(ImageFilter.GaussianBlur(0.8))).astype(float) / 255
    return (pixels * ink).astype(np.uint8), ink.min(axis=2) < 0.95


def test_tissue_on_glass_is_found_with_its_rim_and_little_more() -> None:
    pixels, inside = section()
    found = find_tissue(pixels, 8.0)
    assert found[inside].all()
    assert found.sum() < 1.15 * inside.sum()


@pytest.mark.parametrize("glass", [(228, 231, 231), (227, 223, 229), (255, 255, 255)])
def test_the_colour_of_the_glass_does_not_matter(glass: tuple[int, int, int]) -> None:
    pixels, inside = section(glass)
    found = find_tissue(pixels, 8.0)
    assert found[inside].all()
    assert found.sum() < 1.15 * inside.sum()


@pytest.mark.parametrize("pen", PENS)
def test_pen_marks_are_not_tissue(pen: str) -> None:
    pixels, inside = section()
    pixels, ink = marked(pixels, PENS[pen])
    found = find_tissue(pixels, 8.0)
    assert not (found & ink & ~inside).any()
    assert found[inside & ~ink].mean() > 0.99


def test_shadows_dust_and_what_was_never_scanned_are_not_tissue() -> None:
    pixels, inside = section()
    pixels = pixels.astype(float)
    pixels[:, 300:] = noisy((5, 5, 5), (240, 20))
    pixels[225:230, :300] *= 0.6
    pixels[:, 4:7] *= 0.45
    pixels[20:24, 40:44] *= 0.3
    found = find_tissue(pixels.astype(np.uint8), 8.0)
    assert found[inside].all()
    assert found.sum() < 1.15 * inside.sum()


def test_fat_with_a_net_of_thin_walls_counts_as_a_whole() -> None:
    pixels, inside = section()
    fat = np.zeros_like(inside)
    fat[80:160, 100:200] = True
    y, x = np.nonzero(fat & ~((np.indices(fat.shape) % 9) < 2).any(axis=0))
    pixels[y, x] = noisy((243, 242, 244), fat.shape)[y, x]
    assert find_tissue(pixels, 8.0)[inside].all()


def test_a_needle_biopsy_and_a_tiny_slide_survive() -> None:
    pixels = noisy((243, 242, 244), (240, 320))
    pixels[30:180, 200:208] = tissue()[30:180, 146:154]
    assert find_tissue(pixels, 8.0)[30:180, 200:208].all()
    assert find_tissue(tissue()[100:112, 140:152], 8.0).all()


def test_specks_of_stain_are_dirt() -> None:
    pixels = noisy((243, 242, 244))
    for x in (20, 60, 110):
        pixels[50:54, x : x + 4] = (190, 90, 160)
    assert not find_tissue(pixels, 8.0).any()


def test_a_picture_full_of_tissue_is_all_tissue_and_an_empty_one_none() -> None:
    assert find_tissue(tissue(), 8.0).all()
    for colour in ((245, 245, 246), (228, 231, 231), (128, 128, 128), (4, 4, 4)):
        assert not find_tissue(noisy(colour), 8.0).any()


def test_fluorescence_is_recognised_and_its_background_is_not_tissue() -> None:
    pixels = noisy((3, 3, 6))
    pixels[30:70, 40:90] = noisy((4, 6, 120), (40, 50))
    found = find_tissue(pixels, 8.0)
    assert looks_fluorescent(pixels)
    assert not looks_fluorescent(section()[0])
    assert found[30:70, 40:90].all()
    assert not found[90:].any()


@pytest.mark.skipif(not SLIDES.exists(), reason="real slides are not here")
def test_a_real_section_is_found_and_real_fluorescence_recognised() -> None:
    with open_slide(SLIDES / "CMU-1-Small-Region.svs") as slide:
        small = thumbnail(slide, 8.0)
    found = find_tissue(small.pixels, 8.0)
    assert 0.35 < found.mean() < 0.55
    assert found[80:120, 60:80].all()
    assert not found[:, :2].any()
    assert not looks_fluorescent(small.pixels)
    with open_slide(SLIDES / "fluorescence-dapi.ndpi") as slide:
        assert looks_fluorescent(thumbnail(slide, 8.0).pixels)


# -------------------------------------------------------------------------------------- regions

SQUARE = (((10.0, 10.0), (60.0, 10.0), (60.0, 60.0), (10.0, 60.0)),)
RING = (
    ((0.0, 0.0), (90.0, 0.0), (90.0, 70.0), (0.0, 70.0)),
    ((20.5, 20.0), (20.5, 50.0), (70.0, 50.0), (70.0, 20.0)),
)
FRAME = Frame.covering((100, 80), (0.5, 0.25), (1.0, 1.0))


def masks() -> st.SearchStrategy[NDArray[np.bool_]]:
    return st.integers(0, 2**31).map(
        lambda seed: np.random.default_rng(seed).random((9, 11)) < (seed % 5) / 6
    )


def regions() -> st.SearchStrategy[Region]:
    return st.builds(
        lambda mask, roi: Region(mask, 100 / 11, 9.1, 100, 80, roi),
        st.none() | masks(),
        st.sampled_from([None, (SQUARE,), (RING,), (RING, SQUARE)]),
    )


@settings(max_examples=60, deadline=None)
@given(regions(), st.integers(-5, 99), st.integers(-5, 79), st.integers(1, 40), st.integers(1, 40))
def test_a_box_that_holds_a_point_of_the_region_touches_it(
    region: Region, x: int, y: int, w: int, h: int
) -> None:
    box = Box.of_size(x, y, w, h)
    points = np.random.default_rng(0).random((300, 2)) * (w, h) + (x, y)
    corners = np.array([(x, y), (x + w - 1e-9, y), (x, y + h - 1e-9)])
    if region.contains(np.concatenate([points, corners])).any():
        assert region.touches(box)


@settings(max_examples=40, deadline=None)
@given(regions())
def test_area_and_membership_agree(region: Region) -> None:
    x, y = np.meshgrid(np.arange(0.125, 100, 0.25), np.arange(0.125, 80, 0.25))
    share = region.contains(np.column_stack([x.ravel(), y.ravel()])).mean()
    assert region.area_um2(FRAME) == pytest.approx(share * 100 * 80 * 0.5 * 0.25, abs=12)


@settings(max_examples=40, deadline=None)
@given(regions())
def test_outlines_are_valid_ordered_and_near_the_region(region: Region) -> None:
    polygons = region.polygons_um(FRAME)
    assert all(p.is_valid and p.exterior.is_ccw for p in polygons)
    tops = [p.bounds[1] for p in polygons]
    assert tops == sorted(tops)
    area, total = region.area_um2(FRAME), sum(p.area for p in polygons)
    if region.mask is None:
        assert total == pytest.approx(area)
    if area > 0:
        assert total > 0


def test_outlines_keep_holes() -> None:
    mask = np.ones((40, 40), bool)
    mask[10:30, 10:30] = False
    (outline,) = Region(mask, 4.0, 4.0, 160, 160).polygons_um(
        Frame.covering((160, 160), (0.5, 0.5), (1, 1))
    )
    assert len(outline.interiors) == 1
    assert outline.area == pytest.approx((160**2 - 80**2) / 4, rel=0.02)


def test_a_mask_that_reaches_past_the_slide_ends_with_it() -> None:
    region = Region(np.ones((2, 2), bool), 60.0, 60.0, 100, 80)
    assert region.area_um2(Frame.covering((100, 80), (1.0, 1.0), (1, 1))) == 8000
    assert region.contains(np.array([(99.5, 79.5), (100.5, 10.0), (10.0, 80.0)])).tolist() == [
        True,
        False,
        False,
    ]
    assert not region.touches(Box(100, 0, 120, 80))


def test_nothing_outside_of_an_outline_or_in_its_hole_is_in_the_region() -> None:
    region = Region(None, 1.0, 1.0, 100, 80, (RING,))
    points = np.array([(5.0, 5.0), (40.0, 30.0), (95.0, 5.0)])
    assert region.contains(points).tolist() == [True, False, False]
    assert not region.touches(Box(30, 25, 60, 45))
    assert region.touches(Box(15, 25, 60, 45))


# ------------------------------------------------------------------------------ user's outlines


def test_a_rectangle_is_given_by_corner_and_size() -> None:
    (outline,) = roi_from_text(" 10, 20,30 ,40.5")
    assert shapely.Polygon(outline[0]).bounds == (10, 20, 40, 60.5)


def test_every_kind_of_geojson_with_polygons_is_read(tmp_path: Path) -> None:
    square, ring = (shapely.Polygon(p[0], p[1:]) for p in (SQUARE, RING))
    shapes = {
        "polygon": ring.__geo_interface__,
        "multi": shapely.MultiPolygon([square, shapely.box(70, 0, 80, 5)]).__geo_interface__,
    }
    feature = {"type": "Feature", "geometry": shapes["polygon"], "properties": {"isLocked": True}}
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}
    collection = {"type": "FeatureCollection", "features": [feature, point]}
    for content, area in (
        (shapes["polygon"], ring.area),
        (shapes["multi"], square.area + 50),
        (feature, ring.area),
        (collection, ring.area),
        ([feature, {**feature, "geometry": shapes["multi"]}], (ring | square).area + 0),
    ):
        file = tmp_path / "roi.geojson"
        file.write_text(json.dumps(content), "utf-8")
        outlines = roi_from_text(str(file))
        assert sum(shapely.Polygon(o[0], o[1:]).area for o in outlines) == pytest.approx(area)
        assert Science(roi=outlines).roi == outlines


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '"text"', "3", '{"type": "Point", "coordinates": [1, 2]}', "[[1, 2]]"],
)
def test_what_encloses_nothing_is_refused_without_naming_the_file(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "somebody.geojson"
    file.write_text(content, "utf-8")
    with pytest.raises(ConfigError) as refused:
        roi_from_text(str(file))
    assert "somebody" not in str(refused.value)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,0,5", "somebody.geojson", "1,2,x,y", "0,0,inf,3"])
def test_a_region_of_interest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        roi_from_text(text)
    assert "somebody" not in str(refused.value)


def test_bare_rings_are_polygons_without_holes() -> None:
    assert Science(roi=SQUARE).roi == (SQUARE,)  # type: ignore[arg-type]
    assert Science.model_validate({"roi": [[[0, 0], [9, 0], [9, 9]]]}).roi == (
        (((0.0, 0.0), (9.0, 0.0), (9.0, 9.0)),),
    )

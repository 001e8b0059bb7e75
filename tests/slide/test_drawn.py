"""Drawn slides: the suite stands on them, so what they claim to hold has to be what they show."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsiproc.errors import ConfigError
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei, concat
from wsiproc.slide._drawn import (
    Drawing,
    draw_image,
    draw_slide,
    render,
    true_nuclei,
)
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.slide._drawn_shapes import LARGEST_UM, fill_ring

DRAWING = Drawing(1100, 1300, seed=5, mpp=0.5)


def rings(nuclei: Nuclei) -> list[np.ndarray]:
    assert nuclei.ring is not None
    assert nuclei.ring_start is not None
    return np.split(nuclei.ring, nuclei.ring_start[1:-1])


@pytest.fixture(scope="module")
def truth() -> Nuclei:
    return true_nuclei(DRAWING, 0, DRAWING.height)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1200), st.integers(1, 400), st.integers(1, 400))
def test_any_box_shows_the_same_pixels_as_the_whole(x: int, y: int, w: int, h: int) -> None:
    whole = render(DRAWING, DRAWING.box)
    box = Box.of_size(x, y, w, h) & DRAWING.box
    np.testing.assert_array_equal(render(DRAWING, box), whole[box.slices_in(DRAWING.box)])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 1299), max_size=4, unique=True))
def test_any_bands_list_the_same_nuclei_as_the_whole(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), DRAWING.height]
    parts = [true_nuclei(DRAWING, a, b) for a, b in pairwise(edges)]
    together, whole = concat(parts), true_nuclei(DRAWING, 0, DRAWING.height)
    np.testing.assert_array_equal(together.ids, whole.ids)
    np.testing.assert_array_equal(together.ring, whole.ring)


def test_true_outlines_are_valid_and_do_not_overlap_but_some_touch(truth: Nuclei) -> None:
    polygons = np.array([shapely.Polygon(ring) for ring in rings(truth)])
    assert shapely.is_valid(polygons).all()
    a, b = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    a, b = a[a < b], b[a < b]
    assert len(a) > 10
    assert shapely.area(shapely.intersection(polygons[a], polygons[b])).max() < 1e-9


def test_outlines_follow_the_convention_of_nuclei(truth: Nuclei) -> None:
    for ring in rings(truth):
        assert shapely.LinearRing(ring).is_ccw
        assert np.lexsort((ring[:, 0], ring[:, 1]))[0] == 0
        assert not np.array_equal(ring[0], ring[-1])


def test_outlines_stay_on_the_slide_and_some_are_cut_by_its_edge(truth: Nuclei) -> None:
    assert truth.ring is not None
    assert truth.ring.min() >= 0
    assert (truth.ring.max(axis=0) <= (DRAWING.width, DRAWING.height)).all()
    assert (truth.ring[:, 0] == DRAWING.width).any()
    assert (truth.ring[:, 1] == DRAWING.height).any()


def test_some_nuclei_are_large_and_none_larger_than_said(truth: Nuclei) -> None:
    length = np.array(
        [shapely.minimum_bounding_radius(shapely.Polygon(ring)) * 2 for ring in rings(truth)]
    )
    length_um = length * DRAWING.mpp
    assert length_um.max() <= LARGEST_UM + 1e-6
    assert (length_um > 14).sum() >= 5
    assert np.median(length_um) < 12


def test_the_reference_pixel_is_the_first_pixel_of_the_outline(truth: Nuclei) -> None:
    for i, ring in enumerate(rings(truth)):
        origin = np.floor(ring.min(axis=0)).astype(int)
        size = np.ceil(ring.max(axis=0)).astype(int) - origin
        y, x = np.argwhere(fill_ring(ring, (size[1], size[0]), tuple(origin)))[0]
        assert (x + origin[0], y + origin[1]) == (truth.ref_x[i], truth.ref_y[i])


@pytest.mark.parametrize("seam", [512, 400])
def test_a_nucleus_lies_across_every_corner_and_edge_of_a_seam(seam: int) -> None:
    drawing = Drawing(1700, 1700, seed=1, mpp=0.25, seams=(seam,), glass=False)
    polygons = np.array(
        [shapely.Polygon(r) for r in rings(true_nuclei(drawing, 0, drawing.height))]
    )
    tree = shapely.STRtree(polygons)
    inner = range(seam, 1700 - seam, seam)
    for a in inner:
        for b in inner:
            assert len(tree.query(shapely.Point(a, b), predicate="within")) == 1
            for line in ([(a, b), (a, b + seam)], [(a, b), (a + seam, b)]):
                assert len(tree.query(shapely.LineString(line), predicate="crosses")) >= 2


def test_nuclei_are_dark_and_blue_and_the_border_is_bare_glass(truth: Nuclei) -> None:
    pixels = render(DRAWING, DRAWING.box).astype(float)
    inside = np.zeros(pixels.shape[:2], bool)
    for ring in rings(truth):
        x, y = np.floor(ring.min(axis=0)).astype(int)
        part = inside[y : y + 60, x : x + 60]
        part |= fill_ring(ring, part.shape, (x, y))
    glass = pixels.min(axis=2) > 230
    stroma = ~inside & ~glass
    assert pixels[inside, 0].mean() < 0.65 * pixels[stroma, 0].mean()
    assert 0.05 < glass.mean() < 0.4
    assert not (glass & inside).any()


def test_density_is_about_what_was_asked_for() -> None:
    drawing = Drawing(6000, 6000, seed=2, mpp=0.5, glass=False, seams=())
    found = len(true_nuclei(drawing, 0, drawing.height)) / (3.0 * 3.0)
    assert found == pytest.approx(drawing.density_per_mm2, rel=0.2)


def test_the_file_opens_with_its_resolution_its_levels_and_its_pixels(tmp_path: Path) -> None:
    drawn = draw_slide(tmp_path / "s.tiff", width=1500, height=1100, seed=3, mpp=0.25, quality=95)
    with openslide.OpenSlide(drawn.path) as slide:
        assert float(slide.properties["openslide.mpp-x"]) == 0.25
        assert float(slide.properties["openslide.mpp-y"]) == 0.25
        assert slide.level_dimensions == ((1500, 1100), (375, 275))
        read = np.asarray(slide.read_region((600, 500), 0, (512, 512)))[..., :3].astype(int)
        low = np.asarray(slide.read_region((0, 0), 1, (375, 275)))[..., :3].astype(int)
    assert np.abs(read - render(drawn.drawing, Box.of_size(600, 500, 512, 512))).mean() < 4
    whole = render(drawn.drawing, drawn.drawing.box).astype(float)
    means = whole.reshape(275, 4, 375, 4, 3).mean(axis=(1, 3))
    assert np.abs(low - means).mean() < 4
    assert list(tmp_path.iterdir()) == [drawn.path]


def test_the_same_drawing_is_the_same_file(tmp_path: Path) -> None:
    one, two = (
        draw_slide(tmp_path / f"{i}.tiff", width=700, height=600, seed=9).path.read_bytes()
        for i in range(2)
    )
    assert one == two


def test_chunks_are_the_truth_in_parts(tmp_path: Path) -> None:
    drawn = draw_slide(tmp_path / "s.tiff", width=600, height=2500, mpp=0.5)
    assert len(drawn.bands) == 2
    assert len(drawn.truth) == sum(len(band.load()) for band in drawn.bands) > 100


def test_labels_of_an_image_are_its_true_nuclei_in_order() -> None:
    pixels, labels = draw_image(300, 260, 11, mpp=0.5)
    truth = true_nuclei(Drawing(300, 260, 11, 0.5, seams=(), glass=False), 0, 260)
    assert pixels.shape == (260, 300, 3)
    assert np.unique(labels).tolist() == list(range(len(truth) + 1))
    for number, ring in enumerate(rings(truth), 1):
        drawn, known = labels == number, fill_ring(ring, labels.shape, (0, 0))
        assert np.argwhere(drawn)[0].tolist() == [truth.ref_y[number - 1], truth.ref_x[number - 1]]
        assert (drawn ^ known).sum() <= 1


def test_a_dataset_has_the_layout_of_all_datasets(tmp_path: Path) -> None:
    folder = drawn_dataset(tmp_path / "d", train=3, val=1, size=192, seed=4)
    described = tomllib.loads((folder / "dataset.toml").read_text("utf-8"))
    assert described["labels"] == "instances"
    assert described["mpp"] == 0.5
    assert [len(described["splits"][s]) for s in ("train", "val")] == [3, 1]
    for name in described["splits"]["train"] + described["splits"]["val"]:
        with Image.open(folder / "images" / f"{name}.png") as image:
            assert (image.mode, image.size) == ("RGB", (192, 192))
        with Image.open(folder / "instances" / f"{name}.png") as image:
            labels = np.asarray(image)
        assert labels.dtype == np.uint16
        assert labels.max() > 5


@pytest.mark.parametrize("wrong", [{"width": 0}, {"mpp": 9.0}, {"seams": (64,)}])
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Drawing(**{"width": 100, "height": 100, **wrong})

"""The picture shows the slide, and its nuclei where they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from wsiproc.density import DensityGrid
from wsiproc.geometry import Frame
from wsiproc.overview import draw_overview
from wsiproc.slide import Thumbnail
from wsiproc.tissue import Region

WIDTH, HEIGHT, SCALE = 4000, 3000, 40.0
FRAME = Frame.covering((WIDTH, HEIGHT), (0.5, 0.5), (1.0, 1.0))


def small_slide(width: int = WIDTH, height: int = HEIGHT) -> tuple[Thumbnail, Region]:
    shape = (-(-height // 40), -(-width // 40))
    pixels = np.full((*shape, 3), 240, np.uint8)
    tissue = np.zeros(shape, bool)
    tissue[shape[0] // 4 :, shape[1] // 4 :] = True
    pixels[tissue] = (210, 150, 190)
    return Thumbnail(pixels, SCALE, SCALE), Region(tissue, SCALE, SCALE, width, height)


def scattered(n: int, left: float = 500.0, right: float = 2000.0) -> NDArray[np.float64]:
    return np.random.default_rng(1).uniform((left, 375.0), (right, 1500.0), (n, 2))


def drawn(points: NDArray[np.float64], title: str = "a-slide") -> NDArray[np.uint8]:
    thumb, region = small_slide()
    grid = DensityGrid.over(WIDTH * 0.5, HEIGHT * 0.5)
    grid.add(points[:, 0], points[:, 1])
    png = draw_overview(thumb, region, grid, FRAME, title)
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 5))
def test_counts_do_not_depend_on_order_or_parts(order: list[int], first: int) -> None:
    points = scattered(600).reshape(6, 100, 2)
    one, two = (DensityGrid.over(2000.0, 1500.0) for _ in range(2))
    one.add(*points.reshape(-1, 2).T)
    for part in (order[:first], order[first:]):
        two.add(*points[part].reshape(-1, 2).T)
    np.testing.assert_array_equal(one.counts, two.counts)
    assert one.total == 600


def test_memory_is_bounded_whatever_the_slide() -> None:
    assert DensityGrid.over(90_000.0, 60_000.0).counts.size <= 1024 * 1024
    assert DensityGrid.over(3.0, 2.0).counts.shape == (1, 1)


def test_nuclei_on_the_very_edge_are_counted() -> None:
    grid = DensityGrid.over(100.0, 100.0)
    grid.add(np.array([0.0, 100.0]), np.array([100.0, 112.0]))
    assert grid.total == 2


def test_the_same_result_is_the_same_picture() -> None:
    points = scattered(2000)
    np.testing.assert_array_equal(drawn(points), drawn(points[::-1]))


def test_crowded_places_are_darker_than_sparse_ones_and_glass_stays_pale() -> None:
    crowd = scattered(4000, left=1400.0, right=1900.0)
    picture = drawn(np.concatenate([crowd, scattered(300)])).astype(float)
    right = picture[:, picture.shape[1] // 2 :]
    # The density panel's tissue: its lower three quarters, left of the colour bar.
    panel = right[300:700, 40:-170].mean(axis=2)
    assert panel[:, -220:-80].mean() + 60 < panel[:, 260:400].mean()
    assert picture[130:180, picture.shape[1] // 2 + 60 : -200].mean() > 225


def test_a_slide_without_nuclei_or_tissue_still_has_a_picture() -> None:
    assert drawn(np.empty((0, 2))).shape[0] > 300
    thumb, region = small_slide()
    nothing = Region(np.zeros_like(region.mask), SCALE, SCALE, WIDTH, HEIGHT)
    grid = DensityGrid.over(WIDTH * 0.5, HEIGHT * 0.5)
    assert draw_overview(thumb, nothing, grid, FRAME, "empty")[:4] == b"\x89PNG"


@pytest.mark.parametrize("size", [(40, 40), (20000, 400), (300, 9000), (4001, 2999)])
def test_slides_of_every_shape_fit(size: tuple[int, int]) -> None:
    thumb, region = small_slide(*size)
    frame = Frame.covering(size, (0.5, 0.5), (1.0, 1.0))
    grid = DensityGrid.over(size[0] * 0.5, size[1] * 0.5)
    grid.add(np.array([1.0]), np.array([1.0]))
    with Image.open(io.BytesIO(draw_overview(thumb, region, grid, frame, "s"))) as image:
        assert max(image.size) < 4200


def test_the_title_is_in_the_picture_and_a_long_one_is_cut() -> None:
    points = scattered(100)
    one, other = drawn(points, "one"), drawn(points, "other")
    assert (one != other).any()
    assert (one[110:] == other[110:]).all()
    long = drawn(points, "a name that goes on " * 30)
    assert long.shape == one.shape
    assert (long[20:60, -30:] == 255).all()

"""Polygons become pixels as one by one, and neighbours share none."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.export._raster import paint, runs_of
from wsiproc.export._shapes import Shapes, rings
from wsiproc.geojson import label_map


def stars(seed: int, n: int) -> Shapes:
    """`n` polygons with dents, anywhere on and around 40 x 30 px; no vertex at a px's centre."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, (n, 9)), axis=1)
    reach = rng.uniform(0.4, 9, (n, 9))
    centre = rng.uniform((-4, -4), (44, 34), (n, 1, 2))
    ring = centre + reach[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    polygons: Shapes = shapely.polygons(ring)
    return polygons[shapely.is_valid(polygons)]


@given(seed=st.integers(0, 2**31), n=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_pixel_is_inside_if_its_centre_is_and_later_ones_are_on_top(seed: int, n: int) -> None:
    shapes = stars(seed, n)
    painted = np.zeros((30, 40), np.int32)
    paint(runs_of(*rings(shapes)), np.arange(1, len(shapes) + 1), painted, (0, 0))
    np.testing.assert_array_equal(painted, label_map(shapes, (30, 40)))


@given(seed=st.integers(0, 2**31), x=st.integers(-5, 30), y=st.integers(-5, 20))
@settings(max_examples=30, deadline=None)
def test_a_tile_is_a_part_of_the_whole(seed: int, x: int, y: int) -> None:
    runs = runs_of(*rings(stars(seed, 8)))
    whole, tile = np.zeros((60, 60), np.uint8), np.zeros((11, 13), np.uint8)
    values = np.arange(1, 9, dtype=np.uint8)
    paint(runs, values, whole, (-10, -10))
    paint(runs, values, tile, (x, y))
    np.testing.assert_array_equal(tile, whole[y + 10 : y + 21, x + 10 : x + 23])


@given(
    cuts=st.lists(st.integers(1, 39), min_size=2, max_size=6, unique=True), tilt=st.integers(-8, 8)
)
def test_touching_polygons_share_no_pixel_and_leave_none(cuts: list[int], tilt: int) -> None:
    """Borders run through centres of px, as those of touching nuclei may."""
    at = np.array([0.0, *sorted(cuts), 40.0]) + 0.5
    lean = np.where((at > 0.5) & (at < 40), tilt / 2, 0)
    polygons = [
        shapely.Polygon([(a, 0.5), (b, 0.5), (b + lb, 20.5), (a + la, 20.5)])
        for a, b, la, lb in zip(at[:-1], at[1:], lean[:-1], lean[1:], strict=True)
        if a + la < b + lb
    ]
    runs = runs_of(*rings(np.array(polygons, dtype=object)))
    counted = np.zeros((24, 48), np.int64)
    for row, begin, end in zip(runs.row, runs.begin, runs.end, strict=True):
        counted[row, max(0, begin) : end] += 1
    assert counted.max() == 1
    if len(polygons) == len(at) - 1 and lean.min() >= 0:
        assert (counted[1:20, 1:40] == 1).all()


def test_nothing_becomes_no_pixels() -> None:
    runs = runs_of(*rings(np.empty(0, dtype=object)))
    assert len(runs.polygon) == 0
    painted = np.zeros((3, 3), np.uint8)
    paint(runs, np.empty(0, np.uint8), painted, (0, 0))
    assert not painted.any()

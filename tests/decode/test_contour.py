from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiproc.decode import contours


def polygons(labels, origin=(0, 0)):
    ring, start = contours(labels, origin)
    return [shapely.Polygon(ring[a:b]) for a, b in pairwise(start)]


def pieces(seed, smooth, levels):
    """Touching labels: each in one piece by sides, none with a hole."""
    rng = np.random.default_rng(seed)
    hills = ndimage.gaussian_filter(rng.standard_normal((28, 31)), smooth)
    values = np.digitize(hills, np.quantile(hills, np.linspace(0, 1, levels + 1)[1:-1]))
    labels = np.zeros(hills.shape, np.int32)
    n = 0
    for value in range(values.max() + 1):
        piece, count = ndimage.label(values == value)
        for k in range(1, count + 1):
            one = piece == k
            around = ndimage.binary_fill_holes(one, np.ones((3, 3)))
            if (around == one).all() and rng.random() < 0.8:
                n += 1
                labels[one] = n
    return labels


def test_a_single_pixel_is_a_diamond_and_a_row_of_two_a_hexagon():
    ring, start = contours(np.array([[1]], np.int32), (10, 20))
    assert start.tolist() == [0, 4]
    assert ring.tolist() == [[10.5, 20.0], [11.0, 20.5], [10.5, 21.0], [10.0, 20.5]]
    ring, _ = contours(np.array([[1, 1]], np.int32))
    assert ring.tolist() == [[0.5, 0], [1.5, 0], [2, 0.5], [1.5, 1], [0.5, 1], [0, 0.5]]


def test_pixels_that_touch_by_a_corner_are_not_joined_there():
    c = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.int32)
    (polygon,) = polygons(c)
    assert polygon.is_valid
    assert not polygon.contains(shapely.Point(1.5, 1.5))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), smooth=st.floats(0.4, 3), levels=st.integers(2, 6))
def test_a_pixel_is_in_the_mask_if_and_only_if_its_centre_is_in_the_polygon(seed, smooth, levels):
    labels = pieces(seed, smooth, levels)
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]] + 0.5
    for n, polygon in enumerate(polygons(labels), 1):
        assert polygon.is_valid
        inside = shapely.contains_xy(polygon, x.ravel(), y.ravel()).reshape(labels.shape)
        assert np.array_equal(inside, labels == n)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), smooth=st.floats(0.4, 3), levels=st.integers(2, 6))
def test_outlines_of_touching_nuclei_never_overlap(seed, smooth, levels):
    shapes = polygons(pieces(seed, smooth, levels))
    tree = shapely.STRtree(shapes)
    for a, b in zip(*tree.query(shapes, predicate="intersects"), strict=True):
        if a != b:
            assert shapes[a].intersection(shapes[b]).area == 0


def test_nuclei_side_by_side_share_their_border():
    labels = np.repeat([[1, 1, 1, 2, 2, 2]], 5, axis=0).astype(np.int32)
    left, right = polygons(labels)
    assert left.intersection(right).length == 4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), smooth=st.floats(0.4, 3))
def test_rings_turn_the_same_way_start_at_the_smallest_vertex_and_have_no_needless_one(
    seed, smooth
):
    ring, start = contours(pieces(seed, smooth, 3), (1000, 2000))
    for a, b in pairwise(start):
        x, y = ring[a:b].T
        assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0
        assert (y[0], x[0]) == min(zip(y, x, strict=True))
        dx, dy = np.roll(x, -1) - x, np.roll(y, -1) - y
        assert (dx * np.roll(dy, 1) != dy * np.roll(dx, 1)).all()


@pytest.mark.parametrize("radius", [8, 12, 20])
def test_the_perimeter_of_a_disc_is_nearly_right(radius):
    y, x = np.mgrid[:50, :50] + 0.5
    (polygon,) = polygons(((y - 25.2) ** 2 + (x - 24.9) ** 2 < radius**2).astype(np.int32))
    assert polygon.length == pytest.approx(2 * np.pi * radius, rel=0.08)
    assert polygon.area == pytest.approx(np.pi * radius**2, rel=0.03)


def test_a_label_without_pixels_has_an_empty_ring_and_no_labels_give_none():
    _, start = contours(np.array([[2]], np.int32))
    assert start.tolist() == [0, 0, 4]
    ring, start = contours(np.zeros((3, 3), np.int32))
    assert (ring.shape, start.tolist()) == ((0, 2), [0])

"""Outlines on the grid are valid polygons, and their measures are those of the polygons."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei
from wsiproc.store.rings import (
    bounds_um,
    rings_of_wkb,
    to_shapely,
    wkb_points,
    wkb_polygons,
)
from wsiproc.store.schema import GRID_UM
from wsiproc.store.shapes import Outlines, measure, outlines

FRAME = Frame.covering((4000, 4000), (0.2527, 0.2527), (1.0, 1.0))
UNIT = Frame.covering((4000, 4000), (GRID_UM, GRID_UM), (1.0, 1.0))


def outlined(rings: list[NDArray[np.float64]]) -> Nuclei:
    """Nuclei with these rings in model px, each centred on the mean of its vertices."""
    n = len(rings)
    centre = np.array([ring.mean(axis=0) for ring in rings]).reshape(n, 2)
    return Nuclei(
        ref_x=np.arange(n),
        ref_y=np.arange(n),
        x=centre[:, 0],
        y=centre[:, 1],
        class_id=np.zeros(n, np.int16),
        score=np.ones(n, np.float32),
        cut=np.zeros(n, np.bool_),
        ring=np.concatenate([np.empty((0, 2)), *rings]),
        ring_start=np.concatenate([[0], np.cumsum([len(ring) for ring in rings])]).astype(np.int64),
    )


def oval(a: float, b: float, turn: float, n: int = 720) -> NDArray[np.float64]:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = a * np.cos(t), b * np.sin(t)
    return np.column_stack(
        [900 + x * np.cos(turn) - y * np.sin(turn), 700 + x * np.sin(turn) + y * np.cos(turn)]
    )


def stored(shapes: Outlines) -> NDArray[np.object_]:
    """The polygons as a reader gets them."""
    polygons: NDArray[np.object_] = shapely.from_wkb(wkb_polygons(shapes.placed()).to_pylist())
    return polygons


@st.composite
def any_rings(draw: st.DrawFn) -> list[NDArray[np.float64]]:
    """Bumpy ovals, tangles that cross themselves, and rings with hardly any area."""
    seed = draw(st.integers(0, 2**32 - 1))
    kinds = draw(st.lists(st.sampled_from("otl"), min_size=1, max_size=12))
    rng = np.random.default_rng(seed)
    rings = []
    for kind in kinds:
        n = int(rng.integers(3, 30))
        if kind == "o":
            ring = oval(*rng.uniform(3, 30, 2), rng.uniform(0, 3), n)
            ring = 900 + (ring - 900) * rng.normal(1, 0.2, (n, 1))
        elif kind == "t":
            ring = rng.integers(0, 8, (n, 2)).astype(np.float64)
        else:
            ring = np.repeat(rng.uniform(0, 1, (n, 1)), 2, axis=1) * rng.uniform(0, 3)
        rings.append(ring[:: int(rng.choice((-1, 1)))])
    return rings


@settings(max_examples=60, deadline=None)
@given(any_rings())
def test_whatever_comes_is_stored_as_one_valid_polygon_each(
    rings: list[NDArray[np.float64]],
) -> None:
    polygons = stored(outlines(outlined(rings), FRAME))
    assert len(polygons) == len(rings)
    assert shapely.is_valid(polygons).all()
    assert (shapely.area(polygons) > 0).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    assert (shapely.get_num_interior_rings(polygons) == 0).all()
    for polygon in polygons:
        points = shapely.get_coordinates(polygon)
        assert np.array_equal(points / GRID_UM, np.rint(points / GRID_UM))
        assert tuple(points[0, ::-1]) == min(map(tuple, points[:, ::-1]))
        assert len(np.unique(points, axis=0)) == len(points) - 1


@settings(max_examples=40, deadline=None)
@given(any_rings())
def test_measures_are_those_of_the_stored_polygon(rings: list[NDArray[np.float64]]) -> None:
    shapes = outlines(outlined(rings), FRAME)
    polygons, measured = stored(shapes), measure(shapes)
    assert np.array_equal(measured.area_um2, shapely.area(polygons))
    assert np.allclose(measured.perimeter_um, shapely.length(polygons), rtol=1e-12)
    hulls = shapely.area(shapely.convex_hull(polygons))
    assert np.allclose(measured.solidity, measured.area_um2 / hulls, rtol=1e-12)
    assert (measured.major_um >= measured.minor_um).all()
    assert ((measured.eccentricity >= 0) & (measured.eccentricity <= 1)).all()
    half_turn = np.pi / 2
    assert (measured.orientation_rad > -half_turn).all()
    assert (measured.orientation_rad <= half_turn).all()
    xmin, ymin, xmax, ymax = bounds_um(shapes.placed())
    assert np.array_equal(np.column_stack([xmin, ymin, xmax, ymax]), shapely.bounds(polygons))


@settings(max_examples=25, deadline=None)
@given(any_rings(), st.randoms(use_true_random=False))
def test_a_nucleus_is_stored_the_same_in_whatever_company(
    rings: list[NDArray[np.float64]], random: object
) -> None:
    nuclei = outlined(rings)
    order = np.random.default_rng(len(rings)).permutation(len(rings))
    together, shuffled = outlines(nuclei, FRAME), outlines(nuclei.take(order), FRAME)
    assert (
        np.array(wkb_polygons(together.placed()).to_pylist(), object)[order].tolist()
        == wkb_polygons(shuffled.placed()).to_pylist()
    )
    one, other = measure(together), measure(shuffled)
    for field in fields(one):
        assert np.array_equal(getattr(one, field.name)[order], getattr(other, field.name))


@pytest.mark.parametrize(("a", "b", "turn"), [(60, 20, 0.5), (45, 44, -1.2), (80, 10, np.pi / 2)])
def test_an_ellipse_has_its_own_axes(a: float, b: float, turn: float) -> None:
    measured = measure(
        outlines(outlined([oval(a, b, turn)]), Frame.covering((4000,) * 2, (0.25,) * 2, (1.0,) * 2))
    )
    assert measured.major_um[0] == pytest.approx(2 * a * 0.25, rel=0.01)
    assert measured.minor_um[0] == pytest.approx(2 * b * 0.25, rel=0.01)
    assert measured.area_um2[0] == pytest.approx(np.pi * a * b / 16, rel=0.01)
    assert measured.eccentricity[0] == pytest.approx(np.sqrt(1 - (b / a) ** 2), abs=0.02)
    if a > 1.5 * b:
        apart = (measured.orientation_rad[0] - turn + np.pi / 2) % np.pi - np.pi / 2
        assert abs(apart) < 0.01


def test_of_an_outline_that_crosses_itself_the_largest_part_stays() -> None:
    bow = np.array([[0, 0], [40, 40], [40, 0], [0, 40], [-30, 20]], np.float64)
    shapes = outlines(outlined([bow]), UNIT)
    left, right = 40 * 20 / 2 + 30 * 40 / 2, 40 * 20 / 2
    assert shapes.repaired == 1
    assert measure(shapes).area_um2[0] == max(left, right) * GRID_UM**2


def test_an_outline_that_touches_itself_is_cut_there() -> None:
    ring = np.array(
        [[0, 0], [20, 0], [20, 20], [10, 20], [10, 24], [0, 24], [0, 20], [10, 20], [0, 10]]
    )
    shapes = outlines(outlined([ring.astype(np.float64)]), UNIT)
    assert shapes.repaired == 1
    assert shapely.is_valid(stored(shapes)).all()


def test_a_nucleus_smaller_than_the_grid_is_kept_and_counted() -> None:
    dot = np.array([[100.0, 50.0], [100.01, 50.0], [100.01, 50.01]])
    line = np.array([[0.0, 0.0], [90.0, 0.0], [30.0, 0.0]])
    shapes = outlines(outlined([dot, line, np.array([[7.0, 7.0]])]), UNIT)
    assert shapes.collapsed == 3
    squares = stored(shapes)
    assert shapely.is_valid(squares).all()
    assert (shapely.area(squares) == (2 * GRID_UM) ** 2).all()
    assert shapely.get_coordinates(shapely.centroid(squares[0])).tolist() == [
        [100 * GRID_UM, 50 * GRID_UM]
    ]


def test_no_vertex_stands_on_the_line_of_its_neighbours() -> None:
    # A square with a spike, whose removal brings two more vertices in line.
    ring = np.array([[0, 0], [5, 0], [5, -9], [5, 0], [9, 0], [9, 9], [4, 9], [0, 9]], np.float64)
    polygon = stored(outlines(outlined([ring]), UNIT))[0]
    assert len(shapely.get_coordinates(polygon)) == 5


def test_wkb_is_what_other_libraries_write() -> None:
    rings = outlines(outlined([oval(9, 5, 0.3, 20), oval(4, 4, 0, 7)]), FRAME).placed()
    theirs = shapely.to_wkb(
        shapely.transform(to_shapely(rings), lambda xy: xy * GRID_UM), byte_order=1
    )
    assert wkb_polygons(rings).to_pylist() == list(theirs)
    x, y = np.array([1.5, -2.25]), np.array([0.0, 1e5])
    assert wkb_points(x, y).to_pylist() == list(shapely.to_wkb(shapely.points(x, y), byte_order=1))


@settings(max_examples=50, deadline=None)
@given(any_rings(), st.data())
def test_rings_come_back_from_their_wkb_bit_for_bit(
    drawn: list[NDArray[np.float64]], data: st.DataObject
) -> None:
    rings = outlines(outlined(drawn), FRAME).placed()
    first = data.draw(st.integers(0, len(rings)))
    back = rings_of_wkb(wkb_polygons(rings).slice(first))
    expected = rings.take(np.arange(first, len(rings)))
    assert back is not None
    for one, other in ((back.x, expected.x), (back.y, expected.y), (back.start, expected.start)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "other",
    [
        shapely.to_wkb(shapely.box(0, 0, 1, 1), byte_order=0),
        shapely.to_wkb(shapely.box(0, 0, 9, 9) - shapely.box(2, 2, 3, 3), byte_order=1),
        shapely.to_wkb(shapely.Point(1, 2), byte_order=1),
        shapely.to_wkb(shapely.MultiPolygon([shapely.box(0, 0, 1, 1)]), byte_order=1),
        shapely.to_wkb(shapely.Polygon(), byte_order=1),
        b"",
    ],
    ids=["big-endian", "hole", "point", "many", "empty", "nothing"],
)
def test_wkb_of_anything_else_is_not_taken_for_rings(other: bytes) -> None:
    square = shapely.to_wkb(shapely.box(0, 0, 1, 1), byte_order=1)
    assert rings_of_wkb(pa.array([square, other], pa.binary())) is None


def test_points_have_no_shapes() -> None:
    with pytest.raises(ValueError, match="points"):
        outlines(Nuclei.none(polygons=False), FRAME)

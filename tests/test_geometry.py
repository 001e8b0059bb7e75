"""Boxes are sets of pixels, and frames lead there and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.geometry import Box, Frame
from wsiproc.testing.strategies import boxes, frames

quick = settings(max_examples=60, deadline=None)
small = boxes(-6, 6)


def cells(box: Box) -> set[tuple[int, int]]:
    return set(itertools.product(range(box.x0, box.x1), range(box.y0, box.y1)))


@quick
@given(small, small)
def test_boxes_intersect_as_sets_of_pixels(a: Box, b: Box) -> None:
    assert cells(a & b) == cells(a) & cells(b)
    assert (a & b).area == len(cells(a) & cells(b))
    assert (a & b).empty == (not cells(a) & cells(b))


@quick
@given(boxes(-6, 6, least=1), boxes(-6, 6, least=1))
def test_a_box_holds_another_as_a_set(a: Box, b: Box) -> None:
    assert (b in a) == (cells(b) <= cells(a))


@quick
@given(boxes(-50, 50, least=1), st.integers(0, 9), st.integers(-9, 9), st.integers(-9, 9))
def test_growing_and_shifting_can_be_undone(box: Box, margin: int, dx: int, dy: int) -> None:
    grown = box.grown(margin)
    assert grown.grown(-margin) == box
    assert (grown.width, grown.height) == (box.width + 2 * margin, box.height + 2 * margin)
    assert box in grown
    assert box.shifted(dx, dy).shifted(-dx, -dy) == box
    assert (box.shifted(dx, dy).width, box.shifted(dx, dy).area) == (box.width, box.area)


def test_a_box_grown_inward_past_itself_is_empty() -> None:
    box = Box(0, 0, 4, 4).grown(-3)
    assert box.empty
    assert (box.width, box.height, box.area) == (0, 0, 0)


@quick
@given(boxes(-9, 9, least=1), st.data())
def test_slices_cut_the_inner_box_out_of_the_outer(outer: Box, data: st.DataObject) -> None:
    x0 = data.draw(st.integers(outer.x0, outer.x1 - 1))
    y0 = data.draw(st.integers(outer.y0, outer.y1 - 1))
    x1 = data.draw(st.integers(x0, outer.x1))
    inner = Box(x0, y0, x1, data.draw(st.integers(y0, outer.y1)))
    y, x = np.mgrid[outer.y0 : outer.y1, outer.x0 : outer.x1]
    rows, columns = inner.slices_in(outer)
    found = zip(x[rows, columns].ravel().tolist(), y[rows, columns].ravel().tolist(), strict=True)
    assert set(found) == cells(inner)


@quick
@given(small)
def test_holds_agrees_with_the_set(box: Box) -> None:
    y, x = np.mgrid[-8:8, -8:8]
    inside = box.holds(x, y)
    assert set(zip(x[inside].tolist(), y[inside].tolist(), strict=True)) == cells(box)


def test_a_box_of_a_size_starts_at_its_corner() -> None:
    assert Box.of_size(3, -2, 5, 4).as_tuple() == (3, -2, 8, 2)


@quick
@given(frames(), st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_frames_lead_there_and_back(frame: Frame, x: float, y: float) -> None:
    xy = np.array([[x, y]])
    level0 = frame.model_to_level0(xy)
    assert frame.level0_to_model(level0) == pytest.approx(xy, abs=1e-6)
    assert frame.um_to_level0(frame.model_to_um(xy)) == pytest.approx(level0, abs=1e-6)


@quick
@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from([1.0, 2.0, 4.0, 1.9993, 3.0000001]) | st.floats(0.5, 8.0),
)
def test_model_pixels_cover_the_slide_and_no_more(width: int, height: int, scale: float) -> None:
    frame = Frame.covering((width, height), (0.25, 0.25), (scale, scale))
    for length, covered in ((width, frame.width), (height, frame.height)):
        assert covered * scale >= length - 1e-6
        assert (covered - 1) * scale < length
    assert frame.box == Box(0, 0, frame.width, frame.height)


def test_a_frame_measures_in_micrometres() -> None:
    frame = Frame.covering((1000, 501), (0.25, 0.26), (2.0, 2.0))
    assert (frame.width, frame.height) == (500, 251)
    assert frame.um_per_px == (0.5, 0.52)
    assert frame.model_to_um(np.array([[10.5, 2.0]])).tolist() == [[5.25, 1.04]]

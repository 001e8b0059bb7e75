"""Boxes put together from pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.errors import SlideReadError
from wsiproc.geometry import Box
from wsiproc.slide.facts import Header, levels_of, settle
from wsiproc.slide.mosaic import Mosaic

SIZE = (50, 41)


class Drawn:
    """Pieces of 16 x 9 that say where they lie; the last ones reach past the level."""

    header = Header("image", "drawn", levels_of([SIZE]), (0.5, 0.5), background=(1, 2, 3))
    piece = ((16, 9),)

    def __init__(self, missing=(), failing=()):
        self.missing, self.failing, self.loaded, self.closed = missing, list(failing), [], 0

    def load(self, level, column, row):
        self.loaded.append((column, row))
        if (column, row) in self.failing:
            self.failing.remove((column, row))
            raise SlideReadError("broken")
        if (column, row) in self.missing:
            return None
        y, x = np.mgrid[row * 9 : row * 9 + 9, column * 16 : column * 16 + 16]
        return np.stack([x, y, x + y], -1).astype(np.uint8)

    def close(self):
        self.closed += 1


def slide_of(source, **more):
    return Mosaic(source, settle(source.header, None), **more)


def expected(box):
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    pixels = np.stack([x, y, x + y], -1).astype(np.uint8)
    outside = (x < 0) | (y < 0) | (x >= SIZE[0]) | (y >= SIZE[1])
    pixels[outside] = (1, 2, 3)
    return pixels


boxes = st.builds(
    Box.of_size, st.integers(-70, 70), st.integers(-70, 70), st.integers(0, 90), st.integers(0, 90)
)


@settings(max_examples=80, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=5), st.sampled_from([0, 1000, 1 << 20]))
def test_any_box_shows_what_lies_there_and_background_around(wanted, cache_bytes):
    slide = slide_of(Drawn(), cache_bytes=cache_bytes)
    for box in wanted:
        assert np.array_equal(slide.read(0, box), expected(box))


def test_a_missing_piece_is_background():
    pixels = slide_of(Drawn(missing=[(1, 1)])).read(0, Box(0, 0, *SIZE))
    assert (pixels[9:18, 16:32] == (1, 2, 3)).all()
    assert np.array_equal(pixels[:9], expected(Box(0, 0, 50, 9)))


def test_a_piece_that_is_kept_is_not_decoded_again():
    source = Drawn()
    slide = slide_of(source)
    for _ in range(3):
        slide.read(0, Box(10, 5, 20, 12))
    assert sorted(source.loaded) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_what_is_kept_is_bounded_and_the_oldest_goes_first():
    source = Drawn()
    slide = slide_of(source, cache_bytes=2 * (16 * 9 * 3 + 256))
    for column in (0, 1, 0, 2, 0, 1):
        slide.read(0, Box.of_size(column * 16, 0, 1, 1))
    assert source.loaded == [(0, 0), (1, 0), (2, 0), (1, 0)]


def test_an_error_names_the_piece_and_is_not_kept():
    source = Drawn(failing=[(1, 1)])
    slide = slide_of(source)
    with pytest.raises(SlideReadError, match=r"broken \(level 0, box \(16, 9, 32, 18\)\)"):
        slide.read(0, Box(0, 0, *SIZE))
    assert np.array_equal(slide.read(0, Box(0, 0, *SIZE)), expected(Box(0, 0, *SIZE)))


def test_the_source_is_closed_once():
    source = Drawn()
    with slide_of(source) as slide:
        slide.close()
    assert source.closed == 1

"""What every slide keeps, as a suite to subclass::

class TestMyReader(SlideContract):
    @pytest.fixture
    def reopen(self, tmp_path):
        write_a_slide(tmp_path / "a.xyz")
        return lambda: open_slide(tmp_path / "a.xyz")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wsiproc.errors import SlideReadError
from wsiproc.geometry import Box
from wsiproc.slide import Slide, describe

Reopen = Callable[[], Slide]
SEED = 20260607


class SlideContract:
    """Promises of `Slide.read` and `SlideFacts`.  The slide should have texture and a few tiles."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        """Opens the same slide anew each time it is called."""
        raise NotImplementedError("a subclass says which slide")

    def test_levels_become_smaller_from_the_full_one(self, reopen: Reopen) -> None:
        with reopen() as slide:
            facts = slide.facts
        first = facts.levels[0]
        assert (first.width, first.height) == (facts.width, facts.height)
        assert (first.downsample_x, first.downsample_y) == (1.0, 1.0)
        for level in facts.levels:
            # A level covers the slide, give or take one of its own pixels.
            assert abs(level.width * level.downsample_x - facts.width) < level.downsample_x
            assert abs(level.height * level.downsample_y - facts.height) < level.downsample_y
        scales = [level.downsample_x for level in facts.levels]
        assert scales == sorted(set(scales))

    def test_mpp_is_that_of_a_scan(self, reopen: Reopen) -> None:
        with reopen() as slide:
            x, y = slide.facts.mpp
        assert 0.05 <= x <= 5
        assert 0.05 <= y <= 5
        assert abs(x / y - 1) <= 0.02

    def test_facts_can_be_written_down(self, reopen: Reopen) -> None:
        with reopen() as slide:
            assert json.loads(json.dumps(describe(slide.facts))) == describe(slide.facts)

    def test_pixels_are_contiguous_rgb_bytes(self, reopen: Reopen) -> None:
        with reopen() as slide:
            pixels = slide.read(0, Box(3, 5, 20, 16))
        assert pixels.shape == (11, 17, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous

    def test_a_read_is_the_crop_of_a_larger_one(self, reopen: Reopen) -> None:
        rng = np.random.default_rng(SEED)
        with reopen() as slide:
            for number, level in enumerate(slide.facts.levels):
                whole = _part(level.box.grown(9))
                pixels = slide.read(number, whole)
                for _ in range(12):
                    box = _any_box(rng, whole)
                    cut = pixels[box.slices_in(whole)]
                    assert np.array_equal(slide.read(number, box), cut), (number, box)

    def test_what_was_read_before_makes_no_difference(self, reopen: Reopen) -> None:
        rng = np.random.default_rng(SEED + 1)
        with reopen() as slide:
            last = len(slide.facts.levels) - 1
            whole = _part(slide.facts.levels[last].box)
            pixels = slide.read(last, whole)
        for _ in range(3):
            box = _any_box(rng, whole)
            with reopen() as slide:
                assert np.array_equal(slide.read(last, box), pixels[box.slices_in(whole)])

    def test_outside_is_the_background(self, reopen: Reopen) -> None:
        with reopen() as slide:
            for number, level in enumerate(slide.facts.levels):
                for x, y in ((-40, 0), (level.width, 0), (0, -40), (0, level.height)):
                    pixels = slide.read(number, Box.of_size(x, y, 40, 40))
                    assert (pixels == slide.facts.background).all()

    def test_threads_read_the_same(self, reopen: Reopen) -> None:
        rng = np.random.default_rng(SEED + 2)
        with reopen() as slide:
            whole = _part(slide.facts.levels[0].box)
            boxes = [_any_box(rng, whole) for _ in range(16)]
            pixels = slide.read(0, whole)
        with reopen() as slide, ThreadPoolExecutor(4) as pool:
            for box, read in zip(boxes, pool.map(lambda b: slide.read(0, b), boxes), strict=True):
                assert np.array_equal(read, pixels[box.slices_in(whole)])

    def test_a_level_that_is_not_there_is_an_error(self, reopen: Reopen) -> None:
        with reopen() as slide:
            for level in (-1, len(slide.facts.levels)):
                with pytest.raises(SlideReadError, match="no level"):
                    slide.read(level, Box(0, 0, 8, 8))

    def test_a_closed_slide_says_so(self, reopen: Reopen) -> None:
        slide = reopen()
        slide.close()
        slide.close()
        with pytest.raises(SlideReadError, match="closed"):
            slide.read(0, Box(0, 0, 8, 8))


def _part(box: Box) -> Box:
    """At most 1500 px of a box each way, so that the suite is quick on any slide."""
    return box & Box.of_size(box.x0, box.y0, 1500, 1500)


def _any_box(rng: np.random.Generator, inside: Box) -> Box:
    x0, x1 = sorted(int(v) for v in rng.integers(inside.x0, inside.x1 + 1, 2))
    y0, y1 = sorted(int(v) for v in rng.integers(inside.y0, inside.y1 + 1, 2))
    return Box(x0, y0, x1, y1)

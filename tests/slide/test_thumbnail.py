"""The whole slide as one small picture."""

from __future__ import annotations

import numpy as np
import pytest

from wsiproc.errors import ConfigError
from wsiproc.slide import open_slide, thumbnail
from wsiproc.slide.mosaic import Mosaic


@pytest.fixture
def path(tmp_path, picture, write_pyramid):
    return write_pyramid(tmp_path / "a.tif", picture(1200, 1040), compression="deflate", mpp=0.5)


def test_a_pixel_is_the_average_of_what_it_covers(path, picture):
    with open_slide(path) as slide:
        small = thumbnail(slide, 4.0)
    blocks = picture(1200, 1040).reshape(130, 8, 150, 8, 3).astype(np.float64)
    assert small.pixels.shape == (130, 150, 3)
    assert (small.scale_x, small.scale_y) == (8.0, 8.0)
    assert np.abs(small.pixels - blocks.mean((1, 3))).max() <= 0.75


def test_a_pixel_that_covers_parts_of_others_weighs_them_by_the_part(path, picture):
    with open_slide(path) as slide:
        small = thumbnail(slide, 1.25)
    assert small.scale_x == 2.5
    first = picture(1200, 1040)[:3, :3].astype(np.float64)
    part = np.array([1, 1, 0.5])
    weights = part[:, None, None] * part[:, None]
    assert np.abs(small.pixels[0, 0] - (first * weights).sum((0, 1)) / 6.25).max() <= 0.75


def test_the_last_pixels_cover_the_slides_edge(path):
    with open_slide(path) as slide:
        small = thumbnail(slide, 500.0)
    assert small.pixels.shape == (2, 2, 3)
    assert small.pixels[1, 1].mean() > 250  # nearly all of it is background


def test_the_coarsest_level_with_the_detail_is_read(tmp_path, picture, write_pyramid, monkeypatch):
    path = write_pyramid(tmp_path / "a.tif", picture(1200, 1040), (4, 8), mpp=0.5)
    levels = set()
    read = Mosaic.read
    monkeypatch.setattr(
        Mosaic, "read", lambda slide, level, box: levels.add(level) or read(slide, level, box)
    )
    for um, level in ((0.5, 0), (1.9, 0), (2.0, 1), (3.9, 1), (4.0, 2), (50.0, 2)):
        with open_slide(path) as slide:
            thumbnail(slide, um)
        assert levels == {level}
        levels.clear()


def test_a_slide_coarser_than_asked_is_shown_as_it_is(path, picture):
    with open_slide(path) as slide:
        small = thumbnail(slide, 0.25)
    assert (small.scale_x, small.scale_y) == (1.0, 1.0)
    assert np.array_equal(small.pixels, picture(1200, 1040))


def test_a_picture_that_memory_may_not_hold_is_refused(path, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["wsiproc.slide.thumbnail"], "MOST_PIXELS", 1200 * 1040 - 1)
    with open_slide(path) as slide, pytest.raises(ConfigError, match="coarser"):
        thumbnail(slide, 0.5)


def test_the_real_one_is_pink(real):
    with open_slide(real("CMU-1-Small-Region.svs")) as slide:
        small = thumbnail(slide, 8.0)
    assert small.pixels.shape == (186, 139, 3)
    red, green, blue = small.pixels.reshape(-1, 3).mean(0)
    assert green < blue < red

"""Slides as OpenSlide reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.slide import open_slide
from wsiproc.slide._openslide import over, reason
from wsiproc.testing.slides import SlideContract


class TestAPyramid(SlideContract):
    """Its lower levels are no whole quarter, so OpenSlide interpolates them."""

    @pytest.fixture
    def reopen(self, tmp_path, picture, write_pyramid):
        path = write_pyramid(tmp_path / "a.tif", picture(2403, 1203), (4,), tile=(128, 128))
        return lambda: open_slide(path, backend="openslide")


class TestADicom(SlideContract):
    @pytest.fixture
    def reopen(self, real):
        return lambda: open_slide(real("camelyon-overview-jpeg.dcm"), mpp=5.0)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 4), st.tuples(*[st.integers(0, 255)] * 3))
def test_transparency_shows_the_background_rounded_to_the_nearest(rgba, background):
    mixed = over(np.full((2, 2, 4), rgba, np.uint8), background)
    a = rgba[3] / 255
    exact = np.array(rgba[:3]) * a + np.array(background) * (1 - a)
    assert (np.abs(mixed - exact) <= 0.5 + 1e-9).all()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Reading /mnt/x y/DOE.svs: bad tile 3", "Reading the file: bad tile 3"),
        ("Reading DOE.svs: bad tile 3", "Reading the file: bad tile 3"),
        ("Cannot open DOE/Index.dat", "ValueError"),
        ("Cannot open /mnt/other/place", "ValueError"),
        ("DOE is damaged", "ValueError"),
        ("bad tile 3", "bad tile 3"),
        ("", "ValueError"),
    ],
)
def test_a_librarys_words_are_kept_unless_they_may_name_the_file(text, safe):
    assert reason(ValueError(text), Path("/mnt/x y/DOE.svs")) == safe

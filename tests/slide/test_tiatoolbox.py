"""Slides that only TIAToolbox reads."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from wsiproc.geometry import Box
from wsiproc.slide import open_slide
from wsiproc.testing.slides import SlideContract

pytestmark = pytest.mark.tiatoolbox


@pytest.fixture
def jp2(tmp_path, picture):
    pytest.importorskip("tiatoolbox")
    path = tmp_path / "a.jp2"
    path.write_bytes(imagecodecs.jpeg2k_encode(picture(700, 600), level=0, codecformat="JP2"))
    return path


class TestAJp2(SlideContract):
    @pytest.fixture
    def reopen(self, jp2):
        return lambda: open_slide(jp2, mpp=0.5)


def test_a_jp2_comes_back_as_it_was_written(jp2, picture):
    with open_slide(jp2, mpp=0.5) as slide:
        assert slide.facts.backend == "tiatoolbox"
        assert np.array_equal(slide.read(0, Box(0, 0, 700, 600)), picture(700, 600))

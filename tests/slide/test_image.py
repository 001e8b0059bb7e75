"""Plain images."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsiproc.errors import SlideFormatError
from wsiproc.slide import _image, open_slide
from wsiproc.testing.slides import SlideContract


class TestAPng(SlideContract):
    @pytest.fixture
    def reopen(self, tmp_path, picture):
        path = tmp_path / "a.png"
        Image.fromarray(picture(1203, 1101)).save(path, compress_level=1)
        return lambda: open_slide(path, mpp=0.5)


def read(path):
    with open_slide(path, mpp=0.5) as slide:
        assert slide.facts.backend == "image"
        return slide.read(0, slide.facts.levels[0].box)


def test_a_png_comes_back_as_it_was_written(tmp_path, picture):
    Image.fromarray(picture(200, 100)).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), picture(200, 100))


def test_grey_becomes_rgb(tmp_path, picture):
    grey = picture(200, 100)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))


def test_transparency_becomes_white_not_black(tmp_path):
    Image.fromarray(np.zeros((10, 10, 4), np.uint8)).save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("more", [{}, {"compression": "deflate"}, {"rowsperstrip": 7}])
def test_a_tiff_without_tiles_comes_back_as_it_was_written(tmp_path, picture, more):
    tifffile.imwrite(tmp_path / "a.tif", picture(200, 100), photometric="rgb", **more)
    assert np.array_equal(read(tmp_path / "a.tif"), picture(200, 100))


def test_a_tiff_with_its_channels_apart_comes_back_as_it_was_written(tmp_path, picture):
    apart = np.moveaxis(picture(200, 100), -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", apart, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(tmp_path / "a.tif"), picture(200, 100))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_cut_short_is_refused(tmp_path, picture, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture(400, 300)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SlideFormatError, match="still being copied"):
        open_slide(path, mpp=0.5)


def test_16_bits_are_refused_and_not_cut_to_8(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64, 3), np.uint16), photometric="rgb")
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        with pytest.raises(SlideFormatError, match="8-bit"):
            open_slide(tmp_path / name, mpp=0.5)


def test_an_image_that_memory_may_not_hold_is_refused(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(_image, "MOST_PIXELS", 200 * 100)
    for size, kept in (((200, 100), True), ((201, 100), False)):
        Image.fromarray(picture(*size)).save(tmp_path / "a.png")
        tifffile.imwrite(tmp_path / "a.tif", picture(*size), photometric="rgb")
        for name in ("a.png", "a.tif"):
            if kept:
                read(tmp_path / name)
            else:
                with pytest.raises(SlideFormatError, match="tiled pyramid"):
                    open_slide(tmp_path / name, mpp=0.5)

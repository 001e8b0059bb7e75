"""Tiles decoded as they are stored."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile

from wsiproc.errors import SlideFormatError, SlideReadError
from wsiproc.geometry import Box
from wsiproc.slide import open_slide
from wsiproc.slide._tiff import check_jpeg_size, open_tiff
from wsiproc.testing.slides import SlideContract


class TestAnOmePyramid(SlideContract):
    """Its levels lie in sub-directories, where OpenSlide does not look."""

    @pytest.fixture
    def reopen(self, tmp_path, picture, write_pyramid):
        path = write_pyramid(tmp_path / "a.ome.tif", picture(900, 1010), (2, 5), ome=True)
        return lambda: open_slide(path)

    def test_it_has_its_own_levels_and_mpp(self, reopen):
        with reopen() as slide:
            assert slide.facts.vendor == "ome-tiff"
            assert slide.facts.mpp == (0.25, 0.25)
            assert [level.downsample_x for level in slide.facts.levels] == [1.0, 2.0, 5.0]


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "zstd"])
def test_lossless_pixels_come_back_as_they_were_written(
    tmp_path, picture, write_pyramid, compression
):
    pixels = picture(500, 333)
    path = write_pyramid(tmp_path / "a.tif", pixels, (4,), compression=compression, tile=(128, 64))
    with open_slide(path, backend="tiff", mpp=0.25) as slide:
        assert np.array_equal(slide.read(0, Box(0, 0, 500, 333)), pixels)
        assert np.array_equal(slide.read(1, Box(0, 0, 125, 83)), pixels[:332:4, ::4])


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
@pytest.mark.parametrize("space", ["rgb", "ycbcr"])
def test_jpeg_colours_are_openslides(tmp_path, picture, subsampling, space):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        picture(300, 280),
        tile=(128, 128),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 80, "outcolorspace": space},
        subsampling=subsampling if space == "ycbcr" else None,
    )
    box = Box(0, 0, 300, 280)
    fast, slow = (open_slide(path, backend=name, mpp=1) for name in ("tiff", "openslide"))
    with fast, slow:
        assert np.array_equal(fast.read(0, box), slow.read(0, box))


def test_tiles_that_share_their_tables_are_openslides(real):
    # Aperio keeps the JPEG tables in a tag, and RGB where JPEG would have YCbCr.
    path = real("tiny.svs")
    box = Box(0, 0, 16, 16)
    with open_slide(path, backend="tiff") as fast, open_slide(path, backend="openslide") as slow:
        assert np.array_equal(fast.read(0, box), slow.read(0, box))


def test_a_tile_without_bytes_is_background(tmp_path, picture):
    pixels = picture(384, 128)

    def tiles():
        for n in range(3):
            yield None if n == 1 else pixels[:, n * 128 : (n + 1) * 128]

    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        tiles(),
        shape=(128, 384, 3),
        dtype=np.uint8,
        tile=(128, 128),
        photometric="rgb",
        compression="deflate",
    )
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.databytecounts[1] == 0
    with open_slide(path, mpp=1) as slide:
        read = slide.read(0, Box(0, 0, 384, 128))
    assert (read[:, 128:256] == 255).all()
    assert np.array_equal(read[:, :128], pixels[:, :128])


def test_transparency_is_laid_over_the_background(tmp_path):
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:32] = (10, 20, 30, 255)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgba, tile=(64, 64), photometric="rgb", extrasamples=["unassalpha"])
    with open_slide(path, mpp=1, backend="tiff") as slide:
        read = slide.read(0, Box(0, 0, 64, 64))
    assert (read[:32] == (10, 20, 30)).all()
    assert (read[32:] == 255).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "more", "why"),
    [
        ((64, 64), np.uint8, {"photometric": "minisblack"}, "axes"),
        ((64, 64, 3), np.uint16, {"photometric": "rgb"}, "bytes"),
        ((3, 64, 64), np.uint8, {"photometric": "rgb", "planarconfig": "separate"}, "axes"),
        ((64, 64, 3), np.uint8, {"photometric": "rgb", "compression": "png"}, "compression"),
        ((2, 64, 64, 3), np.uint8, {"photometric": "rgb"}, "axes"),
    ],
)
def test_what_is_no_rgb_plane_is_refused_with_the_reason(tmp_path, shape, dtype, more, why):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, dtype), tile=(16, 16), **more)
    with pytest.raises(SlideFormatError, match=why):
        open_tiff(path)


def test_a_jpeg_larger_than_its_tile_is_not_decoded():
    bomb = imagecodecs.jpeg_encode(np.zeros((512, 512, 3), np.uint8))
    check_jpeg_size(bomb, 512, 512)
    with pytest.raises(SlideReadError, match="512 x 512"):
        check_jpeg_size(bomb, 256, 512)
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", bytes(100), bomb[:20]):
        with pytest.raises(SlideReadError):
            check_jpeg_size(data, 512, 512)

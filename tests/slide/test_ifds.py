"""TIFF directories that a file cannot hold, refused before anything is decoded."""

from __future__ import annotations

import struct

import pytest
import tifffile

from wsiproc.errors import SlideFormatError
from wsiproc.slide._ifds import check_tiff, is_tiff


def tiff(*tags, following=0):
    """A classic TIFF of one directory at 8; `tags` are (tag, value) of type LONG, count 1."""
    body = struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", following)


@pytest.fixture
def check(tmp_path):
    def of(data):
        path = tmp_path / "a.tif"
        path.write_bytes(data)
        check_tiff(path)

    return of


def test_a_modest_one_passes(check):
    check(tiff((256, 100), (257, 100)))


def test_more_pixels_than_any_slide(check):
    with pytest.raises(SlideFormatError, match="pixels"):
        check(tiff((256, 1 << 20), (257, 1 << 20)))


@pytest.mark.parametrize("edge", [0, 4097, 1 << 31])
def test_tiles_too_large_or_without_pixels(check, edge):
    with pytest.raises(SlideFormatError, match="tiles"):
        check(tiff((256, 100), (257, 100), (322, edge), (323, 256)))


def test_directories_in_a_loop(check):
    with pytest.raises(SlideFormatError, match="loop"):
        check(tiff((256, 100), following=8))


def test_a_sub_directory_in_a_loop(check):
    with pytest.raises(SlideFormatError, match="loop"):
        check(tiff((256, 100), (330, 8)))


def test_a_directory_beyond_the_end(check):
    with pytest.raises(SlideFormatError, match="shorter than it says"):
        check(tiff((256, 100), following=1 << 20))


def test_a_strip_beyond_the_end(check):
    with pytest.raises(SlideFormatError, match="shorter than it says"):
        check(tiff((256, 100), (257, 100), (273, 8), (279, 1 << 20)))


def test_a_strip_whose_end_overflows(check):
    with pytest.raises(SlideFormatError, match="shorter than it says"):
        check(tiff((256, 100), (257, 100), (273, 0xFFFFFFFF), (279, 0xFFFFFFFF)))


def test_a_tile_that_is_missing_is_not_beyond_the_end(check):
    check(tiff((256, 100), (257, 100), (324, 0), (325, 0)))


def test_a_tag_value_beyond_the_end(check):
    data = bytearray(tiff((256, 100), (270, 4096)))
    data[8 + 2 + 12 + 4 : 8 + 2 + 12 + 8] = struct.pack("<I", 1 << 20)
    with pytest.raises(SlideFormatError, match="shorter than it says"):
        check(bytes(data))


@pytest.mark.parametrize(
    ("bigtiff", "byteorder"), [(False, "<"), (False, ">"), (True, "<"), (True, ">")]
)
def test_every_way_to_write_a_tiff_is_walked_to_its_last_byte(
    tmp_path, picture, bigtiff, byteorder
):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as out:
        for n in range(3):
            out.write(picture(200, 150, n), tile=(64, 64), photometric="rgb", compression="jpeg")
    assert is_tiff(path)
    check_tiff(path)
    whole = path.read_bytes()
    for part in (0.2, 0.5, 0.8, 0.99):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(SlideFormatError, match="shorter than it says"):
            check_tiff(path)


def test_real_slides_pass(real):
    for name in ("CMU-1-Small-Region.svs", "fluorescence-dapi.ndpi", "osteosarcoma-he-40x.ome.tif"):
        check_tiff(real(name))


def test_what_is_no_tiff_is_told_by_its_first_bytes(tmp_path):
    path = tmp_path / "a"
    for data in (b"", b"II", b"II*", b"\x89PNG", b"MM*\0"):
        path.write_bytes(data)
        assert not is_tiff(path)

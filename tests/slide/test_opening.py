"""Which backend opens what, and what is said where none does."""

from __future__ import annotations

import importlib.util
import pickle

import numpy as np
import pytest
from PIL import Image

from wsiproc.errors import (
    ConfigError,
    MissingExtraError,
    SlideError,
    SlideFormatError,
    SlideReadError,
    SlideResolutionError,
)
from wsiproc.geometry import Box
from wsiproc.slide import describe, open_slide
from wsiproc.testing.slides import SlideContract

NAME = "DOE^JANE 1970"
HERE = importlib.util.find_spec("tiatoolbox") is not None


@pytest.fixture
def slide(tmp_path, picture, write_pyramid):
    return write_pyramid(tmp_path / f"{NAME}.tif", picture(1300, 1100), (4,))


class TestTheDefault(SlideContract):
    """A generic pyramid, read by whatever part reads it best."""

    @pytest.fixture
    def reopen(self, tmp_path, picture, write_pyramid):
        path = write_pyramid(tmp_path / "a.tif", picture(1301, 1103), (2, 4))
        return lambda: open_slide(path)


def test_native_tiles_are_taken_where_they_are_openslides_pixels(slide):
    with open_slide(slide) as fast, open_slide(slide, backend="openslide") as slow:
        assert fast.facts.backend == "tiff"
        assert slow.facts.backend == "openslide"
        assert {**describe(fast.facts), "backend": ""} == {**describe(slow.facts), "backend": ""}
        for level in range(2):
            box = fast.facts.levels[level].box.grown(5)
            assert np.array_equal(fast.read(level, box), slow.read(level, box))


def test_naming_the_backend_that_was_chosen_opens_the_same_slide(slide):
    with open_slide(slide) as chosen, open_slide(slide, backend=chosen.facts.backend) as named:
        assert named.facts == chosen.facts


def test_a_level_that_openslide_blurs_does_not_keep_native_tiles_away(
    tmp_path, picture, write_pyramid
):
    # 2403 / 600 and 1203 / 300 px: OpenSlide scales by 4.0075 and interpolates from there.
    path = write_pyramid(tmp_path / "a.tif", picture(2403, 1203), (4,), tile=(128, 128))
    with open_slide(path) as fast, open_slide(path, backend="openslide") as slow:
        assert fast.facts.backend == "tiff"
        assert fast.facts.levels[1].downsample_x == 4.0
        box = Box(512, 200, 600, 300)
        assert not np.array_equal(fast.read(1, box), slow.read(1, box))


def test_openslide_is_kept_where_native_tiles_are_other_pixels(tmp_path, slide, monkeypatch):
    from wsiproc.slide._tiff import TiffSource

    load = TiffSource.load
    monkeypatch.setattr(TiffSource, "load", lambda *of: load(*of) ^ 1)
    with open_slide(slide) as opened:
        assert opened.facts.backend == "openslide"


def test_the_given_mpp_wins(slide):
    with open_slide(slide, mpp=0.5) as opened:
        assert opened.facts.mpp == (0.5, 0.5)
        assert opened.facts.mpp_source == "given"


def test_a_slide_without_mpp_needs_it_given(tmp_path, picture, write_pyramid):
    path = write_pyramid(tmp_path / "a.tif", picture(300, 300), mpp=None)
    with pytest.raises(SlideResolutionError, match=r"--mpp X.*µm per level-0 pixel"):
        open_slide(path)
    with open_slide(path, mpp=0.25) as opened:
        assert opened.facts.mpp == (0.25, 0.25)


def test_a_resolution_for_printing_is_no_mpp(tmp_path, picture, write_pyramid):
    path = write_pyramid(tmp_path / "a.tif", picture(300, 300), mpp=25400 / 72)
    with pytest.raises(SlideResolutionError, match="--mpp"):
        open_slide(path)


def test_no_file_no_slide(tmp_path):
    with pytest.raises(SlideFormatError, match="no file at the path given"):
        open_slide(tmp_path / f"{NAME}.svs")


def test_an_unknown_backend_is_told_with_those_there_are(slide):
    with pytest.raises(ConfigError, match="openslide, tiff, image, tiatoolbox"):
        open_slide(slide, backend="bioformats")


@pytest.mark.parametrize("content", [b"", b"no slide at all", b"\x89PNG\r\n\x1a\n and no more"])
def test_what_nobody_reads_is_refused_with_what_was_tried(tmp_path, content):
    path = tmp_path / f"{NAME}.svs"
    path.write_bytes(content)
    with pytest.raises(SlideFormatError) as caught:
        open_slide(path)
    message = str(caught.value)
    assert "OpenSlide" in message
    assert "TIAToolbox" in message
    assert "still being copied" in message


@pytest.mark.skipif(HERE, reason="TIAToolbox is installed")
@pytest.mark.parametrize("backend", [None, "tiatoolbox"])
def test_what_only_tiatoolbox_reads_says_how_to_install_it(tmp_path, backend):
    path = tmp_path / "a.zarr"
    path.mkdir()
    with pytest.raises(MissingExtraError, match=r"wsiproc\[tiatoolbox\]"):
        open_slide(path, backend=backend)


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_slide_cut_short_is_refused_when_it_is_opened(slide, part):
    whole = slide.read_bytes()
    slide.write_bytes(whole[: max(9, int(len(whole) * part))])
    with pytest.raises(SlideFormatError, match="run again when it is complete"):
        open_slide(slide)


@pytest.mark.parametrize("backend", ["tiff", "openslide"])
def test_a_damaged_tile_is_an_error_that_names_it_and_leaves_the_rest(slide, spoil, backend):
    with open_slide(slide, backend=backend) as opened:
        good = opened.read(0, Box(0, 0, 256, 256))
    spoil(slide, 0, 13, lambda data: bytes(len(data)))  # column 1, row 2 of 6 x 5
    with open_slide(slide, backend=backend) as opened:
        with pytest.raises(SlideReadError) as caught:
            opened.read(0, Box(0, 0, 1300, 1100))
        assert caught.value.level == 0
        assert Box(256, 512, 512, 768) in Box(*caught.value.box)
        assert np.array_equal(opened.read(0, Box(0, 0, 256, 256)), good)
        with pytest.raises(SlideReadError):
            opened.read(0, Box(300, 600, 310, 610))


def test_a_slide_with_a_damaged_tile_still_opens(slide, spoil):
    for tile in range(30):
        spoil(slide, 0, tile, lambda data: bytes(len(data)))
    with open_slide(slide) as opened:
        opened.read(1, Box(0, 0, 100, 100))
        with pytest.raises(SlideReadError):
            opened.read(0, Box(0, 0, 10, 10))


def test_no_message_holds_the_name_of_the_file(slide, spoil, tmp_path):
    said = []

    def collect(doing):
        try:
            doing()
        except SlideError as error:
            said.append(str(error))
            said.append(str(pickle.loads(pickle.dumps(error))))

    whole = slide.read_bytes()
    spoil(slide, 0, 13, lambda data: bytes(len(data)))
    for backend in ("tiff", "openslide"):
        with open_slide(slide, backend=backend) as opened:
            collect(lambda: opened.read(0, Box(0, 0, 1300, 1100)))
    for data in (whole[:5000], b"II*\0" + bytes(100), b"?"):
        slide.write_bytes(data)
        for backend in (None, "openslide", "tiff", "image"):
            collect(lambda: open_slide(slide, backend=backend))  # noqa: B023
    collect(lambda: open_slide(tmp_path / f"{NAME}.ndpi"))
    assert len(said) >= 28
    assert not [text for text in said if "DOE" in text or "JANE" in text or str(tmp_path) in text]


def test_facts_tell_nothing_that_the_file_tells_of_the_patient(tmp_path, picture, write_pyramid):
    about = (
        f"Aperio Image Library v12\r\n300x300 (256x256) JPEG/RGB Q=90|MPP = 0.25|Filename = {NAME}"
    )
    path = write_pyramid(tmp_path / f"{NAME}.svs", picture(300, 300), description=about)
    with open_slide(path) as opened:
        assert opened.facts.vendor == "aperio"
        assert NAME not in repr(describe(opened.facts)) + repr(opened.facts)


def test_a_slide_is_seen_in_its_formats_own_terms(tmp_path, picture, write_pyramid):
    about = "Aperio Image Library v12\r\n1000x900 (256x256) JPEG/RGB Q=90|AppMag = 40|MPP = 0.25"
    path = write_pyramid(tmp_path / "a.svs", picture(1000, 900), (4,), mpp=None, description=about)
    with open_slide(path) as opened:
        assert opened.facts.backend == "tiff"
        assert opened.facts.mpp == (0.25, 0.25)
        assert opened.facts.objective == 40.0
        assert len(opened.facts.levels) == 2


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_plain_image_is_a_slide_to_whoever_gives_its_mpp(tmp_path, picture, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture(320, 240)).save(path)
    with pytest.raises(SlideResolutionError, match="--mpp"):
        open_slide(path)
    with open_slide(path, mpp=0.5) as opened:
        assert opened.facts.backend == "image"
        assert (opened.facts.width, opened.facts.height) == (320, 240)


def test_the_first_slide_is_read_natively_and_is_openslides(real):
    path = real("CMU-1-Small-Region.svs")
    with open_slide(path) as fast, open_slide(path, backend="openslide") as slow:
        assert fast.facts.backend == "tiff"
        assert fast.facts.mpp == (0.499, 0.499)
        assert len(fast.facts.levels) == 1  # neither label nor macro
        box = fast.facts.levels[0].box.grown(3)
        assert np.array_equal(fast.read(0, box), slow.read(0, box))


def test_an_ome_tiff_that_openslide_refuses_is_read(real):
    with open_slide(real("osteosarcoma-he-40x.ome.tif")) as opened:
        assert opened.facts.backend == "tiff"
        assert opened.facts.vendor == "ome-tiff"
        assert opened.facts.mpp == pytest.approx((0.2271, 0.2271), abs=1e-4)
        pixels = opened.read(0, opened.facts.levels[0].box)
        assert 100 < pixels.mean() < 200


def test_an_ndpi_is_openslides(real):
    with open_slide(real("fluorescence-dapi.ndpi")) as opened:
        assert opened.facts.backend == "openslide"
        assert len(opened.facts.levels) == 7


def test_an_overview_too_coarse_for_a_scan_asks_whether_it_is_one(real):
    with pytest.raises(SlideResolutionError, match=r"28\.97"):
        open_slide(real("camelyon-overview-jpeg.dcm"))
    with open_slide(real("camelyon-overview-jpeg2000.dcm"), mpp=5.0) as opened:
        assert opened.facts.vendor == "dicom"
        assert opened.read(0, Box(0, 0, 64, 64)).shape == (64, 64, 3)


def test_a_dicom_in_a_compression_nobody_reads_says_so(real):
    with pytest.raises(SlideFormatError, match="transfer syntax"):
        open_slide(real("refused-jpegls.dcm"))


def test_a_folder_of_one_dicom_series_is_a_slide_and_of_several_is_none(real, tmp_path):
    (tmp_path / "a.dcm").write_bytes(real("boxes.dcm").read_bytes())
    with open_slide(tmp_path) as opened:
        assert opened.facts.vendor == "dicom"
    (tmp_path / "b.dcm").write_bytes(real("camelyon-overview-jpeg.dcm").read_bytes())
    with pytest.raises(SlideFormatError, match="more than one DICOM series"):
        open_slide(tmp_path)


class TestTheRealOne(SlideContract):
    @pytest.fixture
    def reopen(self, real):
        return lambda: open_slide(real("CMU-1-Small-Region.svs"))


class TestARealPyramid(SlideContract):
    @pytest.fixture
    def reopen(self, real):
        return lambda: open_slide(real("fluorescence-dapi.ndpi"))

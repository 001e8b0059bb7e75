"""A slide seen at a model's mpp."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.errors import SlideResolutionError
from wsiproc.geometry import Box
from wsiproc.slide import open_slide, read_view, view_at
from wsiproc.slide import resample as resampling
from wsiproc.slide.facts import Header, levels_of, settle
from wsiproc.slide.mosaic import Mosaic
from wsiproc.slide.resample import WEIGHT, band, resample


def facts_of(mpp, sizes=((4000, 3000), (1000, 750), (250, 187))):
    return settle(Header("image", "drawn", levels_of(list(sizes)), mpp), None)


class Held:
    """An image in memory as a slide of one level."""

    def __init__(self, pixels):
        height, width = pixels.shape[:2]
        self.pixels = pixels
        self.piece = ((width, height),)
        self.header = Header("image", "held", levels_of([(width, height)]), (0.25, 0.25))

    def load(self, level, column, row):
        return self.pixels

    def close(self):
        pass


def slide_of(pixels):
    source = Held(pixels)
    return Mosaic(source, settle(source.header, None))


def triangle(pixels, ratio, box):
    """Antialiased linear interpolation in float64, straight from its definition."""
    out = pixels.astype(np.float64)
    for axis, (start, stop) in enumerate(((box.y0, box.y1), (box.x0, box.x1))):
        n = out.shape[axis]
        pad = int(4 * ratio) + 8
        centres = (np.arange(start, stop) + 0.5) * ratio
        k = np.arange(-pad, max(n, int(stop * ratio) + 1) + pad) + 0.5
        weights = np.maximum(0, 1 - np.abs(k - centres[:, None]) / max(1.0, ratio))
        weights /= weights.sum(axis=1, keepdims=True)
        widths = [(0, 0)] * 3
        widths[axis] = (pad, len(k) - n - pad)
        padded = np.pad(out, widths, constant_values=255)
        out = np.moveaxis(np.tensordot(weights, padded, (1, axis)), 0, axis)
    return out


# Which level, and how


@pytest.mark.parametrize(
    ("mpp", "level", "native"),
    [
        (0.25, 0, True),
        (0.254, 0, True),
        (0.246, 0, True),
        (0.26, 0, False),
        (0.5, 0, False),
        (0.97, 0, False),
        (0.985, 1, True),
        (1.0, 1, True),
        (2.0, 1, False),
        (4.0, 2, True),
        (16.0, 2, False),
    ],
)
def test_the_coarsest_level_with_the_detail_is_read(mpp, level, native):
    view = view_at(facts_of((0.25, 0.25)), mpp)
    assert (view.level, view.native, view.coarse) == (level, native, False)


def test_a_level_that_is_close_is_taken_as_it_is_with_its_own_mpp():
    view = view_at(facts_of((0.2525, 0.2525)), 1.0)
    assert view.native
    assert (view.ratio_x, view.ratio_y) == (1.0, 1.0)
    assert view.frame.um_per_px == (1.01, 1.01)
    assert (view.frame.width, view.frame.height) == (1000, 750)


def test_exact_resamples_what_is_close_and_not_what_is_equal():
    view = view_at(facts_of((0.2525, 0.2525)), 1.0, exact=True)
    assert not view.native
    assert view.frame.um_per_px == pytest.approx((1.0, 1.0))
    assert view_at(facts_of((0.25, 0.25)), 1.0, exact=True).native


def test_axes_that_differ_are_brought_to_the_same_mpp():
    view = view_at(facts_of((0.25, 0.254)), 0.5)
    assert view.frame.um_per_px == pytest.approx((0.5, 0.5))
    assert view.ratio_x / view.ratio_y == pytest.approx(0.254 / 0.25)


def test_up_to_twice_too_coarse_is_seen_with_a_warning_and_beyond_that_refused():
    assert view_at(facts_of((0.5, 0.5)), 0.25).coarse
    assert view_at(facts_of((0.3, 0.3)), 0.25).coarse
    with pytest.raises(SlideResolutionError, match=r"0\.51 .*0\.25") as caught:
        view_at(facts_of((0.51, 0.51)), 0.25)
    assert "--mpp" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 2.5), st.floats(0.25, 4))
def test_the_frame_covers_the_slide_and_no_pixel_more(own, times):
    facts = facts_of((own, own))
    view = view_at(facts, own * times if own * times >= own / 2 else own)
    frame = view.frame
    assert (frame.width - 1) * frame.scale_x < facts.width <= frame.width * frame.scale_x + 1e-5
    level = facts.levels[view.level]
    assert view.ratio_x * level.downsample_x == pytest.approx(frame.scale_x)


# What is read


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(st.floats(0.5, 4.2), st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0, 7.3, 31.7])),
    st.floats(0.97, 1.03),
    st.integers(0, 1000),
    st.data(),
)
def test_a_pixel_is_the_same_whatever_box_it_is_read_in(picture, ratio, squeeze, seed, data):
    pixels = picture(190, 160, 3)
    slide = slide_of(pixels)
    ratios = (ratio, ratio * squeeze)
    whole = Box(-5, -4, int(190 / ratios[0]) + 6, int(160 / ratios[1]) + 5)
    read = lambda seen: slide.read(0, seen)  # noqa: E731
    everything = resample(read, ratios, whole)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        x0, x1 = sorted(int(v) for v in rng.integers(whole.x0, whole.x1 + 1, 2))
        y0, y1 = sorted(int(v) for v in rng.integers(whole.y0, whole.y1 + 1, 2))
        box = Box(x0, y0, x1, y1)
        assert np.array_equal(resample(read, ratios, box), everything[box.slices_in(whole)])


@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.0, 1.0204, 1.5, 1.98, 2.0, 3.3, 4.0, 11.7, 40.0])
def test_it_is_antialiased_linear_interpolation(picture, ratio):
    pixels = picture(400, 330, 4)
    slide = slide_of(pixels)
    box = Box(0, 0, int(400 / ratio) + 1, int(330 / ratio) + 1)
    out = resample(lambda seen: slide.read(0, seen), (ratio, ratio), box)
    exact = triangle(pixels, ratio, box)
    assert out.shape == exact.shape
    assert np.abs(out - exact).max() <= 0.75  # half a level is rounding
    assert abs(float((out - exact).mean())) < 0.05  # ties are rounded up


def test_one_to_one_changes_nothing(picture):
    pixels = picture(150, 130)
    slide = slide_of(pixels)
    out = resample(lambda seen: slide.read(0, seen), (1.0, 1.0), Box(0, 0, 150, 130))
    assert np.array_equal(out, pixels)


@pytest.mark.parametrize("kernel", ["triangle", "area"])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.98, 2.0, 17.3, 333.3])
def test_one_colour_stays_that_colour(kernel, ratio):
    for value in (0, 1, 127, 255):
        read = lambda seen, v=value: np.full((seen.height, seen.width, 3), v, np.uint8)  # noqa: E731
        out = resample(read, (ratio, ratio), Box(5, 5, 9, 8), kernel)
        assert (out == value).all()


def test_beyond_the_slide_is_background(picture):
    with slide_of(np.zeros((100, 100, 3), np.uint8)) as slide:
        view = view_at(slide.facts, 0.5)
        pixels = read_view(slide, view, Box(-60, -60, 120, 120))
    inside = pixels[61:109, 61:109]
    assert (inside == 0).all()
    outside = pixels.copy()
    outside[58:112, 58:112] = 255
    assert (outside == 255).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 400), st.integers(-100, 100_000), st.sampled_from(["triangle", "area"]))
def test_weights_are_whole_and_sum_to_the_same(ratio, start, kernel):
    weights = band(kernel, ratio, start, start + 9).weights
    assert (weights == np.rint(weights)).all()
    assert (weights.sum(axis=1, dtype=np.float64) == WEIGHT).all()
    assert weights.min() >= 0


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 60), st.integers(0, 200_000))
def test_weights_come_from_the_global_index_alone(ratio, index):
    alone = band("triangle", ratio, index, index + 1)
    among = band("triangle", ratio, index - 3, index + 4)
    row = np.zeros(among.last - among.first)
    row[alone.first - among.first : alone.last - among.first] = alone.weights[0]
    assert np.array_equal(among.weights[3], row)


def test_memory_does_not_grow_with_what_is_read(monkeypatch):
    seen = []

    def read(box):
        seen.append(box.area)
        return np.zeros((box.height, box.width, 3), np.uint8)

    monkeypatch.setattr(resampling, "BLOCK_PIXELS", 1 << 14)
    resample(read, (40.0, 40.0), Box(0, 0, 10, 8))
    assert len(seen) > 20
    assert max(seen) <= 3 * (1 << 14)


def test_a_view_of_a_slide_is_its_level_or_made_from_it(tmp_path, picture, write_pyramid):
    pixels = picture(700, 500)
    path = write_pyramid(tmp_path / "a.tif", pixels, (4,), compression="deflate")
    with open_slide(path) as slide:
        native = view_at(slide.facts, 1.0)
        assert np.array_equal(
            read_view(slide, native, native.frame.box), pixels[:500:4, :700:4][:125]
        )
        half = view_at(slide.facts, 0.5)
        out = read_view(slide, half, half.frame.box)
        assert out.shape == (250, 350, 3)
        assert out.flags.c_contiguous
        means = pixels.reshape(250, 2, 350, 2, 3).mean(axis=(1, 3))
        assert np.abs(out - means).max() <= 0.5, "as images are prepared for training"

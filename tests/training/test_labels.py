"""Rasters say what the annotation says, and nothing where it says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiproc.training.labels import (
    IGNORE,
    between,
    centre_map,
    discs,
    foreground,
    resample_labels,
    resample_pixels,
    resample_raster,
)


def ellipse(shape: tuple[int, int], centre: tuple[float, float], a: float, b: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((x - centre[0]) / a) ** 2 + ((y - centre[1]) / b) ** 2


def test_unknown_is_not_background() -> None:
    labels = np.array([[0, 3, -1]], np.int32)
    assert foreground(labels).tolist() == [[0, 1, IGNORE]]
    assert centre_map(labels)[0, 2] == IGNORE


def test_the_centre_map_of_an_ellipse_is_one_smooth_hill() -> None:
    """Poisson's equation has the closed solution 1 - (x/a)² - (y/b)² there."""
    square = ellipse((61, 121), (60, 30), 50, 20)
    labels = (square < 1).astype(np.int32)
    height = centre_map(labels)
    inside = square < 0.9
    assert np.abs(height - (1 - square))[inside].max() < 0.08
    assert (height[labels == 0] == 0).all()
    tops = (height == ndimage.maximum_filter(height, 5)) & (labels > 0)
    assert ndimage.label(tops)[1] == 1, "a long nucleus has one top"


def test_between_touching_nuclei_the_centre_map_sinks() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:30], labels[10:30, 30:50] = 1, 2
    row = centre_map(labels)[20]
    assert row[20] > 0.95
    assert row[40] > 0.95
    assert row[29:31].max() < 0.25


def test_a_nucleus_goes_on_beyond_the_image() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, :6] = 1
    height = centre_map(labels)
    assert height[9, 0] > height[9, 3] > height[9, 5], "highest where the image cuts it"


def test_every_nucleus_reaches_one() -> None:
    rng = np.random.default_rng(0)
    labels = ndimage.label(rng.random((50, 50)) > 0.6)[0].astype(np.int32)
    height = centre_map(labels)
    tops = ndimage.maximum(height, labels, np.arange(1, labels.max() + 1))
    assert np.allclose(tops, 1)
    assert height.min() >= 0


def test_between_marks_only_where_two_nuclei_are_near() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[5:15, 5:15], labels[5:15, 16:26] = 1, 2
    labels[22:28, 30:36] = 3
    near = between(labels, 2.0)
    assert near[10, 15] == 1
    assert near[10, 8] == 0
    assert (near[20:] == 0).all()


def test_discs_lie_around_pixel_centres() -> None:
    raster = discs((9, 9), np.array([[4.5, 4.5], [30.0, 2.0]]), 2.0)
    assert raster.sum() == 13
    assert raster[4, 2] == raster[4, 6] == raster[2, 4] == 1
    assert discs((4, 4), np.empty((0, 2)), 2.0).sum() == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_resampling_keeps_flat_images_flat_and_means_near(
    size: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    value = int(rng.integers(0, 256))
    flat = np.full((size, size, 3), value, np.uint8)
    assert (resample_pixels(flat, height, width) == value).all()
    raster = rng.random((size, size, 2)).astype(np.float32)
    out = resample_raster(raster, height, width)
    assert out.shape == (height, width, 2)
    assert out.min() >= raster.min() - 1e-5
    assert out.max() <= raster.max() + 1e-5


def test_halving_averages_two_by_two() -> None:
    raster = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    assert resample_raster(raster, 2, 2)[..., 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_resampling_leaves_unknown_out_of_the_mean() -> None:
    raster = np.array([[1, IGNORE], [1, 1], [IGNORE, IGNORE], [0, IGNORE]], np.float32)[..., None]
    out = resample_raster(raster, 2, 1)[..., 0]
    assert out[0, 0] == pytest.approx(1)
    assert out[1, 0] == IGNORE


def test_resampled_labels_are_those_under_the_new_pixels_centres() -> None:
    labels = np.arange(64, dtype=np.int32).reshape(8, 8)
    assert np.array_equal(resample_labels(labels, 4, 4), labels[1::2, 1::2])
    assert np.array_equal(resample_labels(labels, 16, 16)[::2, ::2], labels)


@pytest.mark.parametrize("factor", [2, 3])
def test_labels_made_larger_and_small_again_are_the_same(factor: int) -> None:
    labels = np.random.default_rng(0).integers(-1, 60_000, (7, 11)).astype(np.int32)
    larger = resample_labels(labels, 7 * factor, 11 * factor)
    assert np.array_equal(larger, labels.repeat(factor, 0).repeat(factor, 1))
    assert np.array_equal(resample_labels(larger, 7, 11), labels)

"""Synthetic samples: every pixel known, none invented."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("torch")

from wsiproc_mcf.config import SynthesisConfig
from wsiproc_mcf.synthesis import Material, compose, gather, lay_background, paste, turned

MPP = 0.5
BLUE, PINK = (60, 40, 160), (240, 190, 210)
HARD = SynthesisConfig(soft_um=0, grow_um=0, enlarge=(1, 1))


def _scene(grid: int = 4, spacing: int = 40, radius: int = 6):
    """Pink, with blue discs on a grid."""
    size = grid * spacing
    y, x = np.mgrid[:size, :size]
    nuclei = np.zeros((size, size), np.int32)
    for i in range(grid**2):
        row, column = (i // grid + 0.5) * spacing, (i % grid + 0.5) * spacing
        nuclei[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = i + 1
    pixels = np.where(nuclei[..., None] > 0, np.uint8(BLUE), np.uint8(PINK))
    return pixels, nuclei, nuclei == 0


def _material(config: SynthesisConfig) -> Material:
    material = gather(*_scene(), config, MPP)
    assert material is not None
    return material


def test_the_mask_is_exactly_what_was_pasted() -> None:
    material = _material(HARD)
    for seed in range(5):
        pixels, mask = compose(material, np.random.default_rng(seed), 96, HARD, MPP)
        assert mask.any()
        assert np.array_equal((pixels == BLUE).all(-1), mask == 1)
        assert np.array_equal((pixels == PINK).all(-1), mask == 0)


def test_a_widened_nucleus_keeps_a_rim_of_its_own_surroundings() -> None:
    config = SynthesisConfig(soft_um=0, grow_um=1.0, enlarge=(1, 1))
    pixels, mask = compose(_material(config), np.random.default_rng(0), 96, config, MPP)
    dark = (pixels == BLUE).all(-1)
    rim = (mask == 1) & ~dark
    assert rim.any()
    assert (ndimage.distance_transform_edt(~dark)[rim] <= 2).all()


def test_nuclei_do_not_overlap() -> None:
    nucleus = _material(HARD).nuclei[0]
    rng = np.random.default_rng(1)
    canvas, mask = np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), bool)
    for _ in range(200):
        before = mask.copy(), canvas.copy()
        if paste(canvas, mask, nucleus, rng):
            assert (canvas[before[0]] == before[1][before[0]]).all()
        else:
            assert np.array_equal(mask, before[0])
            assert np.array_equal(canvas, before[1])
    assert mask.mean() > 0.3


def test_the_same_generator_draws_the_same_sample() -> None:
    material = _material(SynthesisConfig())
    one = compose(material, np.random.default_rng(3), 64, SynthesisConfig(), MPP)
    two = compose(material, np.random.default_rng(3), 64, SynthesisConfig(), MPP)
    other = compose(material, np.random.default_rng(4), 64, SynthesisConfig(), MPP)
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[1], other[1])


def test_tiles_pass_into_each_other_without_a_step() -> None:
    tiles = [np.full((16, 16, 3), value, np.uint8) for value in (100, 140)]
    laid = lay_background(tiles, np.random.default_rng(0), 64, feather=7)
    assert laid.shape == (64, 64, 3)
    assert laid.min() >= 100 - 1e-3
    assert laid.max() <= 140 + 1e-3
    steepest = max(np.abs(np.diff(laid[..., 0], axis=axis)).max() for axis in (0, 1))
    assert steepest < 40 / 4


def test_no_tile_holds_a_pixel_that_may_be_nucleus() -> None:
    pixels, nuclei, background = _scene()
    material = gather(pixels, nuclei, background, HARD, MPP)
    assert material is not None
    assert all((tile == PINK).all() for tile in material.tiles)


def test_an_image_without_nuclei_or_background_gives_no_material() -> None:
    pixels, nuclei, background = _scene()
    assert gather(pixels, np.zeros_like(nuclei), background, HARD, MPP) is None
    assert gather(pixels, nuclei, np.zeros_like(background), HARD, MPP) is None


def test_turning_keeps_pixels_and_mask_together() -> None:
    material = _material(HARD)
    rng = np.random.default_rng(0)
    for _ in range(8):
        nucleus = turned(material.nuclei[0], rng)
        assert np.array_equal((nucleus.pixels == BLUE).all(-1), nucleus.mask)


def test_nuclei_are_enlarged_by_the_sizes_between() -> None:
    plain = [n.mask.sum() for n in _material(HARD).nuclei]
    config = HARD.model_copy(update={"enlarge": (1.0, 1.6)})
    areas = [n.mask.sum() for n in _material(config).nuclei]
    ratio = np.array(areas) / np.array(plain)
    assert ratio.min() == pytest.approx(1.0)
    assert ratio.max() == pytest.approx(1.6**2, rel=0.15)

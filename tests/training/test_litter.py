"""Litter covers part of a crop, and what it covers is background."""

from __future__ import annotations

import numpy as np
import pytest

from wsiproc.training.augment import crops, make_pyramid
from wsiproc.training.litter import lay_litter
from wsiproc.training.settings import Augmentation


@pytest.mark.parametrize("seed", range(6))
def test_what_is_covered_is_background_and_the_rest_is_as_it_was(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(120, 220, (96, 96, 3), dtype=np.uint8)
    target = np.ones((96, 96, 3), np.float16)
    image, changed = lay_litter(pixels, target, np.random.default_rng(seed))
    covered = (changed == 0).all(axis=-1)
    assert 0 < covered.mean() <= 1
    assert (changed[~covered] == 1).all()
    assert (image[covered] != pixels[covered]).any(axis=-1).mean() > 0.9
    assert target.all(), "the raster that was given is another crop's too"


def test_litter_is_about_as_dark_as_the_nuclei_of_its_crop() -> None:
    def density(nucleus: int) -> float:
        pixels, target = np.full((96, 96, 3), 230, np.uint8), np.zeros((96, 96, 1), np.float16)
        pixels[30:60, 30:60], target[30:60, 30:60] = nucleus, 1
        laid = []
        for seed in range(12):
            image, _ = lay_litter(pixels, target, np.random.default_rng(seed))
            changed = (image != pixels).any(axis=-1) & (target[..., 0] == 0)
            laid.append(np.percentile(-np.log((image[changed] + 1.0) / 256).mean(axis=-1), 95))
        return float(np.median(laid))

    dark, pale = (-np.log((nucleus + 1) / 256) for nucleus in (30, 130))
    assert density(30) > 1.5 * density(130)
    assert 0.5 * dark < density(30) < 1.5 * dark
    assert 0.5 * pale < density(130) < 2 * pale


def test_the_same_seed_lays_the_same_litter() -> None:
    pixels, target = np.full((64, 64, 3), 200, np.uint8), np.ones((64, 64, 2), np.float16)
    first, second = (lay_litter(pixels, target, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_crops_are_littered_as_often_as_asked() -> None:
    image, labels = np.full((80, 80, 3), 180, np.uint8), np.ones((80, 80, 1), np.float32)
    pyramid = make_pyramid(image, labels, mpp=0.5, to_mpp=0.5, scales=(1.0,))

    def littered(share: float) -> float:
        how = Augmentation(scales=(1.0,), beyond=0, litter=share)
        rng = np.random.default_rng(0)
        _, target = crops([(1.0, [pyramid])], rng, count=60, size=64, augmentation=how)
        return float((target.min(axis=(1, 2, 3)) == 0).mean())

    assert littered(0.0) == 0
    assert 0.3 < littered(0.5) < 0.7

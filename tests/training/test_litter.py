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
    assert 0 < covered.mean() < 0.95
    assert (changed[~covered] == 1).all()
    assert (image[covered] != pixels[covered]).any(axis=-1).mean() > 0.9
    assert target.all(), "the raster that was given is another crop's too"


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

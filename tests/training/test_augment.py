"""Crops: pixels and rasters stay together, and a step's batch is its own."""

from __future__ import annotations

import numpy as np

from wsiproc.training.augment import crops, make_pyramid, restain
from wsiproc.training.settings import UNCHANGED, Augmentation


def spotted(size: int = 96):
    rng = np.random.default_rng(3)
    raster = (rng.random((size, size, 1)) > 0.7).astype(np.float32)
    pixels = np.where(raster > 0, 60, 220).astype(np.uint8).repeat(3, 2)
    return pixels, raster


def group(augmentation: Augmentation):
    pixels, raster = spotted()
    pyramid = make_pyramid(pixels, raster, mpp=0.5, to_mpp=0.5, scales=augmentation.scales)
    return [(1.0, [pyramid])]


def test_a_raster_is_turned_with_its_pixels() -> None:
    images, targets = crops(
        group(UNCHANGED), np.random.default_rng(0), count=16, size=32, augmentation=UNCHANGED
    )
    assert images.shape == (16, 32, 32, 3)
    assert targets.shape == (16, 1, 32, 32)
    assert ((images[..., 0] < 140) == (targets[:, 0] > 0.5)).all()


def test_past_the_image_there_is_white_and_nothing() -> None:
    beyond = UNCHANGED.model_copy(update={"beyond": 1.0})
    images, targets = crops(
        group(beyond), np.random.default_rng(0), count=32, size=48, augmentation=beyond
    )
    assert (targets[:, 0][images[..., 0] > 240] == 0).all()
    assert (images > 240).any()


def test_an_image_smaller_than_the_crop_is_put_into_white() -> None:
    images, _ = crops(
        group(UNCHANGED), np.random.default_rng(0), count=1, size=128, augmentation=UNCHANGED
    )
    assert (images[0, 0] > 240).all()
    assert ((images[0] < 240).all(-1)).sum() == 96 * 96


def test_the_same_generator_gives_the_same_batch() -> None:
    strong = Augmentation()
    first = crops(group(strong), np.random.default_rng(5), count=4, size=32, augmentation=strong)
    again = crops(group(strong), np.random.default_rng(5), count=4, size=32, augmentation=strong)
    other = crops(group(strong), np.random.default_rng(6), count=4, size=32, augmentation=strong)
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[0] != other[0]).any()


def test_no_change_asked_for_changes_next_to_nothing() -> None:
    pixels = np.random.default_rng(0).integers(5, 256, (16, 16, 3)).astype(np.uint8)
    # Densities below 0 (brighter than the HED vectors can mix) are all that is lost.
    same = restain(pixels, np.random.default_rng(1), UNCHANGED).astype(int)
    assert np.abs(same - pixels).max() <= 1


def test_restaining_changes_colours_and_keeps_places() -> None:
    pixels, raster = spotted()
    rng = np.random.default_rng(0)
    kept = Augmentation(blur_px=0, noise=0, jpeg=False)
    seen = [restain(pixels, rng, kept) for _ in range(8)]
    assert len({image.tobytes() for image in seen}) == 8
    for image in seen:
        dark, light = image[raster[..., 0] > 0], image[raster[..., 0] == 0]
        assert dark.mean() < light.mean()
        assert dark.std(0).max() < 1e-6


def test_half_of_the_crops_become_darker_and_none_more_than_asked() -> None:
    pixels = np.full((4, 4, 3), 160, np.uint8)
    how = UNCHANGED.model_copy(update={"stain_depth": 1.0})
    rng = np.random.default_rng(0)
    before = np.log(256 / 161)
    depth = [np.log(256 / (restain(pixels, rng, how).mean() + 1)) / before for _ in range(200)]
    darker = np.array(depth) > 1.02
    assert 0.35 < darker.mean() < 0.6
    assert 2.3 < max(depth) < np.e + 0.05


def test_groups_give_the_share_that_was_asked_of_them() -> None:
    pixels, raster = spotted()
    light = make_pyramid(pixels, raster, mpp=1, to_mpp=1, scales=(1.0,))
    dark = make_pyramid(pixels // 4, raster, mpp=1, to_mpp=1, scales=(1.0,))
    images, _ = crops(
        [(0.9, [light]), (0.1, [dark])],
        np.random.default_rng(0),
        count=200,
        size=16,
        augmentation=UNCHANGED,
    )
    share = (images.max((1, 2, 3)) > 100).mean()
    assert 0.82 < share < 0.96

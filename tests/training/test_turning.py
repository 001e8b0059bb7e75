"""Pixels, points and rasters are turned together."""

from __future__ import annotations

import numpy as np
import pytest

from wsiproc.training.settings import RIGHT_ANGLES, FieldAugmentation
from wsiproc.training.turning import crop_field

TURNED = RIGHT_ANGLES.model_copy(update={"turned": 1.0, "scales": (0.8, 1.25)})


def dotted(size: int = 120, count: int = 12):
    """A light image with dark 5 x 5 squares; their centres; and a raster that numbers them."""
    rng = np.random.default_rng(4)
    cells = rng.permutation(100)[:count]
    xy = np.stack([cells % 10, cells // 10], 1) * 12.0 + 6.5
    pixels = np.full((size, size, 3), 230, np.uint8)
    raster = np.zeros((size, size), np.int32)
    for i, (x, y) in enumerate(np.floor(xy).astype(int), 1):
        pixels[y - 2 : y + 3, x - 2 : x + 3] = 40
        raster[y - 2 : y + 3, x - 2 : x + 3] = i
    return pixels, xy, raster


def within(xy: np.ndarray, size: int, edge: float = 5.0) -> np.ndarray:
    return ((xy > edge) & (xy < size - edge)).all(1)


@pytest.mark.parametrize("augmentation", [RIGHT_ANGLES, TURNED], ids=["right angles", "any angle"])
def test_points_lie_on_what_they_are_points_of(augmentation: FieldAugmentation) -> None:
    pixels, xy, raster = dotted()
    seen = 0
    for seed in range(20):
        crop = crop_field(
            pixels,
            np.random.default_rng(seed),
            size=64,
            augmentation=augmentation,
            points=xy,
            rasters=(raster,),
        )
        assert len(crop.points) == len(xy)
        for number in np.flatnonzero(within(crop.points, 64)) + 1:
            column, row = np.floor(crop.points[number - 1]).astype(int)
            if not crop.seen[row, column]:
                continue
            seen += 1
            assert crop.rasters[0][row, column] == number
            y, x = np.nonzero(crop.rasters[0] == number)
            centre = np.array([x.mean() + 0.5, y.mean() + 0.5])
            assert np.abs(centre - crop.points[number - 1]).max() < 0.75
            assert (crop.pixels[row - 1 : row + 2, column - 1 : column + 2] < 130).all()
    assert seen > 40


def test_right_angles_move_whole_pixels() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (90, 100, 3), np.uint8)
    numbers = np.arange(90 * 100, dtype=np.int32).reshape(90, 100)
    for seed in range(8):
        crop = crop_field(
            pixels,
            np.random.default_rng(seed),
            size=41,
            augmentation=RIGHT_ANGLES,
            rasters=(numbers,),
        )
        assert crop.seen.all()
        source = pixels.reshape(-1, 3)[crop.rasters[0]]
        assert np.abs(crop.pixels.astype(int) - source).max() <= 1, "restaining may round"


def test_outside_the_image_nothing_is_seen_and_no_raster_says_anything() -> None:
    pixels, xy, raster = dotted(96, 6)
    crop = crop_field(
        pixels,
        np.random.default_rng(0),
        size=200,
        augmentation=RIGHT_ANGLES,
        points=xy,
        rasters=(raster + 1,),
    )
    assert crop.seen.sum() == 96 * 96
    assert (crop.rasters[0][~crop.seen] == 0).all()
    assert (crop.rasters[0][crop.seen] > 0).all()


def test_glass_beyond_the_image_is_seen_and_is_empty() -> None:
    pixels, xy, raster = dotted()
    beyond = RIGHT_ANGLES.model_copy(update={"beyond": 1.0})
    white = 0
    for seed in range(6):
        crop = crop_field(
            pixels,
            np.random.default_rng(seed),
            size=64,
            augmentation=beyond,
            points=xy,
            rasters=(raster,),
        )
        assert crop.seen.all()
        glass = (crop.pixels > 245).all(-1)
        assert (crop.rasters[0][glass] == 0).all()
        white += int(glass.sum())
    assert white > 1000


def test_what_litter_covers_is_no_nucleus_any_more() -> None:
    pixels, xy, raster = dotted()
    littered = RIGHT_ANGLES.model_copy(update={"litter": 1.0})
    gone = 0
    for seed in range(12):
        crop = crop_field(
            pixels,
            np.random.default_rng(seed),
            size=120,
            augmentation=littered,
            points=xy,
            rasters=(raster,),
        )
        gone += len(xy) - len(crop.points)
        for x, y in np.floor(crop.points).astype(int):
            assert crop.rasters[0][y, x] > 0
    assert gone > 0


def test_the_same_generator_gives_the_same_crop() -> None:
    pixels, xy, _ = dotted()
    first, again, other = (
        crop_field(
            pixels,
            np.random.default_rng(seed),
            size=48,
            augmentation=FieldAugmentation(),
            points=xy,
        )
        for seed in (3, 3, 4)
    )
    assert (first.pixels == again.pixels).all()
    assert (first.points == again.points).all()
    assert (first.pixels != other.pixels).any()

"""Crops that a network has not seen: where they lie, how they are turned, stained and scanned.

Everything is drawn from the generator that is passed in, so a step's batch depends on the seed
and the step alone, and a training that was killed goes on with the same batches.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsiproc.training.labels import resample_pixels, resample_raster, resampled_size
from wsiproc.training.litter import lay_litter
from wsiproc.training.settings import Augmentation

# Optical densities of haematoxylin, eosin and what is left (Ruifrok and Johnston 2001, table 1),
# one a row, of length 1.
HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED = HED / np.linalg.norm(HED, axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """One training image at all scales.

    Parameters
    ----------
    pixels
        A scale each: ``[h, w, 3]`` uint8.
    targets
        A scale each: ``[h, w, c]`` float16 rasters, `IGNORE` where unknown.
    """

    pixels: tuple[NDArray[np.uint8], ...]
    targets: tuple[NDArray[np.float16], ...]

    @property
    def area(self) -> int:
        """Pixels of the first scale."""
        return math.prod(self.pixels[0].shape[:2])


def make_pyramid(
    pixels: NDArray[np.uint8],
    targets: NDArray[np.float32],
    *,
    mpp: float,
    to_mpp: float,
    scales: Sequence[float],
) -> Pyramid:
    """An image of `mpp` and its rasters, at `to_mpp` and every scale, each resampled once."""
    images, rasters = [], []
    for scale in scales:
        height, width = (resampled_size(n, mpp * scale, to_mpp) for n in pixels.shape[:2])
        images.append(resample_pixels(pixels, height, width))
        rasters.append(resample_raster(targets, height, width).astype(np.float16))
    return Pyramid(tuple(images), tuple(rasters))


def crops(
    groups: Sequence[tuple[float, Sequence[Pyramid]]],
    rng: np.random.Generator,
    *,
    count: int,
    size: int,
    augmentation: Augmentation,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A batch: ``[count, size, size, 3]`` uint8 and ``[count, c, size, size]`` float32.

    `groups` are data sets with the share of the crops that each is to give; within a group an
    image is as likely as it is large.
    """
    images, targets = [], []
    share = np.array([share for share, _ in groups], np.float64)
    for _ in range(count):
        group = groups[rng.choice(len(groups), p=share / share.sum())][1]
        weight = np.array([pyramid.area for pyramid in group], np.float64)
        pyramid = group[rng.choice(len(group), p=weight / weight.sum())]
        scale = rng.integers(len(pyramid.pixels))
        image, raster = pyramid.pixels[scale], pyramid.targets[scale]
        pixels, target = _crop(image, raster, rng, size, augmentation)
        if augmentation.litter and rng.random() < augmentation.litter:
            pixels, target = lay_litter(pixels, target, rng)
        turns, flip = int(rng.integers(4)), rng.integers(2)
        pixels, target = np.rot90(pixels, turns), np.rot90(target, turns)
        if flip:
            pixels, target = pixels[:, ::-1], target[:, ::-1]
        images.append(restain(pixels, rng, augmentation))
        targets.append(target.transpose(2, 0, 1))
    return np.stack(images), np.stack(targets).astype(np.float32)


def _crop(
    pixels: NDArray[np.uint8],
    target: NDArray[np.float16],
    rng: np.random.Generator,
    size: int,
    augmentation: Augmentation,
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """`size` x `size` from anywhere; white and empty outside the image."""
    height, width = pixels.shape[:2]
    reach = size // 3 if rng.random() < augmentation.beyond else 0
    y = _origin(rng, height, size, reach)
    x = _origin(rng, width, size, reach)
    image = np.full((size, size, 3), 255, np.uint8)
    raster = np.zeros((size, size, target.shape[2]), np.float16)
    y0, y1, x0, x1 = max(y, 0), min(y + size, height), max(x, 0), min(x + size, width)
    inner = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
    image[inner] = pixels[y0:y1, x0:x1]
    raster[inner] = target[y0:y1, x0:x1]
    return image, raster


def _origin(rng: np.random.Generator, length: int, size: int, reach: int) -> int:
    low, high = -reach, length - size + reach
    return int(rng.integers(low, high + 1)) if high >= low else (length - size) // 2


def restain(
    pixels: NDArray[np.uint8], rng: np.random.Generator, augmentation: Augmentation
) -> NDArray[np.uint8]:
    """The same ``[h, w, 3]`` tissue in another staining, under another light, otherwise scanned.

    Stains are separated in optical density, changed in strength, offset and colour, and put
    together again (after Tellez et al. 2018, sec. II-D).
    """
    a = augmentation
    density = -np.log((pixels.astype(np.float32) + 1.0) / 256.0)
    stains = density @ np.linalg.inv(HED).astype(np.float32)
    gain = 1 + rng.uniform(-a.stain_gain, a.stain_gain, 3)
    if a.stain_depth and rng.random() < 0.5:
        gain = gain * math.exp(rng.uniform(0, a.stain_depth))
    shift = rng.uniform(-a.stain_shift, a.stain_shift, 3)
    turned = HED + rng.uniform(-a.stain_turn, a.stain_turn, HED.shape)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    stained = (stains * gain.astype(np.float32) + shift.astype(np.float32)) @ turned.astype(
        np.float32
    )
    image = 256.0 * np.exp(-np.maximum(stained, 0.0)) - 1.0
    contrast, bright = 1 + rng.uniform(-a.light, a.light), 1 + rng.uniform(-a.light, a.light)
    image = ((image - 200.0) * contrast + 200.0) * bright
    if a.blur_px and rng.random() < 1 / 3:
        sigma = rng.uniform(0, a.blur_px)
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    if a.noise and rng.random() < 1 / 3:
        image = image + rng.normal(0, rng.uniform(0, a.noise), image.shape)
    out: NDArray[np.uint8] = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    if a.jpeg and rng.random() < 1 / 3:
        out = _compressed(out, int(rng.integers(40, 96)))
    return out


def _compressed(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as picture:
        return np.array(picture, np.uint8)

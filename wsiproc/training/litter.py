"""What is stained like nuclei and is none: keratin, loose or in layers, and ink.

Annotated sets hold little of either, and a network that never saw them outlines both.  They are
drawn over part of a crop, and what they cover is background.  They are as dark as the nuclei of
their crop: darkness must not tell them apart, or dark nuclei go with them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

NUCLEAR = 0.5 * np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])
RESIDUAL = np.array([0.27, 0.57, 0.78])
"""Optical densities (Ruifrok and Johnston 2001, table 1)."""
INKS = np.array([[1.0, 0.35, 0.45], [0.9, 0.3, 0.8]])
"""Optical densities of teal and green ink.  Blue and black grains would be nuclei."""

_FINER = 2
"""Shapes are drawn this much larger and averaged down, so that their edges are soft."""


def lay_litter(
    pixels: NDArray[np.uint8], target: NDArray[np.float16], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Keratin, loose on glass or in layers, or ink, over part of a square crop.

    Parameters
    ----------
    pixels
        ``[n, n, 3]`` uint8.
    target
        ``[n, n, c]`` rasters; 0 afterwards wherever something was laid.
    """
    return _KINDS[rng.choice(3, p=(0.45, 0.25, 0.3))](pixels, target, rng)


def _nuclear(pixels: NDArray[np.uint8], target: NDArray[np.float16]) -> NDArray[np.float64]:
    """Mean optical density of the crop's nuclei, or what is usual where it has none."""
    inside = pixels[target[..., 0] > 0.5]
    if len(inside) < 50:
        return NUCLEAR
    density: NDArray[np.float64] = -np.log((inside.astype(np.float64) + 1) / 256).mean(axis=0)
    return density


def _flakes(
    pixels: NDArray[np.uint8], target: NDArray[np.float16], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Glass, crossed by strands that lie much the same way, over a part or all of the crop.

    What tells a strand from a narrow nucleus is the glass around it and its length, so strands are
    drawn nowhere else, and longer than nuclei.
    """
    size = len(pixels)
    patch = np.ones((size, size)) if rng.random() < 0.5 else _patch(size, rng)
    image = pixels * (1 - patch[..., None]) + rng.uniform(235, 252) * patch[..., None]
    lying = rng.uniform(0, math.pi)
    nuclear = _nuclear(pixels, target)
    eosin, residual = (stain * np.linalg.norm(nuclear) for stain in (EOSIN, RESIDUAL))
    density = np.zeros((size, size, 3))
    for _ in range(rng.integers(6, 30)):
        width = min(size / 6, rng.lognormal(0.8, 0.7))
        strand = _strand(size, rng, lying + rng.normal(0, 0.35), width)
        colour = rng.uniform(0.2, 1.2) * nuclear + rng.uniform(0, 0.6) * eosin
        colour = colour + rng.uniform(0, 0.3) * residual
        density = np.maximum(density, strand[..., None] * colour)
    # Strands are streaked along, as sheets seen from the side are.
    grain = ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), 1.5)
    density = density * np.clip(1 + 2.0 * grain, 0.5, 1.6)[..., None]
    return _laid((image + 1) * np.exp(-density * patch[..., None]) - 1, target, patch > 0.5)


def _layers(
    pixels: NDArray[np.uint8], target: NDArray[np.float16], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """A dark mass of packed sheets: wavy bands of purple and red, with clefts between some."""
    size = len(pixels)
    patch = _patch(size, rng)[..., None]
    y, x = np.mgrid[:size, :size] - size / 2
    lying = rng.uniform(0, math.pi)
    along, across = (
        x * math.cos(lying) + y * math.sin(lying),
        y * math.cos(lying) - x * math.sin(lying),
    )
    waves = ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), size / 10)
    across = across + rng.uniform(0, 0.15) * size * waves / waves.std()
    nuclear = _nuclear(pixels, target)
    eosin, residual = (stain * np.linalg.norm(nuclear) for stain in (EOSIN, RESIDUAL))
    density = rng.uniform(0.2, 0.8) * nuclear + rng.uniform(0.2, 0.6) * eosin
    density = density + rng.uniform(0.0, 0.4) * residual
    density = np.broadcast_to(density, (size, size, 3)).copy()
    for _ in range(rng.integers(3, 7)):
        pitch, long = rng.uniform(3, 14), rng.uniform(40, 200)
        phase = rng.uniform(0, 2 * math.pi, 2)
        band = np.sin(2 * math.pi * across / pitch + phase[0])
        band = band * (0.6 + 0.4 * np.sin(2 * math.pi * along / long + phase[1]))
        density += rng.uniform(0.05, 0.3) * np.clip(band, -0.5, 1)[..., None] * nuclear
    cleft = np.sin(2 * math.pi * across / rng.uniform(15, 40)) > rng.uniform(0.85, 1.5)
    density = density * (1 - ndimage.gaussian_filter(cleft.astype(np.float64), 0.7))[..., None]
    laid = 250.0 * np.exp(-np.maximum(density, 0.02))
    return _laid(pixels * (1 - patch) + laid * patch, target, patch[..., 0] > 0.5)


def _ink(
    pixels: NDArray[np.uint8], target: NDArray[np.float16], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Grains of dye, dense here and thin there."""
    size = len(pixels)
    cloud = ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), rng.uniform(1.0, 3.0))
    cloud = cloud / cloud.std() + 2.2 * (_patch(size, rng) - 0.75)
    strength = np.clip(cloud, 0, 1) * rng.uniform(0.5, 1.8)
    colour = INKS[rng.integers(len(INKS))] * rng.uniform(0.8, 1.2, 3)
    image = (pixels.astype(np.float64) + 1) * np.exp(-strength[..., None] * colour) - 1
    return _laid(image, target, strength > 0.35)


def _laid(
    image: NDArray[np.float64], target: NDArray[np.float16], covered: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    changed = target.copy()
    changed[covered] = 0
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), changed


def _patch(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth-edged region, 0 to 1, that covers about a quarter to three quarters."""
    wave = ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), size / 8)
    wave = wave / wave.std()
    y, x = np.mgrid[:size, :size] / size - rng.uniform(0.2, 0.8, (2, 1, 1))
    distance = np.hypot(x, y) - rng.uniform(0.25, 0.6)
    patch: NDArray[np.float64] = 1 / (
        1 + np.exp(np.clip((distance - 0.06 * wave) * 1.5 * size, -50, 50))
    )
    return patch


def _strand(size: int, rng: np.random.Generator, angle: float, width: float) -> NDArray[np.float64]:
    """A curved band, 0 to 1, darker at its edges as folded sheets are."""
    length = rng.uniform(0.4, 1.4) * size
    steps = 24
    turn = np.cumsum(rng.normal(0, 0.15, steps)) + angle
    xy = np.cumsum(np.column_stack([np.cos(turn), np.sin(turn)]) * length / steps, axis=0)
    xy += rng.uniform(-0.1, 0.9, 2) * size
    line = [tuple(point) for point in xy * _FINER]
    picture = Image.new("L", (size * _FINER, size * _FINER))
    pen = ImageDraw.Draw(picture)
    pen.line(line, fill=255, width=max(1, round(width * _FINER)), joint="curve")
    inner = round((width - 2.5) * _FINER)
    if inner > 1:
        pen.line(line, fill=int(rng.uniform(60, 220)), width=inner, joint="curve")
    small = picture.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, np.float64) / 255


_KINDS = (_flakes, _layers, _ink)

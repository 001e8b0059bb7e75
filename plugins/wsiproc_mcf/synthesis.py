"""Samples whose every pixel is known: confident nuclei laid on confident background (sec. 2.2).

The confidence loss says nothing about borders, where no mask is certain.  A pasted nucleus has a
border that is known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsiproc_mcf.config import SynthesisConfig

_LEAST_NUCLEI, _LEAST_TILES = 5, 4
"""Of an image that samples are made of: fewer would be the same sample again and again."""
_MOST_TILES = 400
_SIZES = 4
"""In which nuclei are enlarged, in turn."""
_TRIES = 4
"""Places tried for a nucleus before it is left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A nucleus with its surroundings.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8.
    alpha
        ``[h, w]`` float32: how much of it is laid over the background.
    mask
        ``[h, w]`` bool: what is nucleus.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What samples are made of: nuclei and background tiles ``[edge, edge, 3]`` of one image."""

    nuclei: tuple[Cutout, ...]
    tiles: tuple[NDArray[np.uint8], ...]


def gather(
    pixels: NDArray[np.uint8],
    nuclei: NDArray[np.int32],
    background: NDArray[np.bool_],
    config: SynthesisConfig,
    mpp: float,
) -> Material | None:
    """Cut an image into nuclei and pure background; None where it has too little of either.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8.
    nuclei
        ``[h, w]`` label map: confident nuclei.
    background
        ``[h, w]``: confident background.
    """
    cutouts = _cutouts(pixels, nuclei, config, mpp)
    tiles = _tiles(pixels, background, _tile_px(config, mpp))
    if len(cutouts) < _LEAST_NUCLEI or len(tiles) < _LEAST_TILES:
        return None
    return Material(tuple(cutouts), tuple(tiles))


def compose(
    material: Material, rng: np.random.Generator, size: int, config: SynthesisConfig, mpp: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A sample: ``[size, size, 3]`` uint8 and its exact mask ``[size, size]`` of 0 and 1.

    Nuclei are turned and mirrored, do not overlap, and may be cut by the sample's edge.
    """
    canvas = lay_background(material.tiles, rng, size, round(config.feather_um / mpp))
    mask = np.zeros((size, size), np.bool_)
    per_px = (mpp / 1000) ** 2
    fewest, most = (density * per_px * size**2 for density in config.nuclei_per_mm2)
    for _ in range(round(rng.uniform(fewest, most))):
        nucleus = turned(material.nuclei[int(rng.integers(len(material.nuclei)))], rng)
        for _ in range(_TRIES):
            if paste(canvas, mask, nucleus, rng):
                break
    return (canvas + 0.5).astype(np.uint8), mask.astype(np.float32)


def lay_background(
    tiles: Sequence[NDArray[np.uint8]], rng: np.random.Generator, size: int, feather: int
) -> NDArray[np.float32]:
    """``[size, size, 3]`` of tiles side by side, passing into each other over `feather` px."""
    edge = tiles[0].shape[0]
    feather = min(feather, edge // 2)
    stride = edge - feather
    ramp = np.minimum(np.arange(edge) + 1, np.arange(edge)[::-1] + 1) / (feather + 1)
    weight = np.minimum(ramp, 1).astype(np.float32)
    weight2 = (weight[:, None] * weight[None])[..., None]
    count = -(-size // stride) + 1
    total = np.zeros((count * stride + edge, count * stride + edge, 3), np.float32)
    parts = np.zeros((*total.shape[:2], 1), np.float32)
    for row in range(count):
        for column in range(count):
            tile = np.rot90(tiles[int(rng.integers(len(tiles)))], int(rng.integers(4)))
            at = np.s_[row * stride : row * stride + edge, column * stride : column * stride + edge]
            total[at] += weight2 * tile
            parts[at] += weight2
    y, x = rng.integers(0, stride, 2)
    inner = np.s_[y : y + size, x : x + size]
    return np.asarray(total[inner] / parts[inner])


def turned(nucleus: Cutout, rng: np.random.Generator) -> Cutout:
    """By right angles and mirrored, which keeps its pixels and its mask exact."""
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    step = -1 if flip else 1
    return Cutout(
        np.rot90(nucleus.pixels, turns)[:, ::step],
        np.rot90(nucleus.alpha, turns)[:, ::step],
        np.rot90(nucleus.mask, turns)[:, ::step],
    )


def paste(
    canvas: NDArray[np.float32],
    mask: NDArray[np.bool_],
    nucleus: Cutout,
    rng: np.random.Generator,
) -> bool:
    """Lay it somewhere free; whether there was room."""
    size, (height, width) = len(mask), nucleus.mask.shape
    y, x = (
        rng.integers(-height // 2, size - height // 2),
        rng.integers(-width // 2, size - width // 2),
    )
    y0, y1, x0, x1 = max(y, 0), min(y + height, size), max(x, 0), min(x + width, size)
    if y0 >= y1 or x0 >= x1:
        return False
    there = np.s_[y0:y1, x0:x1]
    part = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    if (mask[there] & (nucleus.alpha[part] > 0.05)).any():
        return False
    alpha = nucleus.alpha[part][..., None]
    canvas[there] = (1 - alpha) * canvas[there] + alpha * nucleus.pixels[part]
    mask[there] |= nucleus.mask[part]
    return True


def _cutouts(
    pixels: NDArray[np.uint8], nuclei: NDArray[np.int32], config: SynthesisConfig, mpp: float
) -> list[Cutout]:
    grow, soft = config.grow_um / mpp, config.soft_um / mpp
    around = int(np.ceil(grow + 3 * soft)) + 1
    found: list[Cutout] = []
    for number, span in enumerate(ndimage.find_objects(nuclei), 1):
        if span is None:
            continue
        rows, columns = (slice(s.start - around, s.stop + around) for s in span)
        inside = rows.start >= 0 and columns.start >= 0
        if not inside or rows.stop > nuclei.shape[0] or columns.stop > nuclei.shape[1]:
            continue
        core = nuclei[rows, columns]
        mask = ndimage.distance_transform_edt(core != number) <= grow
        if (mask & (core > 0) & (core != number)).any():
            continue
        mask = np.asarray(ndimage.binary_fill_holes(mask), np.bool_)
        part = (len(found) % _SIZES) / (_SIZES - 1)
        factor = config.enlarge[0] + part * (config.enlarge[1] - config.enlarge[0])
        found.append(_enlarged(pixels[rows, columns], mask, factor, soft))
    return found


def _enlarged(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], factor: float, soft: float
) -> Cutout:
    """A cutout `factor` times as large."""
    if factor != 1:
        height, width = (max(1, round(n * factor)) for n in mask.shape)
        image, shape = Image.fromarray(pixels), Image.fromarray(mask.astype(np.uint8) * 255)
        pixels = np.array(image.resize((width, height), Image.Resampling.BICUBIC), np.uint8)
        mask = np.asarray(shape.resize((width, height), Image.Resampling.BILINEAR)) > 127
    alpha = mask.astype(np.float32)
    return Cutout(pixels, ndimage.gaussian_filter(alpha, soft) if soft > 0 else alpha, mask)


def _tiles(
    pixels: NDArray[np.uint8], background: NDArray[np.bool_], edge: int
) -> list[NDArray[np.uint8]]:
    """Squares that are background throughout, every half square."""
    if min(background.shape) < edge:
        return []
    sums = np.pad(background.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    whole = sums[edge:, edge:] - sums[:-edge, edge:] - sums[edge:, :-edge] + sums[:-edge, :-edge]
    step = max(1, edge // 2)
    y, x = np.nonzero(whole[::step, ::step] == edge**2)
    every = 1 + len(y) // _MOST_TILES
    corners = zip(y[::every] * step, x[::every] * step, strict=True)
    return [pixels[a : a + edge, b : b + edge] for a, b in corners]


def _tile_px(config: SynthesisConfig, mpp: float) -> int:
    return max(4, round(config.tile_um / mpp))

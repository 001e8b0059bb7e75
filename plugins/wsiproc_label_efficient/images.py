"""What a segmenter learns from: images with outlines, of patches, of pairs, and its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wsiproc.datasets import Sample
from wsiproc.evaluate import box_centres
from wsiproc.training.labels import (
    IGNORE,
    foreground,
    resample_labels,
    resample_pixels,
    resample_raster,
    resampled_size,
)
from wsiproc.training.settings import FieldAugmentation
from wsiproc.training.turning import crop_field

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int32]
UNKNOWN = -1
"""Of a label map: neither nucleus nor background."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """Pixels with the nuclei that are known of them, at the segmenter's mpp.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8.
    instances
        ``[h, w]`` int32 label map, 0 = background, `UNKNOWN` where nothing is known.
    inside
        ``[h, w]`` float32: the part of each pixel that is nucleus; `IGNORE` where unknown.
    centres
        ``[n, 2]`` float64 (x, y) of the nuclei's boxes, px.
    """

    pixels: Bytes
    instances: Labels
    inside: NDArray[np.float32]
    centres: NDArray[np.float64]

    @property
    def known(self) -> int:
        """Pixels of which something is known."""
        return int((self.instances != UNKNOWN).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What a step's crops are drawn from: groups of images, with the share of each."""

    groups: tuple[tuple[float, tuple[Image, ...]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A part of an image as a network sees it, all ``[size, size]``; see `Image`."""

    pixels: Bytes
    instances: Labels
    inside: NDArray[np.float32]


def read_image(sample: Sample, mpp: float, to_mpp: float) -> Image:
    """An outlined image of `mpp` at `to_mpp`."""
    pixels, labels = sample.pixels(), sample.instances()
    height, width = (resampled_size(n, mpp, to_mpp) for n in labels.shape)
    inside = resample_raster(foreground(labels)[..., None], height, width)[..., 0]
    small = resample_labels(labels, height, width)
    return Image(resample_pixels(pixels, height, width), small, inside, box_centres(small))


def labelled(pixels: Bytes, instances: Labels) -> Image:
    """An image with labels of its own mpp."""
    nuclei = np.maximum(instances, 0)
    return Image(pixels, instances, foreground(instances), box_centres(nuclei))


def mixed(
    real: Sequence[Image],
    synthetic: Sequence[Image],
    pseudo: Sequence[Image],
    *,
    synthetic_share: float,
    pseudo_share: float,
) -> Learnt:
    """Groups with their shares: pseudo-labels first, then synthetic pairs take theirs of the rest.

    A group without images leaves its share to the others.
    """
    pseudo_part = pseudo_share if pseudo else 0.0
    synthetic_part = synthetic_share if synthetic else 0.0
    shares = (
        (1 - pseudo_part) * (1 - synthetic_part),
        (1 - pseudo_part) * synthetic_part,
        pseudo_part,
    )
    every = zip(shares, (real, synthetic, pseudo), strict=True)
    return Learnt(tuple((share, tuple(images)) for share, images in every if images and share > 0))


def draw_cuts(
    learnt: Learnt,
    rng: np.random.Generator,
    *,
    count: int,
    size: int,
    augmentation: FieldAugmentation,
) -> list[Cut]:
    """The crops of a batch; within a group an image is as likely as its known part is large.

    What lies outside of an image is unknown, or glass where `crop_field` laid some.
    """
    shares = np.array([share for share, _ in learnt.groups])
    weights = [np.array([i.known for i in images], np.float64) for _, images in learnt.groups]
    cuts = []
    for _ in range(count):
        group = rng.choice(len(shares), p=shares / shares.sum())
        images, weight = learnt.groups[group][1], weights[group]
        image = images[rng.choice(len(images), p=weight / weight.sum())]
        crop = crop_field(
            image.pixels,
            rng,
            size=size,
            augmentation=augmentation,
            points=image.centres,
            rasters=(image.instances, image.inside),
        )
        instances, inside = crop.rasters
        cuts.append(
            Cut(
                crop.pixels,
                np.where(crop.seen, instances, UNKNOWN),
                np.where(crop.seen, inside, IGNORE).astype(np.float32),
            )
        )
    return cuts


def cells(shape: tuple[int, int], edge: float) -> list[tuple[slice, slice]]:
    """Squares of about `edge` px that an image is made of, none left over."""
    cut = []
    for length in shape:
        count = max(1, math.floor(length / edge + 0.5))
        at = np.linspace(0, length, count + 1).round().astype(int).tolist()
        cut.append([slice(a, b) for a, b in pairwise(at)])
    return [(rows, columns) for rows in cut[0] for columns in cut[1]]

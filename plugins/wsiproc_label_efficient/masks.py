"""Masks that could be: the nuclei of a patch, turned and laid down anew (sec. III-B, fig. 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc_label_efficient.config import SynthesisConfig

Labels = NDArray[np.int32]
Shape = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """What masks are made of.

    Parameters
    ----------
    shapes
        Nuclei of the patch, each as small as it can be, ``[h, w]`` bool.
    per_px
        Nuclei a px of the patch; those at its edge count as much as is seen of them.
    """

    shapes: tuple[Shape, ...]
    per_px: float


def stock(labels: Labels) -> Stock:
    """Take the nuclei out of a patch; those that its edge cuts only where all are."""
    _, values = np.unique(np.where(labels > 0, labels, 0), return_inverse=True)
    numbered = values.reshape(labels.shape).astype(np.int32)
    height, width = labels.shape[0], labels.shape[1]
    whole: list[Shape] = []
    cut: list[Shape] = []
    for number, box in enumerate(ndimage.find_objects(numbered), 1):
        shape: Shape = numbered[box] == number
        rows, columns = box
        inside = rows.start and columns.start and rows.stop < height and columns.stop < width
        (whole if inside else cut).append(shape)
    shapes = whole or cut
    if not shapes:
        return Stock((), 0.0)
    mean = float(np.mean([shape.sum() for shape in shapes]))
    return Stock(tuple(shapes), float((numbered > 0).sum()) / mean / numbered.size)


def draw_mask(
    nuclei: Stock, shape: tuple[int, int], config: SynthesisConfig, rng: np.random.Generator
) -> Labels:
    """``[h, w]`` label map of nuclei that don't overlap, denser than in the patch.

    Nuclei are drawn one by one, turned by any angle, and laid where the next nucleus is further
    away than their own radius; so none covers another.  One that has no such place is not drawn
    again, and when none is left the mask is full.

    Parameters
    ----------
    shape
        Height and width, px of ``config.mpp``.
    """
    margin = round(config.margin_um / config.mpp)
    field = np.zeros((shape[0] + 2 * margin, shape[1] + 2 * margin), np.int32)
    wanted = round(nuclei.per_px * field.size * (1 + rng.uniform(*config.denser)))
    far = np.full(field.shape, math.inf)
    left = list(range(len(nuclei.shapes)))
    laid = 0
    while laid < wanted and left:
        chosen = int(rng.integers(len(left)))
        nucleus = turned(nuclei.shapes[left[chosen]], rng)
        offsets = _around_centre(nucleus)
        radius = float(np.hypot(*offsets).max())
        gap = rng.uniform(*config.gap_um) / config.mpp
        free = np.flatnonzero(far > radius + gap)
        if not len(free):
            left.pop(chosen)
            continue
        place = np.array(np.divmod(free[rng.integers(len(free))], field.shape[1]))
        rows, columns = offsets + place[:, None]
        seen = (rows >= 0) & (columns >= 0) & (rows < field.shape[0]) & (columns < field.shape[1])
        laid += 1
        field[rows[seen], columns[seen]] = laid
        far = ndimage.distance_transform_edt(field == 0)
    inner = field[margin : margin + shape[0], margin : margin + shape[1]]
    _, values = np.unique(inner, return_inverse=True)
    # Where nuclei leave no background, the smallest value is a nucleus, too.
    numbered: Labels = (values.reshape(shape) + int(inner.min() > 0)).astype(np.int32)
    return numbered


def turned(shape: Shape, rng: np.random.Generator) -> Shape:
    """A nucleus turned by any angle, and half of them mirrored."""
    mirrored = shape[:, ::-1] if rng.integers(2) else shape
    angle = float(rng.uniform(0, 360))
    padded = np.pad(mirrored, 1).astype(np.float32)
    out: Shape = ndimage.rotate(padded, angle, order=1) > 0.5
    return out if out.any() else mirrored


def _around_centre(shape: Shape) -> NDArray[np.int64]:
    """``[2, k]``: rows and columns of the pixels, from that nearest to their mean."""
    places = np.array(np.nonzero(shape))
    around: NDArray[np.int64] = places - np.round(places.mean(1)).astype(np.int64)[:, None]
    return around


def draw_masks(
    nuclei: Stock, shape: tuple[int, int], config: SynthesisConfig, seed: Sequence[int]
) -> list[Labels]:
    """``config.per_patch`` masks, each of its own draws."""
    return [
        draw_mask(nuclei, shape, config, np.random.default_rng((*seed, i)))
        for i in range(config.per_patch)
    ]

"""What is given of the outlines: all, some of each image's nuclei, or a rectangle of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc.training.fields import nested
from wsiproc.training.outlines import Outlined
from wsiproc_exemplar.config import ExemplarConfig


def given(images: Sequence[Outlined], config: ExemplarConfig, seed: int) -> tuple[Outlined, ...]:
    """The train split as far as it may be looked at."""
    if config.fraction == 1:
        return tuple(images)
    part = some_nuclei if config.keep == "nuclei" else some_area
    return tuple(
        part(image, config.fraction, (seed, number)) for number, image in enumerate(images)
    )


def some_nuclei(image: Outlined, fraction: float, seed: tuple[int, int]) -> Outlined:
    """ceil(fraction n) of its n nuclei, all else being unknown.

    Smaller fractions of the same seed are parts of larger ones.
    """
    ids = np.unique(image.labels[image.labels > 0])
    count = math.ceil(round(fraction * len(ids), 6))
    drawn = [int(i) for i in nested(list(ids), count, seed)]
    labels = np.where(np.isin(image.labels, drawn), image.labels, 0)
    return replace(image, labels=labels.astype(np.int32), complete=False)


def some_area(image: Outlined, fraction: float, seed: tuple[int, int]) -> Outlined:
    """A rectangle of its shape, of this part of its area, in a place by chance.

    Smaller fractions of the same seed lie inside larger ones.  As much is known of it as of the
    image.
    """
    place = np.random.default_rng(seed).random(2)
    spans = []
    for length, at in zip(image.labels.shape, place, strict=True):
        size = max(1, round(length * math.sqrt(fraction)))
        first = math.floor(at * (length - size) + 0.5)
        spans.append(slice(first, first + size))
    rows, columns = spans
    return replace(
        image,
        pixels=np.ascontiguousarray(image.pixels[rows, columns]),
        labels=np.ascontiguousarray(image.labels[rows, columns]),
    )


def sizes(images: Sequence[Outlined]) -> NDArray[np.float64]:
    """Widths and heights ``[n, 2]`` of the boxes of all outlines, px."""
    found = []
    for image in images:
        spans = ndimage.find_objects(np.maximum(image.labels, 0))
        found += [(c.stop - c.start, r.stop - r.start) for r, c in filter(None, spans)]
    return np.array(found, np.float64).reshape(-1, 2)

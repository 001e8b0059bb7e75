"""What each stage was taught, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsiproc_partial_points.images import Bytes, Images, Points, spread
from wsiproc_partial_points.masks import gaussian_mask

GIVEN, DETECTED = (255, 220, 0), (0, 220, 255)
"""Colours of points."""
LABELS = np.array([[0, 0, 0], [0, 190, 60], [250, 170, 0]], np.uint8)
"""Background, nucleus, unknown: the colours of the paper's figure 2."""
_SHOWN, _MOST_PX, _ENLARGED = 5, 192, 2


def background_picture(
    images: Images, probs: Sequence[NDArray[np.float32]], unknown: Sequence[Bytes], radius: float
) -> Bytes:
    """A row an image: itself with the given points, what the detector says, and the mask of eq. 3.

    Parameters
    ----------
    radius
        r1 in px.
    """
    rows = []
    for i in spread(range(len(images.fields)), _SHOWN):
        mask = gaussian_mask(images.given[i], unknown[i].shape, radius)
        shade = np.where(mask > 0, mask, 0)[..., None] * LABELS[1]
        dark = (mask >= 0) | (unknown[i] == 0)
        said = np.repeat((probs[i] * 255).astype(np.uint8)[..., None], 3, 2)
        taught = np.where(dark[..., None], shade.astype(np.uint8), LABELS[2])
        rows.append([with_points(images, i, ()), enlarged(said), enlarged(taught)])
    return laid_out(rows)


def labels_picture(
    images: Images, points: Sequence[Points], labels: Sequence[tuple[Bytes, Bytes]]
) -> Bytes:
    """A row an image: itself with given and detected points, the Voronoi and the cluster label."""
    return laid_out(
        [
            [with_points(images, i, points[i]), *(enlarged(LABELS[label]) for label in labels[i])]
            for i in spread(range(len(images.fields)), _SHOWN)
        ]
    )


def maps_picture(
    images: Images, maps: Sequence[NDArray[np.float32]], shown: Sequence[int]
) -> Bytes:
    """A row an image: itself, and each of its maps ``[c, h, w]``."""
    rows = []
    for i, each in zip(shown, maps, strict=True):
        grey = (np.repeat((part * 255).astype(np.uint8)[..., None], 3, 2) for part in each)
        rows.append([enlarged(images.fields[i].pixels), *(enlarged(part) for part in grey)])
    return laid_out(rows)


def with_points(images: Images, i: int, points: Points | tuple[()]) -> Bytes:
    """An image with its given points as discs, and those of `points` beyond them as rings."""
    picture = Image.fromarray(enlarged(images.fields[i].pixels))
    pen = ImageDraw.Draw(picture)
    given = images.given[i]
    for x, y in given[: len(given)] * _ENLARGED:
        pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=GIVEN, outline=(0, 0, 0))
    for x, y in np.reshape(points, (-1, 2))[len(given) :] * _ENLARGED:
        pen.ellipse([x - 3, y - 3, x + 3, y + 3], outline=DETECTED, width=2)
    return np.asarray(picture)


def enlarged(pixels: Bytes) -> Bytes:
    """The upper left part of an image, with large pixels."""
    part = pixels[:_MOST_PX, :_MOST_PX]
    return part.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)


def laid_out(rows: Sequence[Sequence[Bytes]]) -> Bytes:
    """Pictures in rows of their own."""
    edge, gap = _MOST_PX * _ENLARGED, 4
    out = []
    for row in rows:
        cells = []
        for cell in row:
            around = np.full((edge + gap, edge + gap, 3), 255, np.uint8)
            around[: cell.shape[0], : cell.shape[1]] = cell
            cells.append(around)
        out.append(np.concatenate(cells, 1))
    return np.concatenate(out)

"""What the network is taught, and what it says, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wsiproc.training.loop import Batch
from wsiproc.training.mask_rcnn import targets_of
from wsiproc_exemplar.centres import centre_targets
from wsiproc_exemplar.config import ExemplarConfig

Bytes = NDArray[np.uint8]
GIVEN, SAID = (255, 220, 0), (0, 220, 255)
"""Colours of outlines that are given, and that the network draws."""
CELLS = np.array([[250, 170, 0], [0, 0, 0], [0, 190, 60]], np.uint8)
"""Unknown, outlined, centre."""
_ENLARGED, _GAP = 2, 4


def targets_picture(batch: Batch, config: ExemplarConfig) -> Bytes:
    """A row a crop: itself with what is given, and what the centre head is taught of its cells."""
    targets = targets_of(torch.from_numpy(batch["labels"]), torch.from_numpy(batch["complete"]))
    stride = config.net.strides[0]
    rows = []
    for pixels, labels, target in zip(batch["image"], batch["labels"], targets, strict=True):
        cells = centre_targets(target["masks"], target["boxes"], stride, config.centre_share)
        taught = CELLS[cells.state.numpy().astype(np.int64) + 1]
        shown = taught.repeat(stride * _ENLARGED, 0).repeat(stride * _ENLARGED, 1)
        rows.append([outlined(pixels, labels, GIVEN), shown])
    return laid_out(rows)


def predictions_picture(
    images: Sequence[tuple[Bytes, NDArray[np.int32], NDArray[np.int32]]],
) -> Bytes:
    """A row an image: itself with the outlines that are given, and with those that are said.

    Parameters
    ----------
    images
        Pixels ``[h, w, 3]``, and label maps ``[h, w]`` of both.
    """
    return laid_out(
        [
            [outlined(pixels, given, GIVEN), outlined(pixels, said, SAID)]
            for pixels, given, said in images
        ]
    )


def outlined(pixels: Bytes, labels: NDArray[np.int32], color: tuple[int, int, int]) -> Bytes:
    """An image with large pixels, and the borders of its nuclei between them."""
    large = pixels.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1).copy()
    drawn = np.maximum(labels, 0).repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
    border = np.zeros(drawn.shape, bool)
    border[1:] |= drawn[1:] != drawn[:-1]
    border[:, 1:] |= drawn[:, 1:] != drawn[:, :-1]
    large[border] = color
    return large


def laid_out(rows: Sequence[Sequence[Bytes]]) -> Bytes:
    """Pictures in rows of their own, on white."""
    height = max(cell.shape[0] for row in rows for cell in row) + _GAP
    width = max(cell.shape[1] for row in rows for cell in row) + _GAP
    out = []
    for row in rows:
        cells = []
        for cell in row:
            around = np.full((height, width, 3), 255, np.uint8)
            around[: cell.shape[0], : cell.shape[1]] = cell
            cells.append(around)
        out.append(np.concatenate(cells, 1))
    return np.concatenate(out)

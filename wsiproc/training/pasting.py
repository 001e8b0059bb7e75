"""What a Mask R-CNN says of whole images, while it is trained: windows looked at, masks pasted.

Finished models are run by the engine, whose rules for neighbouring windows are finer; these are
enough to see whether a network learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc.training.mask_rcnn_windows import OUTPUTS, WindowDetector


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Nuclei of one image.

    Parameters
    ----------
    boxes
        ``[n, 4]`` float32 x0, y0, x1, y1 in px of the image, pixel (0, 0) covering [0, 1).
    scores
        ``[n]`` float32.
    labels
        ``[n]`` int64, the class, from 0.
    masks
        ``[n, 28, 28]`` float32, probability of each part of the box.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


@torch.inference_mode()
def detections(detector: WindowDetector, pixels: NDArray[np.uint8], margin: int) -> Detections:
    """All nuclei of an image of any size, white past its edges.

    Windows lie ``edge - 2 margin`` px apart; a nucleus is taken from the one in whose inner part
    the middle of its box lies.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8.
    """
    edge, step = detector.edge, detector.edge - 2 * margin
    height, width = pixels.shape[:2]
    rows, columns = (-(-size // step) for size in (height, width))
    shape = (2 * margin + rows * step, 2 * margin + columns * step, 3)
    around = np.full(shape, 255, np.uint8)
    around[margin : margin + height, margin : margin + width] = pixels
    device = next(detector.parameters()).device
    parts = []
    for y in range(0, rows * step, step):
        for x in range(0, columns * step, step):
            window = np.ascontiguousarray(around[None, y : y + edge, x : x + edge])
            said = detector(torch.from_numpy(window).to(device))
            found = of_tile(
                {name: v.cpu().numpy() for name, v in zip(OUTPUTS, said, strict=True)}, 0
            )
            middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            mine = ((middle >= margin) & (middle < margin + step)).all(1)
            shift = np.array([x - margin, y - margin] * 2, np.float32)
            parts.append(
                Detections(
                    found.boxes[mine] + shift,
                    found.scores[mine],
                    found.labels[mine],
                    found.masks[mine],
                )
            )
    return Detections(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Detections.__slots__)
    )


def of_tile(outputs: Mapping[str, NDArray[np.generic]], tile: int) -> Detections:
    """One window's rows of a graph's outputs, dummies left out."""
    mine = (outputs["tile"] == tile) & (outputs["scores"] > 0)
    return Detections(
        outputs["boxes"][mine].astype(np.float32),
        outputs["scores"][mine].astype(np.float32),
        outputs["labels"][mine].astype(np.int64),
        outputs["masks"][mine, 0].astype(np.float32),
    )


def pasted(
    found: Detections,
    shape: tuple[int, int],
    *,
    score_above: float = 0.5,
    mask_above: float = 0.5,
    least_px: float = 0.0,
    most_lost: float = 0.7,
) -> NDArray[np.int32]:
    """A label map: where nuclei overlap the higher score is on top.

    Parameters
    ----------
    shape
        Height and width of the image.
    least_px
        Smaller nuclei are left out.
    most_lost
        As are those that lose more than this share of themselves to higher scores.

    Returns
    -------
    ``[h, w]`` int32: row i of `found` is i + 1.
    """
    labels = np.zeros(shape, np.int32)
    for i in np.argsort(-found.scores, kind="stable"):
        if not found.scores[i] > score_above:
            break
        rows, columns, inside = laid(found.boxes[i], found.masks[i], shape, mask_above)
        part = labels[rows, columns]
        free = inside & (part == 0)
        area = inside.sum()
        if area and area >= least_px and free.sum() >= (1 - most_lost) * area:
            part[free] = i + 1
    return labels


def laid(
    box: NDArray[np.float32], mask: NDArray[np.float32], shape: tuple[int, int], above: float
) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Where in an image a mask exceeds `above`, between whose values it is linear.

    Returns
    -------
    The rows and columns that the box touches, and which of their pixels belong to the nucleus.
    """
    spans, places = [], []
    for axis, size in ((1, shape[0]), (0, shape[1])):
        low, high = float(box[axis]), float(box[axis + 2])
        first, last = max(0, int(np.floor(low))), min(size, int(np.ceil(high)))
        middle = np.arange(first, max(first, last)) + 0.5
        cells = mask.shape[1 - axis]
        places.append((middle - low) / max(high - low, 1e-6) * cells - 0.5)
        spans.append(slice(first, max(first, last)))
    at = np.meshgrid(*places, indexing="ij")
    values = ndimage.map_coordinates(mask, at, order=1, mode="nearest")
    return spans[0], spans[1], values > above

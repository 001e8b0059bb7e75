"""Nuclei drawn over their images, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsiproc.training.pictures import write_picture
from wsiproc_label_efficient.images import UNKNOWN, Bytes, Labels
from wsiproc_label_efficient.pictures import laid_out

OUTLINE, VEIL = np.array([255, 225, 0], np.uint8), np.array([110, 110, 255], np.uint8)
_ENLARGED, _MOST_PX = 2, 256
SHOWN = 12
"""Images in a picture."""


def outlined(pixels: Bytes, labels: Labels) -> Bytes:
    """The upper left part of an image, enlarged: nuclei in yellow lines, what is unknown veiled."""
    part = labels[:_MOST_PX, :_MOST_PX].repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
    image = pixels[:_MOST_PX, :_MOST_PX].repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
    veiled = image // 2 + VEIL // 2
    image = np.where((part == UNKNOWN)[..., None], veiled, image)
    line = np.zeros(part.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1):
            line |= part != np.roll(part, shift, axis)
    return np.where((line & (part > 0))[..., None], OUTLINE, image).astype(np.uint8)


def write_sheet(path: Path, cells: Sequence[Bytes], *, across: int) -> None:
    """Pictures in rows, as a PNG; nothing, where there are none.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    if cells:
        edge = max(max(cell.shape[:2]) for cell in cells)
        write_picture(path, laid_out(cells, edge, across))

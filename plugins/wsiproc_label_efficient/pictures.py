"""What was chosen and what was made, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsiproc_label_efficient.pairs import Pair

if TYPE_CHECKING:
    from wsiproc_label_efficient.selection import Patch

Bytes = NDArray[np.uint8]
_SHOWN_PX, _GAP, _ACROSS = 384, 6, 4
_ENLARGED = 2
_MARK = (255, 220, 0)


def chosen_picture(patches: Sequence[Patch]) -> Bytes:
    """Every image that has a patch, small, with a numbered frame around each."""
    by_image: dict[str, list[tuple[int, Patch]]] = {}
    for number, patch in enumerate(patches, 1):
        by_image.setdefault(patch.sample.id, []).append((number, patch))
    cells = []
    for members in by_image.values():
        pixels = members[0][1].sample.pixels()
        ratio = _SHOWN_PX / max(pixels.shape[:2])
        size = max(1, round(pixels.shape[1] * ratio)), max(1, round(pixels.shape[0] * ratio))
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
        pen = ImageDraw.Draw(picture)
        for number, patch in members:
            x, y, edge = (round(v * ratio) for v in (patch.x, patch.y, patch.size))
            pen.rectangle([x, y, x + edge - 1, y + edge - 1], outline=_MARK, width=3)
            pen.rectangle([x, y, x + 20, y + 16], fill=_MARK)
            pen.text((x + 4, y + 2), str(number), fill=(0, 0, 0))
        cells.append(np.asarray(picture))
    return laid_out(cells, _SHOWN_PX, _ACROSS)


def laid_out(cells: Sequence[Bytes], edge: int, across: int) -> Bytes:
    """Pictures of at most `edge` px beside and below each other, on white."""
    across = min(across, len(cells))
    rows = -(-len(cells) // across)
    step = edge + _GAP
    sheet = np.full((rows * step - _GAP, across * step - _GAP, 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        y, x = (i // across) * step, (i % across) * step
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell[:edge, :edge]
    return sheet


def pairs_picture(rows: Sequence[Sequence[Pair]]) -> Bytes:
    """A row a patch: itself, then what was made of it; outlines of the masks on the left half."""
    edge = max(max(pair.instances.shape) for row in rows for pair in row) * _ENLARGED
    across = max(len(row) for row in rows)
    blank = np.full((edge, edge, 3), 255, np.uint8)
    cells = []
    for row in rows:
        cells += [_outlined(pair) for pair in row] + [blank] * (across - len(row))
    return laid_out(cells, edge, across)


def _outlined(pair: Pair) -> Bytes:
    pixels = pair.pixels.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1).copy()
    labels = pair.instances.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
    rim = np.zeros(labels.shape, bool)
    rim[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    rim[:-1] |= labels[:-1] != labels[1:]
    rim[:, labels.shape[1] // 2 :] = False
    pixels[rim] = _MARK
    return pixels

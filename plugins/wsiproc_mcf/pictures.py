"""What a round did, to look at: its templates, and its masks laid on the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

NUCLEUS, DOUBT, CENTRE = (0, 200, 60), (250, 190, 0), (255, 0, 0)
"""Confident nuclei; what is neither nucleus nor background; detected centres."""
_ENLARGED, _IN_A_ROW, _MOST_PX = 4, 8, 320


def bank_picture(patches: Sequence[NDArray[np.generic]], begun: int) -> NDArray[np.uint8]:
    """Patches ``[s, s, 3]`` side by side, enlarged; those after the first `begun` were mined.

    The mined ones have a frame in the colour of `NUCLEUS`.
    """
    edge = max(patch.shape[0] for patch in patches) * _ENLARGED
    cells = []
    for i, patch in enumerate(patches):
        shown = Image.fromarray(np.clip(patch, 0, 255).astype(np.uint8)).resize(
            (edge, edge), Image.Resampling.NEAREST
        )
        cell = np.full((edge + 8, edge + 8, 3), NUCLEUS if i >= begun else 255, np.uint8)
        cell[4:-4, 4:-4] = np.asarray(shown)
        cells.append(cell)
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % min(_IN_A_ROW, len(cells)))
    wide = min(_IN_A_ROW, len(cells))
    rows = [np.concatenate(cells[i : i + wide], 1) for i in range(0, len(cells), wide)]
    return np.concatenate(rows)


def masks_picture(
    shown: Sequence[tuple[NDArray[np.uint8], NDArray[np.generic], NDArray[np.float64]]],
) -> NDArray[np.uint8]:
    """Images over themselves with their masks drawn in.

    Parameters
    ----------
    shown
        Image ``[h, w, 3]``, label ``[h, w]`` (1 nucleus, 0 background, else unknown) and detected
        centres ``[n, 2]`` (x, y) of each.
    """
    columns = []
    for pixels, label, centres in shown:
        image = pixels[:_MOST_PX, :_MOST_PX]
        known = np.asarray(label)[:_MOST_PX, :_MOST_PX]
        drawn = np.array(image)
        doubt = (known != 0) & (known != 1)
        drawn[doubt] = (0.65 * drawn[doubt] + 0.35 * np.array(DOUBT)).astype(np.uint8)
        inside = known == 1
        drawn[inside & ~ndimage.binary_erosion(inside, border_value=1)] = NUCLEUS
        at = np.floor(centres).astype(np.int64)
        at = at[(at >= 0).all(1) & (at[:, 0] < drawn.shape[1]) & (at[:, 1] < drawn.shape[0])]
        drawn[at[:, 1], at[:, 0]] = CENTRE
        pair = np.concatenate([image, drawn])
        missing = 2 * _MOST_PX - pair.shape[0], _MOST_PX - pair.shape[1]
        columns.append(
            np.pad(pair, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=255)
        )
    return np.concatenate(columns, 1)

"""Pseudo masks: where the detection branch is sure enough to teach (Feng et al., eq. 5).

The sentence of the paper that names the two masks has them swapped; the equations are right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiproc_mcf.centres import Centres
from wsiproc_mcf.features import Image
from wsiproc_mcf.filter_config import FilterConfig

_GLASS = 0.15
"""Mean optical density below which there is nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class PseudoMasks:
    """What is sure of one image; everything else is unknown.

    Parameters
    ----------
    background
        bool ``[h, w]``: I_bg.
    nuclei
        int32 ``[h, w]``: 1 + the number of the centre whose nucleus it is, 0 elsewhere; I_nc where
        it is not 0.
    """

    background: NDArray[np.bool_]
    nuclei: NDArray[np.int32]


def pseudo_masks(
    response: NDArray[np.float32],
    centres: Centres,
    image: Image,
    config: FilterConfig,
    mpp: float,
) -> PseudoMasks:
    """I_bg and I_nc of one image.

    A nucleus is what exceeds `nucleus_above` of its centre's response, within the middle filter's
    square about it, is connected with it, and is nearer to it than to any other centre.  Glass is
    always background.

    Parameters
    ----------
    response
        ``[h, w]`` float32, S~.
    centres
        Found in it.
    image
        ``[h, w, 3]``, 0 to 255.
    """
    height, width = response.shape
    reach = round(config.template_um * config.context * _middle(config.scales) / mpp / 2)
    nearest = np.full(response.shape, np.inf)
    nuclei = np.zeros(response.shape, np.int32)
    for number, (x, y) in enumerate(np.floor(centres.xy).astype(int), 1):
        rows = slice(max(0, y - reach), min(height, y + reach + 1))
        columns = slice(max(0, x - reach), min(width, x + reach + 1))
        above = response[rows, columns] >= config.nucleus_above * response[y, x]
        parts, _ = ndimage.label(above)
        own = parts == parts[y - rows.start, x - columns.start]
        down, right = np.ogrid[rows, columns]
        away = (down - y) ** 2 + (right - x) ** 2
        own &= away < nearest[rows, columns]
        nearest[rows, columns][own] = np.broadcast_to(away, own.shape)[own]
        nuclei[rows, columns][own] = number
    density = -np.log((image.astype(np.float32) + 1) / 256).mean(2)
    glass = density < _GLASS
    nuclei[glass] = 0
    background = (response < config.background_below) | glass
    return PseudoMasks(background & (nuclei == 0), nuclei)


def _middle(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]

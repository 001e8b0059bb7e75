"""Templates that the filters lack: where the network sees a nucleus and no detection is (eq. 7).

Printed, the residual is ``|T(p1 > t4) - I_nc|``.  The absolute value also lights up nuclei that the
network misses; and a ring around each that was detected, since I_nc is cut at a part of the peak,
inside the border.  Here it is one-sided, with detections widened first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from wsiproc_mcf.config import MiningConfig
from wsiproc_mcf.templates import farthest_first

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that looks like a nucleus that was not detected.

    Parameters
    ----------
    field
        Index of its image.
    box
        x0, y0, x1, y1, px of the network's mpp.
    score
        Mean probability inside.
    """

    field: int
    box: Box
    score: float


def residual(
    prob: NDArray[np.float32], nuclei: NDArray[np.bool_], config: MiningConfig, mpp: float
) -> NDArray[np.bool_]:
    """``T(p1 > t4) and not dilate(I_nc)``, opened: where a nucleus is missing, ``[h, w]``."""
    clear = ndimage.distance_transform_edt(~nuclei) > config.clear_um / mpp
    left = (prob > config.certain) & (clear if nuclei.any() else True)
    radius = config.open_um / mpp
    reach = int(np.ceil(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(ndimage.binary_opening(left, x**2 + y**2 <= radius**2), np.bool_)


def candidates(
    field: int,
    prob: NDArray[np.float32],
    nuclei: NDArray[np.bool_],
    centres: NDArray[np.float64],
    median_area_um2: float,
    config: MiningConfig,
    mpp: float,
) -> list[Candidate]:
    """Parts of the residual that are whole, compact, as large as a nucleus and hold no centre.

    Parameters
    ----------
    prob, nuclei
        ``[h, w]``: p1, and I_nc.
    centres
        ``[n, 2]`` (x, y) px: what was detected.
    median_area_um2
        Of the nuclei that the network sees (`nucleus_areas`).
    """
    parts, _ = ndimage.label(residual(prob, nuclei, config, mpp), np.ones((3, 3)))
    for x, y in centres.astype(np.int64):
        if parts[y, x]:
            parts[parts == parts[y, x]] = 0
    smallest, largest = (part * median_area_um2 / mpp**2 for part in config.areas)
    found = []
    for number, span in enumerate(ndimage.find_objects(parts), 1):
        if span is None:
            continue
        rows, columns = span
        mask = parts[span] == number
        whole = rows.start > 0 and columns.start > 0
        whole = whole and rows.stop < parts.shape[0] and columns.stop < parts.shape[1]
        if not whole or not smallest <= mask.sum() <= largest or solidity(mask) < config.solidity:
            continue
        edges = columns.start, rows.start, columns.stop, rows.stop
        x0, y0, x1, y1 = (float(edge) for edge in edges)
        found.append(Candidate(field, (x0, y0, x1, y1), float(prob[span][mask].mean())))
    return found


def nucleus_areas(
    prob: NDArray[np.float32], centres: NDArray[np.float64], config: MiningConfig, mpp: float
) -> NDArray[np.float64]:
    """Areas in µm² of the parts that the network is certain of and that hold just one centre."""
    parts, count = ndimage.label(prob > config.certain)
    at = centres.astype(np.int64)
    held = np.bincount(parts[at[:, 1], at[:, 0]], minlength=count + 1)[1:]
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    return np.asarray(areas[held == 1] * mpp**2)


def solidity(mask: NDArray[np.bool_]) -> float:
    """Area over that of the convex hull of the pixels' corners."""
    y, x = np.nonzero(mask)
    corners = np.concatenate([np.stack([x + i, y + j], 1) for i in (0, 1) for j in (0, 1)])
    try:
        return float(mask.sum() / ConvexHull(corners).volume)
    except QhullError:
        return 0.0


def mined(
    found: Sequence[Candidate],
    described: Callable[[Candidate], NDArray[np.float32]],
    bank: NDArray[np.float32],
    answer: Callable[[Candidate], float],
    config: MiningConfig,
) -> list[Candidate]:
    """The candidates that become templates: certain, unlike the bank, and answered by none of it.

    Parameters
    ----------
    found
        Of all images.
    described
        What a candidate looks like (`wsiproc_mcf.templates.describe`).
    bank
        ``[N, d]``: what the templates so far look like.
    answer
        The strongest response of any filter at a candidate.
    """
    pool = sorted(found, key=lambda c: (-c.score, c.field, c.box))[: config.pool]
    pool = [candidate for candidate in pool if answer(candidate) <= config.answered]
    if not pool:
        return []
    features = np.stack([described(candidate) for candidate in pool])
    return [pool[i] for i in farthest_first(features, bank, config.per_round)]

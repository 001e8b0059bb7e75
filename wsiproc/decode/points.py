"""A probability map becomes points (kind `points`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import PointsPost
from wsiproc.decode._peaks import disc_peaks, highest_channel
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei


def disc(radius: float) -> NDArray[np.int64]:
    """Offsets ``[k, 2]`` (dy, dx) of the pixels within `radius` of one, nearest first.

    Never less than the four neighbours, so that of two pixels side by side one is the peak.
    """
    reach = radius_px(radius)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    apart = dy * dy + dx * dx
    kept = (apart > 0) & (apart <= max(radius, 1.0) ** 2)
    dy, dx, apart = dy[kept], dx[kept], apart[kept]
    order = np.lexsort((dx, dy, apart))
    return np.stack([dy[order], dx[order]], axis=1).astype(np.int64)


def radius_px(radius: float) -> int:
    """How far `disc` reaches along an axis."""
    return math.floor(max(radius, 1.0))


def decode_points(
    post: PointsPost,
    mpp: float,
    prob: NDArray[np.float32],
    area: Box,
    whole: Box,
    origin: tuple[int, int],
) -> Nuclei:
    """Peaks of the largest class probability.

    A peak is a pixel above the threshold that is the largest within `radius_um`, by (p, -y, -x):
    no greedy suppression, so whether a pixel is a peak is settled within that radius.  The nucleus
    lies at the pixel's centre, and its class is the largest channel (the first of equal ones).

    Parameters
    ----------
    mpp
        µm per output px.
    prob
        ``[C, h, w]`` float32.
    area
        The part of the maps that lies on the slide, in pixels of the maps.
    whole
        The slide, likewise; a peak whose disc reaches past the maps but not past the slide is
        marked `cut`.
    origin
        (x, y) of the maps' first pixel in global output px.

    Returns
    -------
    Nuclei
        In global output px.
    """
    radius = post.radius_um / mpp
    best = highest_channel(prob) if len(prob) > 1 else prob[0]
    peak = disc_peaks(best, best, area.as_tuple(), post.threshold, post.threshold, disc(radius))
    y, x = peak[:, 0], peak[:, 1]
    seen = Box(
        *(
            edge if edge == slide else edge + sign * radius_px(radius)
            for edge, slide, sign in zip(
                area.as_tuple(), whole.as_tuple(), (1, 1, -1, -1), strict=True
            )
        )
    )
    return Nuclei(
        ref_x=x + origin[0],
        ref_y=y + origin[1],
        x=(x + origin[0]).astype(np.float64) + 0.5,
        y=(y + origin[1]).astype(np.float64) + 0.5,
        class_id=np.argmax(prob[:, y, x], axis=0).astype(np.int16),
        score=best[y, x],
        cut=~seen.holds(x, y),
    )

"""A probability map becomes points (kind `points`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import PointsPost
from wsiproc.decode._peaks import disc_peaks, highest_channel
from wsiproc.decode._runs import foreground
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
    origin: tuple[int, int],
    slide: Box,
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
        ``[C, h, w]`` float32, all of it on the slide.
    origin
        (x, y) of the map's first pixel in global output px.
    slide
        Global output px; a peak whose disc reaches past the map but not past the slide is marked
        `cut`.

    Returns
    -------
    Nuclei
        In global output px.
    """
    best = highest_channel(prob) if len(prob) > 1 else prob[0]
    run = foreground(best, post.threshold)
    around = disc(post.radius_um / mpp)
    peak = disc_peaks(best, run, best, post.threshold, post.threshold, around)
    y, x = peak[:, 0], peak[:, 1]
    seen = Box.of_size(*origin, best.shape[1], best.shape[0])
    reach = radius_px(post.radius_um / mpp)
    sure = Box(
        seen.x0 + reach * (seen.x0 > slide.x0),
        seen.y0 + reach * (seen.y0 > slide.y0),
        seen.x1 - reach * (seen.x1 < slide.x1),
        seen.y1 - reach * (seen.y1 < slide.y1),
    )
    return Nuclei(
        ref_x=x + origin[0],
        ref_y=y + origin[1],
        x=(x + origin[0]).astype(np.float64) + 0.5,
        y=(y + origin[1]).astype(np.float64) + 0.5,
        class_id=np.argmax(prob[:, y, x], axis=0).astype(np.int16),
        score=best[y, x],
        cut=~sure.holds(x + origin[0], y + origin[1]),
    )

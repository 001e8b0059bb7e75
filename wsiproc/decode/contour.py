"""A label image becomes polygons.

The ring runs through the middles of the pixel sides that part a nucleus from the rest, so corners
are cut at 45° and perimeters are nearly unbiased.  It parts the pixels' centres exactly: a pixel is
in the mask if and only if its centre is in the polygon.  Nuclei that touch share their border and
never overlap.  (The same as marching squares at one half, Lorensen and Cline 1987, with pixels of a
nucleus joined by sides only.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiproc.decode._trace import starts, walk


def contours(
    labels: NDArray[np.int32], origin: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Outer rings of labels 1, 2, ... n.

    Parameters
    ----------
    labels
        ``[h, w]``; 0 is background.  The pixels of a label hang together by their sides; of one
        that does not, the part with the first pixel is outlined.  Holes are not outlined.
    origin
        (x, y) of the first pixel, in the frame of the result.

    Returns
    -------
    ring
        ``[v, 2]`` float64 (x, y), whole and half px.  Counter-clockwise in numbers (positive
        shoelace sum), from the smallest (y, x) vertex, not closed, no three vertices in line.
    ring_start
        ``[n + 1]`` int64; a label without pixels has an empty ring.
    """
    bordered = np.pad(np.asarray(labels, np.int32), 1)
    first = starts(bordered, int(bordered.max()))
    return rings(bordered, first, origin)


def rings(
    bordered: NDArray[np.int32], first: NDArray[np.int64], origin: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """As `contours`, of the labels at the given first pixels ``[n, 2]`` (y, x) of an image that has
    a border of one pixel; `origin` is that of the image inside the border."""
    vertex, start, _ = walk(bordered, first)
    twice = np.array([2 * origin[0] - 2, 2 * origin[1] - 2])
    return (vertex + twice) / 2.0, start

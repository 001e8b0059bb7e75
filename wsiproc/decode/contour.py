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

from wsiproc.decode._runs import grouped, labelled
from wsiproc.decode._trace import trace


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
    run, label = labelled(np.ascontiguousarray(labels, np.int32))
    member, start = grouped(label, int(label.max(initial=-1)) + 1)
    return trace(run[member], start, *origin)

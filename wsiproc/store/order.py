"""The order of rows: along a Hilbert curve on a grid that is the same for every slide."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

CELL_UM: Final = 16.0
"""Edge of a cell of the grid."""

ORDER: Final = 16
"""The grid has 2 ** ORDER cells a side: it covers a square metre."""


def hilbert(
    column: NDArray[np.uint32], row: NDArray[np.uint32], order: int = ORDER
) -> NDArray[np.uint32]:
    """Place of the cells along the Hilbert curve of `order`, elementwise.

    The curve begins in cell (0, 0) and ends in the last column of row 0 (Hilbert 1891; the loop
    over quadrants after Warren, "Hacker's Delight", sec. 16-3).

    Parameters
    ----------
    column, row
        ``[n]`` in ``[0, 2 ** order)``.
    order
        At most 16.
    """
    x, y = np.array(column, np.uint32), np.array(row, np.uint32)
    place = np.zeros(x.shape, np.uint32)
    for bit in range(order - 1, -1, -1):
        right, below = (x >> bit) & 1, (y >> bit) & 1
        place |= ((3 * right) ^ below) << np.uint32(2 * bit)
        # Turn the quadrant so that the curve inside it runs as it does in the first one.
        mirrored = (below == 0) & (right == 1)
        mask = np.uint32((1 << bit) - 1)
        x, y = np.where(mirrored, ~x & mask, x & mask), np.where(mirrored, ~y & mask, y & mask)
        x, y = np.where(below == 0, y, x), np.where(below == 0, x, y)
    return place


def key_of(x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Place of points in µm along the curve; points off the grid count to its nearest cell."""
    last = 2**ORDER - 1
    column, row = (
        np.clip(np.floor(np.asarray(um, np.float64) / CELL_UM), 0, last).astype(np.uint32)
        for um in (x_um, y_um)
    )
    return hilbert(column, row)

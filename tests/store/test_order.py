"""Rows follow a Hilbert curve that is the same for every slide."""

from __future__ import annotations

import numpy as np

from wsiproc.store.order import CELL_UM, hilbert, key_of


def reference(x: int, y: int, order: int) -> int:
    """The curve by its definition: four smaller curves, the first and last one transposed."""
    if order == 0:
        return 0
    half = 1 << (order - 1)
    quadrant = {(0, 0): 0, (0, 1): 1, (1, 1): 2, (1, 0): 3}[x // half, y // half]
    u, v = x % half, y % half
    if quadrant == 0:
        u, v = v, u
    elif quadrant == 3:
        u, v = half - 1 - v, half - 1 - u
    return quadrant * half * half + reference(u, v, order - 1)


def test_the_curve_is_hilberts() -> None:
    y, x = np.mgrid[:16, :16].astype(np.uint32)
    expected = [[reference(column, row, 4) for column in range(16)] for row in range(16)]
    assert hilbert(x, y, order=4).tolist() == expected


def test_neighbours_along_the_curve_are_neighbours_on_the_slide() -> None:
    y, x = (a.ravel().astype(np.uint32) for a in np.mgrid[:64, :64])
    along = np.argsort(hilbert(x, y, order=6))
    moves = np.abs(np.diff(x[along].astype(int))) + np.abs(np.diff(y[along].astype(int)))
    assert set(moves.tolist()) == {1}


def test_the_far_corner_of_the_grid_has_a_key_of_its_own() -> None:
    last = np.array([2**16 - 1], np.uint32)
    assert hilbert(last, np.zeros(1, np.uint32)).tolist() == [2**32 - 1]


def test_a_key_depends_on_the_place_in_um_alone_and_never_fails() -> None:
    um = np.array([-3.0, 0.0, CELL_UM - 1 / 64, CELL_UM, 1e9])
    zero = np.zeros_like(um)
    keys = key_of(um, zero)
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert keys[4] == 2**32 - 1

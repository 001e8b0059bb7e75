"""Making an image smaller, so that every pixel is an exact function of where it lies.

An output pixel is a weighted sum of input pixels along each axis.  Its weights come from its
global index alone and are whole numbers, and every sum stays below 2^24, where float32 is exact:
the matrix products below give the same bits in whatever order, block or thread count the BLAS
library chooses to add them up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiproc.geometry import Box

Kernel = Literal["triangle", "area"]
Read = Callable[[Box], NDArray[np.uint8]]
"""Input pixels of a box, uint8 ``[h, w, 3]``; boxes may reach past the image."""

WEIGHT = 1 << 13
"""What the weights of an output pixel add up to along one axis."""
BETWEEN = 1 << 3
"""Steps per grey level that are kept between the two axes; 255 * BETWEEN * WEIGHT < 2^24."""
ROWS, COLUMNS, STRIP = 8, 16, 64
"""Output pixels a matrix product makes: few, as most of a band matrix is zero. Tuned by timing."""
PRODUCTS = 1 << 17
"""Multiplications in one matrix product.  From 2^18 on OpenBLAS wakes threads, which wait for
each other spinning: on a machine whose cores are all at work that is many times as slow."""
BLOCK_PIXELS = 1 << 22
"""Input pixels in memory at once."""


@dataclass(frozen=True, slots=True)
class Band:
    """Weights of the output pixels ``start .. start + n`` along one axis.

    Parameters
    ----------
    start
        Global index of the first output pixel.
    first
        Global index of the first input pixel that any of them looks at.
    weights
        float32 ``[n, m]``, whole numbers, each row adding up to `WEIGHT`; column ``j`` is for
        input pixel ``first + j``.
    """

    start: int
    first: int
    weights: NDArray[np.float32]

    @property
    def stop(self) -> int:
        return self.start + len(self.weights)

    @property
    def last(self) -> int:
        """One past the last input pixel."""
        return self.first + int(self.weights.shape[1])


def band(kernel: Kernel, ratio: float, start: int, stop: int) -> Band:
    """Weights for output pixels `start` to `stop`, at `ratio` input px per output px.

    Output pixel i covers ``[i, i + 1) * ratio`` of the input.  ``triangle`` weighs input pixels
    by their distance from its centre, falling to nothing at ``max(1, ratio)`` px: antialiased
    linear interpolation.  ``area`` weighs them by how much of them it covers.

    Only sums, products, quotients and rounding of float64 are used, each exactly specified by
    IEEE 754, and in a fixed order: the same weights on every machine.
    """
    i = np.arange(start, stop, dtype=np.int64)
    centre = (i + 0.5) * ratio
    reach = max(1.0, ratio) if kernel == "triangle" else ratio / 2
    first = np.floor(centre - reach).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
    if kernel == "triangle":
        raw = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - centre[:, None]) / reach)
    else:
        low, high = (i * ratio)[:, None], ((i + 1) * ratio)[:, None]
        raw = np.maximum(0.0, np.minimum(taps + 1, high) - np.maximum(taps, low))
    # Rounding the running sum leaves no remainder to hand to anyone, however many taps there are.
    running = np.cumsum(raw, axis=1)
    whole = np.diff(np.rint(running / running[:, -1:] * WEIGHT), axis=1, prepend=0.0)
    origin = int(first[0])
    weights = np.zeros((len(i), int(taps[-1, -1]) + 1 - origin), np.float32)
    np.put_along_axis(weights, taps - origin, whole.astype(np.float32), axis=1)
    return Band(start, origin, weights)


def resample(
    read: Read, ratio: tuple[float, float], box: Box, kernel: Kernel = "triangle"
) -> NDArray[np.uint8]:
    """Pixels of `box` of the resampled image, in bounded memory.

    Parameters
    ----------
    read
        Gives input pixels.
    ratio
        Input px per output px, along x and y; output pixel (0, 0) starts where the input's does.
    box
        In px of the output.
    kernel
        See `band`.

    Returns
    -------
    pixels
        uint8 ``[box.height, box.width, 3]``.
    """
    out = np.empty((box.height, box.width, 3), np.uint8)
    # Near a square in the input: what neighbouring blocks read twice is then least.
    edge = int(BLOCK_PIXELS**0.5)
    wide = max(1, int(edge / ratio[0]) - 2)
    high = max(1, int(edge / ratio[1]) - 2)
    for y in range(box.y0, box.y1, high):
        down = _bands(kernel, ratio[1], y, min(y + high, box.y1), _step(ROWS, ratio[1]))
        for x in range(box.x0, box.x1, wide):
            across = _bands(kernel, ratio[0], x, min(x + wide, box.x1), _step(COLUMNS, ratio[0]))
            block = Box(x, y, across[-1].stop, down[-1].stop)
            seen = Box(across[0].first, down[0].first, across[-1].last, down[-1].last)
            out[block.slices_in(box)] = _reduce(read(seen), seen, block, down, across)
    return out


def _step(most: int, ratio: float) -> int:
    """Fewer output pixels a product where each looks at more of the input."""
    return max(1, min(most, int(32 / ratio)))


def _bands(kernel: Kernel, ratio: float, start: int, stop: int, step: int) -> list[Band]:
    return [band(kernel, ratio, at, min(at + step, stop)) for at in range(start, stop, step)]


def _reduce(
    pixels: NDArray[np.uint8], seen: Box, block: Box, down: list[Band], across: list[Band]
) -> NDArray[np.uint8]:
    """One block: rows first, then columns; `pixels` cover `seen` of the input."""
    rows = pixels.reshape(seen.height, seen.width * 3)
    # The three channels stay interleaved, so each weight stands three times in a matrix.
    columns = [
        (
            slice((b.start - block.x0) * 3, (b.stop - block.x0) * 3),
            slice((b.first - seen.x0) * 3, (b.last - seen.x0) * 3),
            np.ascontiguousarray(np.kron(b.weights, np.eye(3, dtype=np.float32)).T),
        )
        for b in across
    ]
    source = np.empty((max(b.last - b.first for b in down), rows.shape[1]), np.float32)
    between = np.empty((STRIP, rows.shape[1]), np.float32)
    strip = np.empty((STRIP, block.width * 3), np.float32)
    out = np.empty((block.height, block.width * 3), np.uint8)
    filled = 0
    for b in down:
        n = len(b.weights)
        part = source[: b.last - b.first]
        part[:] = rows[b.first - seen.y0 : b.last - seen.y0]
        target = between[filled : filled + n]
        wide = max(16, PRODUCTS // b.weights.size)
        for at in range(0, part.shape[1], wide):
            np.matmul(b.weights, part[:, at : at + wide], out=target[:, at : at + wide])
        _rounded(target, BETWEEN / WEIGHT)
        np.floor(target, out=target)
        filled += n
        if filled + ROWS > STRIP or b is down[-1]:
            done = strip[:filled]
            for to, of, weights in columns:
                high = max(1, PRODUCTS // weights.size)
                for at in range(0, filled, high):
                    rows_of = slice(at, min(at + high, filled))
                    np.matmul(between[rows_of, of], weights, out=done[rows_of, to])
            _rounded(done, 1 / (BETWEEN * WEIGHT))
            end = b.stop - block.y0
            out[end - filled : end] = done  # conversion to uint8 cuts the fraction off
            filled = 0
    return out.reshape(block.height, block.width, 3)


def _rounded(sums: NDArray[np.float32], scale: float) -> None:
    """Scale by a power of two and add a half, in place: cut off, this is rounding half up."""
    sums *= np.float32(scale)
    sums += np.float32(0.5)
